"""The examples run, and say what they promise."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from places import MODELS, ROOT

EXAMPLES = ROOT / "examples"


def run(script: str, *arguments: object, python: str = sys.executable) -> str:
    done = subprocess.run(
        [python, EXAMPLES / script, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(table: str) -> dict[str, list[str]]:
    """The cells of each line of a drawn table, by its first one."""
    cells = ([c.strip() for c in line.split("│")[1:-1]] for line in table.splitlines())
    return {label: values for label, *values in (c for c in cells if c)}


def test_three_forms_are_quantized_and_compared() -> None:
    """Fused is smaller; equalized is never far below the trained form, nor below fused."""
    found = rows(run("quantize.py", MODELS / "onnx/repvgg/B.onnx", "--draws", 3))
    trained, fused, even = (found[f] for f in ("trained", "fused", "fused, equalized"))
    assert int(fused[0]) < int(trained[0])
    assert int(fused[1].replace(",", "")) < int(trained[1].replace(",", ""))
    assert float(even[3]) > float(trained[3]) - 1
    assert float(even[3]) > float(fused[3])


@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("dask", "distributed")])
def test_a_fleet_gives_the_same_bytes_on_each_engine(engine: str, package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    said = run("fleet.py", "--models", 5, "--engines", "jobs", engine)
    assert re.search(rf"{engine} +\d+\.\d\d +\d+\.\d\dx +\d", said)
    assert "all bytes are the same" in said


def test_the_notebook_runs_from_top_to_bottom() -> None:
    if any(importlib.util.find_spec(p) is None for p in ("nbclient", "ipykernel", "pandas")):
        pytest.skip("nbclient, ipykernel or pandas is not installed")
    # In a process of its own: a kernel leaves sockets behind, and event loops.
    code = (
        "import nbformat, nbclient\n"
        "book = nbformat.read('notebook.ipynb', 4)\n"
        "nbclient.NotebookClient(book, timeout=300).execute()\n"
        "print(*(o.get('data', o).keys() for c in book.cells for o in c.get('outputs', ())))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=EXAMPLES,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JUPYTER_PLATFORM_DIRS": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("text/html") == 3


def test_a_pytorch_model_is_exported_fused_and_run(tmp_path: Path) -> None:
    """ONNXAC_TORCH_PYTHON may name a Python that has PyTorch, where this one has not."""
    python = os.environ.get("ONNXAC_TORCH_PYTHON", sys.executable)
    if python == sys.executable and importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed, and ONNXAC_TORCH_PYTHON names no Python that has it")
    said = run("pytorch_export.py", "--folder", tmp_path, python=python)
    assert "convolutions: 6 -> 3" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["repvgg.fused.onnx", "repvgg.onnx"]
