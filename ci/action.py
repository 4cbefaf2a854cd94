"""The steps of `action.yml` that are more than a line, for a runner and for the tests.

    python -I ci/action.py install    puts onnxac into an environment of its own
    python -I ci/action.py run        gates the models, or fuses them where they are

Python's standard library is all it needs. Everything comes in by the environment: the runner's own
GITHUB_… and RUNNER_… variables, and an INPUT_… variable for each input of the action.

Models, their paths and the names in them may come from a pull request of a stranger. So Python runs
isolated (`-I`: a `numpy.py` in the checkout is not imported), onnxac reads no settings of the
checkout (`--isolated`), paths follow a `--`, and what a program prints can't give commands to the
runner.
"""

from __future__ import annotations

import glob
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODES = ("check", "optimize")
BOOLEANS = {"true": True, "false": False}
LIMITS = ("max-nodes", "max-parameters", "max-macs", "max-bytes")
VERSION = re.compile(r"[0-9][0-9A-Za-z.!+]*")
FILE_NAME = re.compile(r"[\w-][\w.-]*")
# The runner drops a summary of more than 1 MiB whole.
SUMMARY_BYTES = 1_000_000

USAGE = 2


class ActionError(Exception):
    """The action can't do what it was asked for; the message is shown as an annotation."""


@dataclass(frozen=True)
class Settings:
    """The inputs of the action, and where it works.

    onnxac    the command, as it is begun
    merging   options that say what may be merged, for `optimize` and for `check`
    limits    options of `check` that say what a model may cost
    folder    where reports, diffs and copies go
    """

    onnxac: tuple[str, ...]
    models: tuple[str, ...]
    mode: str
    merging: tuple[str, ...]
    limits: tuple[str, ...]
    prove: bool
    artifact: str
    folder: Path

    @property
    def in_place(self) -> bool:
        """Whether the models themselves are fused."""
        return self.mode == "optimize"


@dataclass(frozen=True)
class Fused:
    """What `optimize` did with one model: its exit code, and its report unless it failed."""

    model: str
    code: int
    report: Path
    diff: Path
    summary: Path
    content: dict[str, Any] | None

    @property
    def changed(self) -> bool:
        """Whether the model that came out differs from the one that went in."""
        return self.content is not None and bool(self.content["fusions"] or self.content["folded"])


def main() -> int:
    """Run the step that the command line names, and return its exit code."""
    steps: dict[str, Callable[[Mapping[str, str]], int]] = {"install": install, "run": run}
    try:
        return steps[sys.argv[1]](os.environ)
    except ActionError as error:
        annotate(str(error))
        return USAGE


def install(env: Mapping[str, str]) -> int:
    """Make an environment that holds onnxac, and say where its command is.

    By default onnxac is installed from the checkout of the action itself: whoever pins the action
    to a commit has pinned the tool.
    """
    wanted = env["INPUT_VERSION"]
    if wanted and not VERSION.fullmatch(wanted):
        raise ActionError(f"version: {wanted!r} is no version of onnxac, such as 0.1.0")
    requirement = f"onnxac[netron]=={wanted}" if wanted else f"{env['GITHUB_ACTION_PATH']}[netron]"
    folder = Path(env["RUNNER_TEMP"], "onnxac-environment")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = (str(scripts / "python"), "-I", "-m", "pip", "--disable-pip-version-check")
    for command in (
        (sys.executable, "-I", "-m", "venv", str(folder)),
        (*pip, "install", "--quiet", requirement),
    ):
        if subprocess.run(command, check=False).returncode:
            raise ActionError("onnxac could not be installed; the log of this step says why")
    write_outputs(env, {"onnxac": str(scripts / "onnxac")})
    return 0


def run(env: Mapping[str, str]) -> int:
    """Fuse each model or a copy of it, then check all of them. Returns the worst exit code."""
    settings = read_settings(env)
    models = settings.models
    fused = []
    if settings.in_place or settings.prove:
        fused = [fuse(n, model, settings) for n, model in enumerate(models, 1)]
    broken = {f.model for f in fused if f.code}
    code = check([m for m in models if m not in broken], settings)
    write_summary(Path(env["GITHUB_STEP_SUMMARY"]), fused, settings)
    write_outputs(env, totals(fused) | uploads(fused, settings))
    return max([code, *(f.code for f in fused)])


def read_settings(env: Mapping[str, str]) -> Settings:
    """The inputs, looked at before any of them is used."""
    if env["INPUT_MODE"] not in MODES:
        raise ActionError(f"mode: {env['INPUT_MODE']!r} is not one of {', '.join(MODES)}")
    if env["INPUT_ARTIFACT"] and not FILE_NAME.fullmatch(env["INPUT_ARTIFACT"]):
        raise ActionError(f"artifact: {env['INPUT_ARTIFACT']!r} is no name of a file")
    keep = [f"--keep={pattern}" for pattern in lines(env["INPUT_KEEP"])]
    freeze = ["--freeze-initializers"] if boolean(env, "freeze-initializers") else []
    given = {name: env[variable(name)].strip() for name in LIMITS}
    return Settings(
        # The settings of a repository could switch the gate off, or the proof.
        onnxac=(env["ONNXAC"], "--isolated"),
        models=find_models(lines(env["INPUT_MODELS"])),
        mode=env["INPUT_MODE"],
        merging=(*keep, *freeze),
        limits=tuple(f"--{name}={value}" for name, value in given.items() if value),
        prove=boolean(env, "prove"),
        artifact=env["INPUT_ARTIFACT"],
        folder=Path(tempfile.mkdtemp(prefix="onnxac-", dir=env["RUNNER_TEMP"])),
    )


def variable(name: str) -> str:
    """The variable that carries an input of the action."""
    return f"INPUT_{name.upper().replace('-', '_')}"


def lines(text: str) -> list[str]:
    """What an input of several lines lists."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def boolean(env: Mapping[str, str], name: str) -> bool:
    """An input that is `true` or `false`."""
    value = env[variable(name)]
    if value not in BOOLEANS:
        raise ActionError(f"{name}: {value!r} is neither true nor false")
    return BOOLEANS[value]


def find_models(patterns: Sequence[str]) -> tuple[str, ...]:
    """The files that the patterns match, each once. A gate that looks at nothing is not green."""
    found: dict[str, None] = {}
    for pattern in patterns:
        matches = sorted(p for p in glob.glob(pattern, recursive=True) if Path(p).is_file())
        if not matches:
            raise ActionError(f"models: {pattern!r} matches no file")
        found |= dict.fromkeys(matches)
    if not found:
        raise ActionError("models: no pattern is given")
    return tuple(found)


def fuse(number: int, model: str, settings: Settings) -> Fused:
    """Fuse a model where it is, or a copy of it; with its report, its diff and its summary."""
    # The number keeps models of one name, in different folders, apart.
    base = settings.folder / f"{number:03}-{Path(model).stem}"
    report, summary, diff = (Path(f"{base}.{kind}") for kind in ("json", "md", "html"))
    written = [f"--report={report}", f"--summary={summary}", f"--diff={diff}"]
    target = [model] if settings.in_place else [model, f"{base}.onnx"]
    place = ["--in-place"] if settings.in_place else []
    command = [*settings.onnxac, "optimize", *settings.merging, *written, *place, "--", *target]
    with commands_stopped():
        done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
        # Not to stderr: only within one stream the order is kept, and the commands stay stopped.
        sys.stdout.write(done.stdout + done.stderr)
    content = None if done.returncode else json.loads(report.read_text(encoding="utf-8"))
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        annotate(said[-1], file=model)
    return Fused(model, done.returncode, report, diff, summary, content)


def check(models: Sequence[str], settings: Settings) -> int:
    """The gate: it annotates each model that would be fused or is over a limit."""
    if not models:
        return 0
    options = ["--format=github", *settings.merging, *settings.limits]
    return subprocess.run(
        [*settings.onnxac, "check", *options, "--", *models], check=False
    ).returncode


@contextmanager
def commands_stopped() -> Iterator[None]:
    """Keep the runner from obeying what is printed: a node may be called `::add-path::…`."""
    token = secrets.token_hex(16)
    sys.stdout.write(f"::stop-commands::{token}\n")
    sys.stdout.flush()
    try:
        yield
    finally:
        sys.stdout.write(f"\n::{token}::\n")
        sys.stdout.flush()


def annotate(message: str, file: str | None = None) -> None:
    """Show an error beside the file that it is about, or at the run."""
    place = "" if file is None else f" file={escape(file, ':,')}"
    sys.stdout.write(f"::error{place}::{escape(message)}\n")
    sys.stdout.flush()


def escape(text: str, more: str = "") -> str:
    """A text for a command to the runner; in the value of a property `more` is special, too."""
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def totals(fused: Sequence[Fused]) -> dict[str, str]:
    """The outputs that are numbers, over all models that could be fused; empty if unknown."""
    reports = [f.content for f in fused if f.content is not None]
    outputs = {}
    for number in ("nodes", "macs"):
        for when in ("before", "after"):
            counts = [report[when]["stats"][number] for report in reports]
            known = counts and None not in counts
            outputs[f"{number}-{when}"] = str(sum(counts)) if known else ""
    proofs = [report["verification"]["outputs"] for report in reports]
    errors = [output["relative"] for proof in proofs for output in proof]
    return outputs | {"max-error": f"{max(errors):.3g}" if errors else ""}


def uploads(fused: Sequence[Fused], settings: Settings) -> dict[str, str]:
    """The outputs that are paths. A single diff is uploaded as a page, several as an archive."""
    changed = [f for f in fused if f.changed]
    outputs = {
        "report": "\n".join(str(f.report) for f in fused if f.content is not None),
        "diff": "\n".join(str(f.diff) for f in changed),
    }
    if not changed or not settings.artifact:
        return outputs | {"upload": "", "archive": ""}
    folder = settings.folder / "upload"
    folder.mkdir()
    lone = len(changed) == 1
    for one in changed:
        name = f"{settings.artifact}.html" if lone else one.diff.name
        (folder / name).write_bytes(one.diff.read_bytes())
    upload = folder / f"{settings.artifact}.html" if lone else folder
    return outputs | {"upload": str(upload), "archive": str(not lone).lower()}


def write_summary(target: Path, fused: Sequence[Fused], settings: Settings) -> None:
    """Append the summaries of the models to the one of the job, as many as the runner takes."""
    written = [f.summary.read_text(encoding="utf-8") for f in fused if f.content is not None]
    if not written:
        return
    left = SUMMARY_BYTES
    with target.open("a", encoding="utf-8") as file:
        if not settings.in_place:
            file.write("> No model was changed: this is what `onnxac optimize` would do.\n\n")
        for number, text in enumerate(written):
            left -= len(text.encode())
            if left < 0:
                file.write(f"> {len(written) - number} more: see the reports of the step.\n")
                break
            file.write(f"{text.rstrip()}\n\n")


def write_outputs(env: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    """Set outputs of the step. No value can end its own block: the delimiter is not known to it."""
    with Path(env["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
        for name, value in outputs.items():
            delimiter = secrets.token_hex(16)
            file.write(f"{name}<<{delimiter}\n{value}\n{delimiter}\n")


if __name__ == "__main__":
    sys.exit(main())
