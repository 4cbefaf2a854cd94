"""The hooks, run by pre-commit itself in a scratch repository."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
from places import FUSED, UNFUSED, Tool, commit

CONFIGURATION = """
repos:
  - repo: {checkout}
    rev: {revision}
    hooks: [{{id: onnxac-check}}, {{id: onnxac-optimize}}]
"""


@pytest.fixture(scope="module")
def hooks_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pre-commit keeps the environment that the hooks share."""
    return tmp_path_factory.mktemp("pre-commit")


@dataclass(frozen=True)
class Scratch:
    """A repository that has adopted the hooks."""

    folder: Path
    command: str
    environment: dict[str, str]

    def run(self, hook: str) -> subprocess.CompletedProcess[str]:
        """What `git commit` would run, on all files."""
        commit(self.folder)
        return subprocess.run(
            [self.command, "run", hook, "--all-files", "--verbose"],
            cwd=self.folder,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def scratch(
    tmp_path: Path, checkout: Path, hooks_home: Path, environment: dict[str, str], tool: Tool
) -> Scratch:
    command = tool("pre-commit")
    head = ["git", "rev-parse", "HEAD"]
    revision = subprocess.run(head, cwd=checkout, check=True, capture_output=True, text=True).stdout
    configuration = CONFIGURATION.format(checkout=checkout, revision=revision.strip())
    (tmp_path / ".pre-commit-config.yaml").write_text(configuration)
    return Scratch(tmp_path, command, environment | {"PRE_COMMIT_HOME": str(hooks_home)})


def test_check_refuses_an_unfused_model(scratch: Scratch) -> None:
    shutil.copy(UNFUSED, scratch.folder / "net.onnx")
    done = scratch.run("onnxac-check")
    assert done.returncode == 1, done.stderr
    assert "net.onnx" in done.stdout
    assert (scratch.folder / "net.onnx").read_bytes() == UNFUSED.read_bytes()


def test_check_passes_fused_models_and_looks_at_nothing_else(scratch: Scratch) -> None:
    shutil.copy(FUSED, scratch.folder / "a.onnx")
    shutil.copy(FUSED, scratch.folder / "b c.onnx")
    (scratch.folder / "notes.txt").write_text("not a model")
    done = scratch.run("onnxac-check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_optimize_fuses_every_model_once(scratch: Scratch) -> None:
    models = [scratch.folder / name for name in ("a.onnx", "b c.onnx", "c.onnx")]
    for model in models:
        shutil.copy(UNFUSED, model)
    done = scratch.run("onnxac-optimize")
    assert done.returncode == 1, done.stderr
    assert "files were modified by this hook" in done.stdout
    assert {len(onnx.load(model).graph.node) for model in models} == {11}
    again = scratch.run("onnxac-optimize")
    assert again.returncode == 0, again.stdout + again.stderr


def test_optimize_tells_a_broken_model_and_fuses_the_others(scratch: Scratch) -> None:
    (scratch.folder / "a.onnx").write_bytes(b"broken")
    shutil.copy(UNFUSED, scratch.folder / "b.onnx")
    done = scratch.run("onnxac-optimize")
    assert done.returncode == 1, done.stderr
    assert "a.onnx" in done.stdout
    assert len(onnx.load(scratch.folder / "b.onnx").graph.node) == 11
