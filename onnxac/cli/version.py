"""`onnxac --version`."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version

import onnxac

PACKAGES = ("onnx", "onnxruntime", "onnx-graphsurgeon", "numpy")


def print_versions() -> None:
    """One package a line; the metadata is enough, nothing is imported for it."""
    lines = [("onnxac", onnxac.__version__), *((name, version(name)) for name in PACKAGES)]
    lines.append(("python", platform.python_version()))
    sys.stdout.write("".join(f"{name} {number}\n" for name, number in lines))
