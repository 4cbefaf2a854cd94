"""The GitLab component: its inputs, and its script in a shell."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from places import FUSED, ROOT, UNFUSED, Tool

import onnxac

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

COMPONENT = ROOT / "templates" / "onnxac.yml"


def interpolated(**inputs: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header of the component, and its jobs as GitLab has them once inputs are filled in."""
    header, body = COMPONENT.read_text().split("\n---\n")
    specs = yaml.safe_load(header)["spec"]["inputs"]
    given = {name.replace("_", "-"): value for name, value in inputs.items()}
    values = {name: given.pop(name, spec["default"]) for name, spec in specs.items()}
    assert not given, f"no such inputs: {given}"
    text = re.sub(r"\$\[\[ inputs\.([\w-]+) \]\]", lambda m: values[m[1]], body)
    return specs, yaml.safe_load(text)


def run_script(
    folder: Path, environment: dict[str, str], **inputs: str
) -> subprocess.CompletedProcess[str]:
    """The job's script, as a runner runs it: its variables in the environment, in one shell."""
    (job,) = interpolated(**inputs)[1].values()
    # What `before_script` makes; the launcher is no link, which would be taken for its target.
    python = folder / ".onnxac/bin/python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", "\n".join(job["script"])],
        cwd=folder,
        env=environment | job["variables"],
        check=False,
        capture_output=True,
        text=True,
    )


def test_an_unfused_model_fails_the_job_and_shows_in_both_reports(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    shutil.copy(UNFUSED, tmp_path / "deep" / "er" / "my net.onnx")
    shutil.copy(FUSED, tmp_path / "fused.onnx")
    done = run_script(tmp_path, environment)
    assert done.returncode == 1, done.stderr
    assert "my net.onnx" in done.stdout
    suite = ElementTree.parse(tmp_path / "onnxac-junit.xml").getroot()
    assert len(list(suite.iter("testcase"))) == 2
    assert len(list(suite.iter("failure"))) == 1
    (finding,) = json.loads((tmp_path / "onnxac-quality.json").read_text())
    assert finding["location"]["path"] == "deep/er/my net.onnx"
    assert {"description", "check_name", "fingerprint", "severity"} <= finding.keys()


def test_a_fused_model_passes_the_job(tmp_path: Path, environment: dict[str, str]) -> None:
    shutil.copy(FUSED, tmp_path / "fused.onnx")
    done = run_script(tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "onnxac-quality.json").read_text()) == []


def test_a_limit_holds(tmp_path: Path, environment: dict[str, str]) -> None:
    shutil.copy(FUSED, tmp_path / "fused.onnx")
    assert run_script(tmp_path, environment, max_nodes="11").returncode == 0
    assert run_script(tmp_path, environment, max_nodes="10").returncode == 1


def test_a_pattern_that_matches_nothing_fails_the_job(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    done = run_script(tmp_path, environment, models="nets/*.onnx")
    assert done.returncode == 2
    assert "no file matches nets/*.onnx" in done.stderr


def test_nodes_that_are_kept_pass_the_job(tmp_path: Path, environment: dict[str, str]) -> None:
    shutil.copy(UNFUSED, tmp_path / "net.onnx")
    (tmp_path / "0").mkdir()
    assert run_script(tmp_path, environment, keep="/0/* /2/*").returncode == 1
    assert run_script(tmp_path, environment, keep="/[0246]/*").returncode == 0


def test_the_repository_decides_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    """Neither its modules nor its settings are a part of the gate."""
    shutil.copy(UNFUSED, tmp_path / "net.onnx")
    for name in ("numpy.py", "onnxac.py", "json.py"):
        (tmp_path / name).write_text("open('pwned', 'w')")
    (tmp_path / "onnxac.toml").write_text('keep = ["*"]')
    done = run_script(tmp_path, environment)
    assert done.returncode == 1, done.stderr
    assert not (tmp_path / "pwned").exists()


def test_what_is_installed_is_pinned_and_python_is_isolated() -> None:
    specs, jobs = interpolated()
    assert specs["requirement"]["default"] == f"onnxac=={onnxac.__version__}"
    (job,) = jobs.values()
    lines = "\n".join([*job["before_script"], *job["script"]])
    assert len(re.findall(r"python\b", lines)) == len(re.findall(r"python -I\b", lines)) == 3


def test_inputs_reach_the_shell_as_variables_only() -> None:
    _, body = COMPONENT.read_text().split("\n---\n")
    (job,) = yaml.safe_load(body).values()
    assert not [line for line in (*job["before_script"], *job["script"]) if "$[[" in line]


def test_every_input_is_described_and_has_a_default_that_it_accepts() -> None:
    for spec in interpolated()[0].values():
        assert spec["description"]
        assert re.fullmatch(spec.get("regex", ".*"), spec["default"])


def test_the_job_is_valid(tmp_path: Path, tool: Tool) -> None:
    job = tmp_path / ".gitlab-ci.yml"
    job.write_text(yaml.safe_dump(interpolated()[1]))
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.gitlab-ci", str(job)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_script_has_no_shell_mistakes(tmp_path: Path, tool: Tool) -> None:
    (job,) = interpolated()[1].values()
    script = tmp_path / "script.sh"
    script.write_text("\n".join([*job["before_script"], *job["script"]]))
    # SC2206: that the patterns are split and expanded is what they are for.
    command = [tool("shellcheck"), "--shell=bash", "--exclude=SC2206", str(script)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
