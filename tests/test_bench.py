"""The benchmark: what it reports, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxac.errors import ModelError, RuntimeFailure, UsageError, VerificationError
from onnxac.proof.running.latency import compare_latency


def convs(number: int, x: Sequence[int | str] = (1, 8, 32, 32)) -> onnx.ModelProto:
    """A chain of `number` equal convolutions with a Relu behind each."""
    weight = np.full((8, 8, 3, 3), 0.01, np.float32)
    nodes = []
    for i in range(number):
        source, target = ("x" if i == 0 else f"r{i}"), ("y" if i + 1 == number else f"r{i + 1}")
        nodes.append(helper.make_node("Conv", [source, "w"], [f"c{i}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [target]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_fewer_convolutions_are_faster() -> None:
    latency = compare_latency(convs(12), convs(1), runs=9)
    assert latency.before_ms > latency.after_ms > 0
    assert latency.ratio == pytest.approx(latency.before_ms / latency.after_ms)
    assert latency.before_spread_ms >= 0
    assert latency.after_spread_ms >= 0
    assert (latency.runs, latency.threads) == (9, 1)
    assert latency.provider == "CPUExecutionProvider"


def test_openvino_is_another_runtime() -> None:
    pytest.importorskip("openvino", reason="it is an extra")
    latency = compare_latency(convs(12), convs(1), runs=9, runtime="openvino")
    assert latency.before_ms > latency.after_ms > 0
    assert latency.provider == "OpenVINO CPU"
    with pytest.raises(UsageError, match=r"no provider 'Abacus' here; available: .*CPU"):
        compare_latency(convs(1), convs(1), runtime="openvino", provider="Abacus")


def test_openvino_is_told_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match=r'pip install "onnxac\[openvino\]"'):
        compare_latency(convs(1), convs(1), runtime="openvino")


def test_an_unknown_runtime_names_the_others() -> None:
    with pytest.raises(UsageError, match="no runtime 'tvm'; there are onnxruntime, openvino"):
        compare_latency(convs(1), convs(1), runtime="tvm")


def test_one_run_has_no_spread() -> None:
    latency = compare_latency(convs(1), convs(1), runs=1, warmup=0)
    assert (latency.before_spread_ms, latency.after_spread_ms) == (0, 0)


def test_time_is_limited() -> None:
    latency = compare_latency(convs(6), convs(6), runs=1_000_000, max_seconds=0.2)
    assert 1 <= latency.runs < 1_000_000


def test_free_extents_have_defaults(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(convs(1, ("n", 8, "h", "w")), path)
    small = compare_latency(path, str(path), runs=3, shapes={"x": (1, 8, 8, 8)})
    large = compare_latency(path, path, runs=3)
    assert large.before_ms > small.before_ms


def test_an_unknown_provider_names_the_others() -> None:
    with pytest.raises(UsageError, match=r"no provider 'Abacus' here; available: .*CPUExec"):
        compare_latency(convs(1), convs(1), provider="Abacus")


@pytest.mark.parametrize(
    "options",
    [
        {"runs": 0},
        {"warmup": -1},
        {"threads": -1},
        {"max_seconds": 0},
        {"shapes": {"x": (1, 8, 32, 33)}},
        {"shapes": {"z": (1,)}},
    ],
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        compare_latency(convs(1), convs(1), **options)


def test_models_that_do_not_run(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="can't be read"):
        compare_latency(tmp_path / "missing.onnx", convs(1))
    broken = convs(1)
    broken.graph.node[0].op_type = "Mystery"
    with pytest.raises(RuntimeFailure, match="the original model itself does not load"):
        compare_latency(broken, convs(1))
    with pytest.raises(VerificationError, match="the optimized model does not load"):
        compare_latency(convs(1), broken)
    with pytest.raises(VerificationError, match="the optimized model does not run"):
        compare_latency(convs(1), convs(1, (1, 8, 16, 16)))


def test_onnxruntime_is_not_imported_with_the_module() -> None:
    code = "import sys, onnxac.proof.running.latency; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
