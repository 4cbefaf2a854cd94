"""As much of a GitHub runner as `action.yml` needs: expressions, steps, outputs, commands."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")
COMMAND = re.compile(r"::(?P<name>[\w-]+)(?: (?P<properties>.*?))?::(?P<value>.*)")


@dataclass
class Build:
    """What a run of the action left behind."""

    red: bool = False
    log: str = ""
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    uploads: list[dict[str, Any]] = field(default_factory=list)

    @property
    def commands(self) -> list[re.Match[str]]:
        """The commands that a runner would obey: not those between stop-commands and its token."""
        obeyed, token = [], None
        for line in self.log.splitlines():
            if token is not None:
                token = None if line == f"::{token}::" else token
            elif found := COMMAND.fullmatch(line.strip()):
                token = found["value"] if found["name"] == "stop-commands" else None
                obeyed.append(found)
        return obeyed

    @property
    def annotations(self) -> list[re.Match[str]]:
        """The errors that are shown beside files."""
        return [c for c in self.commands if c["name"] == "error"]


@dataclass
class Runner:
    """A runner of one composite action.

    action       the folder that the action was checked out to
    folder       for the runner's own files
    environment  of every step
    provided     outputs of steps that are not run, by id
    """

    action: Path
    folder: Path
    environment: dict[str, str]
    provided: dict[str, dict[str, str]]

    def run(self, workspace: Path, **inputs: str) -> Build:
        """Run the steps in a workspace; underscores of input names stand for hyphens."""
        content = yaml.safe_load((self.action / "action.yml").read_text())
        given = {name.replace("_", "-"): value for name, value in inputs.items()}
        values = {k: given.pop(k, v["default"]) for k, v in content["inputs"].items()}
        assert not given, f"no such inputs: {given}"
        steps = {**self.provided}
        build = Build()
        for step in content["runs"]["steps"]:
            self._step(step, values, steps, build, workspace)
        build.outputs = {
            name: self._value(o["value"], values, steps) for name, o in content["outputs"].items()
        }
        return build

    def _step(
        self,
        step: dict[str, Any],
        inputs: dict[str, str],
        steps: dict[str, dict[str, str]],
        build: Build,
        workspace: Path,
    ) -> None:
        condition = step.get("if", "true" if not build.red else "")
        if step.get("id") in self.provided or not self._expression(condition, inputs, steps):
            return
        if "uses" in step:
            build.uploads.append(
                {k: self._value(str(v), inputs, steps) for k, v in step["with"].items()}
            )
            return
        variables = {k: self._value(v, inputs, steps) for k, v in step.get("env", {}).items()}
        self.folder.mkdir(exist_ok=True)
        files = {n: self.folder / n for n in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for file in files.values():
            file.write_text("")
        runner = {k: str(v) for k, v in files.items()} | {
            "RUNNER_TEMP": str(self.folder),
            "GITHUB_ACTION_PATH": str(self.action),
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=workspace,
            env=self.environment | runner | variables,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        build.red = build.red or done.returncode != 0
        build.log += done.stdout
        build.summary += files["GITHUB_STEP_SUMMARY"].read_text()
        steps[step["id"]] = parse_outputs(files["GITHUB_OUTPUT"].read_text())

    def _value(self, text: str, inputs: dict[str, str], steps: dict[str, dict[str, str]]) -> str:
        return EXPRESSION.sub(lambda m: self._expression(m[1], inputs, steps), text)

    def _expression(
        self, text: str, inputs: dict[str, str], steps: dict[str, dict[str, str]]
    ) -> str:
        """Evaluate what `action.yml` uses of the language; "" is false, as there."""
        text = EXPRESSION.sub(r"\1", text).strip()
        if "&&" in text:
            values = [self._expression(part, inputs, steps) for part in text.split("&&")]
            return values[-1] if all(values) else ""
        if "||" in text:
            values = [self._expression(part, inputs, steps) for part in text.split("||")]
            return next((v for v in values if v), "")
        if "!=" in text:
            left, right = (self._expression(p, inputs, steps) for p in text.split("!="))
            return "true" if left != right else ""
        if text in ("true", "!cancelled()", ""):
            return text
        if text[0] == "'":
            return text[1:-1]
        context, *path = text.split(".")
        if context == "inputs":
            return inputs[path[0]]
        assert context == "steps", f"this runner does not know {text!r}"
        return steps.get(path[0], {}).get(path[-1], "")


def parse_outputs(text: str) -> dict[str, str]:
    """The file that a step writes its outputs to: name<<delimiter, lines, delimiter."""
    return {m[1]: m[3] for m in re.finditer(r"(?ms)^([\w-]+)<<(\w+)\n(.*?)\n\2$", text)}


PYTHON = {"python": {"python-path": sys.executable}}
