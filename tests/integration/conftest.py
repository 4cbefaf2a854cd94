"""A launcher of this working tree, scratch repositories, and the tools that may not be there."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from places import ROOT, Tool, commit


@pytest.fixture(scope="session")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the PATH, with an `onnxac` and a `python` that run this working tree."""
    folder = tmp_path_factory.mktemp("bin")
    # A script as pip installs it: unlike `-m`, it does not look for modules where it is started.
    script = folder / "launch.py"
    script.write_text("from onnxac.cli import main\n\nif __name__ == '__main__':\n    main()\n")
    for name, program in {"onnxac": f'"{script}"', "python": ""}.items():
        launcher = folder / name
        launcher.write_text(
            f'#!/bin/sh\nexport PYTHONPATH="{ROOT}"\nexec "{sys.executable}" {program} "$@"\n'
        )
        launcher.chmod(0o755)
    return folder


@pytest.fixture
def environment(bin_folder: Path) -> dict[str, str]:
    """The environment of a pipeline: this working tree first, our own CI's variables left out."""
    foreign = ("GITHUB_", "RUNNER_", "GITLAB_", "CI_")
    own = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    return own | {"PATH": os.pathsep.join([str(bin_folder), own["PATH"]])}


@pytest.fixture(scope="session")
def tool() -> Tool:
    """Find a tool on the PATH or beside this Python, or skip the test and say what is missing."""

    def find(name: str) -> str:
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        found = shutil.which(name, path=path)
        if found is None:
            pytest.skip(f"{name} is not installed")
        return found

    return find


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This working tree as others get it: a repository with one commit, which pip can install."""
    folder = tmp_path_factory.mktemp("checkout") / "onnxac"
    names = (".*cache*", "__pycache__", ".venv*", ".git", "build", "dist", "models", "tests")
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*names))
    # The build wants them; what they say does not matter here.
    for name in ("README.md", "LICENSE"):
        (folder / name).touch()
    commit(folder)
    return folder
