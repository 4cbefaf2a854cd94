"""Where things are, and how a folder becomes a repository."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
UNFUSED, FUSED = MODELS / "onnx/repvgg/L.onnx", MODELS / "onnx/repvgg/deploy.onnx"

# Finds a tool that may not be installed, and skips the test where it is not.
Tool = Callable[[str], str]


def commit(folder: Path) -> None:
    """Make a folder a repository, and put all of it into one commit."""
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    for command in (
        ("init", "--quiet"),
        ("add", "--all"),
        (*who, "commit", "-q", "--allow-empty", "-m", "All"),
    ):
        subprocess.run(("git", *command), cwd=folder, check=True, capture_output=True)
