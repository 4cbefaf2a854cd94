"""onnxac in other tools: each example runs with the real package, and is what the docs show.

Packages that need PyTorch are not installed with the tests; ONNXAC_TORCH_PYTHON may name a Python
that has them.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from documents import blocks
from places import MODELS, ROOT

EXAMPLES = ROOT / "examples"
SOURCE = MODELS / "onnx" / "repvgg" / "L.onnx"
NEEDS = {
    "onnx_ir": ("onnx_ir",),
    "onnxsim": ("onnxsim",),
    "olive": ("olive",),
    "optimum": ("optimum.exporters.onnx", "optimum.onnxruntime"),
    "mlflow": ("mlflow",),
    "timm": ("timm", "onnxscript"),
    "ultralytics": ("ultralytics", "onnxscript"),
}
# The result of each, and how many nodes it may have.
RESULTS = {"onnx_ir": "out.onnx", "onnxsim": "out.onnx", "olive": "out/model.onnx"}
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    "OLIVE_DISABLE_TELEMETRY": "1",
    "YOLO_OFFLINE": "true",
    "HF_HUB_OFFLINE": "1",
}


def python_with(packages: tuple[str, ...]) -> str:
    """A Python that has the packages; skips the test where there is none."""
    other = os.environ.get("ONNXAC_TORCH_PYTHON")
    for python in filter(None, (sys.executable, other)):
        look = f"import importlib.util as u; all(map(u.find_spec, {packages!r})) or exit(1)"
        if subprocess.run([python, "-c", look], check=False, capture_output=True).returncode == 0:
            return python
    pytest.skip(f"{', '.join(packages)}: not installed here, nor where ONNXAC_TORCH_PYTHON points")


def run(name: str, folder: Path) -> str:
    python = python_with(NEEDS[name])
    shutil.copy(SOURCE, folder / "in.onnx")
    done = subprocess.run(
        [python, EXAMPLES / f"with_{name}.py"],
        cwd=folder,
        env=os.environ | ENVIRONMENT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_a_model_in_the_form_of_another_tool_is_merged(name: str, tmp_path: Path) -> None:
    run(name, tmp_path)
    merged = onnx.load(tmp_path / RESULTS[name])
    assert sum(n.op_type == "Conv" for n in merged.graph.node) == 4
    assert len(merged.graph.node) <= 11


@pytest.mark.parametrize("name", ["optimum", "timm", "ultralytics"])
def test_what_a_framework_exports_is_merged(name: str, tmp_path: Path) -> None:
    said = run(name, tmp_path).strip().splitlines()[-1]
    before, _, after = said.partition(" -> ")
    assert int(after) < int(before)


def test_mlflow_keeps_the_model_and_its_report(tmp_path: Path) -> None:
    run("mlflow", tmp_path)
    found = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert {"onnxac.json", "MLmodel", "model.onnx"} <= found
    (path,) = tmp_path.rglob("model.onnx")
    assert len(onnx.load(path).graph.node) == 11


def test_the_docs_show_the_examples() -> None:
    shown = {
        b.file: b.body.split("\n", 1)[1].strip()
        for b in blocks(ROOT / "docs" / "integrations.md")
        if b.file is not None
    }
    assert shown.keys() == {f"examples/with_{name}.py" for name in NEEDS}
    for path, body in shown.items():
        script = (ROOT / path).read_text(encoding="utf-8").split('"""', 2)[2]
        lines = [x for x in script.splitlines() if not x.startswith("# ruff: noqa")]
        assert "\n".join(lines).strip() == body, path


def test_a_pass_of_onnx_ir_is_functional() -> None:
    if importlib.util.find_spec("onnx_ir") is None:
        pytest.skip("onnx-ir is not installed")
    import onnx_ir as ir

    from onnxac.integrations.onnx_ir import OnnxacPass

    merge, model = OnnxacPass(), ir.load(SOURCE)
    first = merge(model)
    assert isinstance(first, ir.passes.PassResult)
    assert (first.modified, len(list(first.model.graph)), len(list(model.graph))) == (True, 11, 23)
    assert merge.report is not None
    assert merge.report.verification is not None
    assert merge.report.verification.passed
    second = merge(first.model)
    assert not second.modified
    assert second.model is not first.model
    assert ir.to_proto(second.model).graph.node == ir.to_proto(first.model).graph.node


def test_what_onnxsim_asks_again_is_answered_with_false() -> None:
    from onnxac.integrations.onnxsim import rewriter

    rewrite = rewriter()
    merged = rewrite(onnx.load(SOURCE))
    assert isinstance(merged, onnx.ModelProto)
    assert rewrite(merged) is False
