"""The limits of the verifier and of the rules, each where one step further would be wrong.

A test for each single-line change that would loosen them: the noise's multiple and its cap, the
half precisions' multiple, the precision that kernels are computed in, what is accepted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxac.pipeline import Options, inspect, optimize, optimize_file
from onnxac.proof import Settings, verify
from onnxac.proof.judging.compare import gap
from onnxac.proof.judging.judge import Judge
from onnxac.proof.running.process import Worker
from onnxac.storage.disk import write_text

Array = NDArray[Any]
FLOAT = TensorProto.FLOAT
rng = np.random.default_rng(3)


def graph(
    nodes: list[onnx.NodeProto],
    weights: dict[str, Array],
    *,
    x: Sequence[int | str] = (1, 4, 9, 8),
    kind: int = FLOAT,
    opset: int = 18,
) -> onnx.ModelProto:
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, x)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def offset_and_back(offset: float, error: float) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Convolution, up by `offset` and down again, and the same without, off by `error`."""
    w = (np.random.default_rng(7).standard_normal((8, 4, 3, 3)) / 6).astype(np.float32)
    up = np.linspace(0.8, 1, 8, dtype=np.float32) * np.float32(offset) + np.float32(0.3)
    nodes = [
        helper.make_node("Conv", ["x", "w", "up"], ["z"], pads=[1, 1, 1, 1]),
        helper.make_node("Sub", ["z", "down"], ["y"]),
    ]
    before = graph(nodes, {"w": w, "up": up, "down": up[:, None, None] - np.float32(0.3)})
    bias = up.astype(np.float64) - (up - np.float32(0.3)).astype(np.float64) + error
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1])
    return before, graph([node], {"w": w, "b": bias.astype(np.float32)})


def test_noise_widens_the_tolerance_by_its_measure_only() -> None:
    """Two kernels whose difference is a hundredth of them: an error of 1e-3 is no rounding."""
    w = (np.random.default_rng(7).standard_normal((8, 4, 3, 3)) / 6).astype(np.float32)
    large = (np.random.default_rng(8).standard_normal((8, 4, 3, 3)) * 10).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["p"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["x", "u"], ["q"], pads=[1, 1, 1, 1]),
        helper.make_node("Sub", ["p", "q"], ["y"]),
    ]
    before = graph(nodes, {"v": large + w, "u": large})
    left = (large + w).astype(np.float64) - large
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    right, wrong = (
        graph([node], {"w": (left * factor).astype(np.float32)}) for factor in (1, 1.001)
    )
    assert verify(before, right).passed
    assert verify(before, wrong).verdict == "different"


def test_noise_widens_the_tolerance_to_a_third_of_the_digits_at_most() -> None:
    """Noise of 0.1 in values of 30: eight times that would let an error of 1 pass."""
    assert verify(*offset_and_back(1e6, 0)).passed
    assert verify(*offset_and_back(1e6, 1.5)).verdict == "different"
    with Worker(60, None) as worker:
        judge = Judge(worker, Settings(), lambda _: False, coarsest=2.0**-23)
        cap = judge.cap(gap([np.ones(2, np.float32)], [np.ones(2, np.float32)]))
    assert cap == pytest.approx(2 ** (-23 / 3))


def test_a_network_without_digits_is_called_that() -> None:
    """Sixty steps of x → 4x(1 − x), written in two ways: each doubles what rounding left."""
    first, second = [helper.make_node("Sigmoid", ["x"], ["t0"])], []
    second.append(first[0])
    for i in range(60):
        a, b = f"t{i}", "y" if i == 59 else f"t{i + 1}"
        first += [
            helper.make_node("Sub", ["one", a], [f"r{i}"]),
            helper.make_node("Mul", ["four", a], [f"f{i}"]),
            helper.make_node("Mul", [f"f{i}", f"r{i}"], [b]),
        ]
        second += [
            helper.make_node("Mul", [a, a], [f"s{i}"]),
            helper.make_node("Sub", [a, f"s{i}"], [f"d{i}"]),
            helper.make_node("Mul", ["four", f"d{i}"], [b]),
        ]
    weights = {"one": np.array(1, np.float32), "four": np.array(4, np.float32)}
    found = verify(graph(first, weights), graph(second, weights), Settings(outputs_only=True))
    assert found.verdict == "not shown", found
    assert "too ill-conditioned to judge: rounding moves it by" in found.unseen[0]


@pytest.mark.parametrize(("off", "verdict"), [(1, "equal"), (3, "different")])
def test_half_precision_is_allowed_two_roundings(off: int, verdict: str) -> None:
    """Whole numbers have no noise: nothing but the type says how far they may be off."""
    node = helper.make_node("Mul", ["x", "c"], ["y"])
    before, after = (
        graph([node], {"c": np.array(c, np.float16)}, kind=TensorProto.FLOAT16)
        for c in (1, 1 + off * 2.0**-10)
    )
    assert verify(before, after).verdict == verdict


def test_kernels_are_computed_in_float64_and_rounded_once() -> None:
    w, v = (rng.standard_normal((16, 16, 3, 3)).astype(np.float32) for _ in range(2))
    scale, shift, mean, var = (rng.random(16).astype(np.float32) + 0.5 for _ in range(4))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["p"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["x", "v"], ["q"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["p", "q"], ["z"]),
        helper.make_node("BatchNormalization", ["z", "s", "b", "m", "a"], ["y"], epsilon=1e-5),
    ]
    weights = {"w": w, "v": v, "s": scale, "b": shift, "m": mean, "a": var}
    result, _ = optimize(graph(nodes, weights, x=(1, 16, 9, 8)), Options(verify=False))
    kernel, bias = (numpy_helper.to_array(t) for t in result.graph.initializer)
    factor = scale.astype(np.float64) / np.sqrt(var.astype(np.float64) + np.float32(1e-5))
    wanted = (w.astype(np.float64) + v.astype(np.float64)) * factor[:, None, None, None]
    # To the bit, but for the last one, where the order of two exact operations tells.
    ulp = np.spacing(np.abs(wanted).astype(np.float32))
    assert (np.abs(kernel - wanted) <= 0.5001 * ulp).all()
    exact = shift.astype(np.float64) - mean.astype(np.float64) * factor
    assert (np.abs(bias - exact) <= 0.5001 * np.spacing(np.abs(exact).astype(np.float32))).all()


def test_statistics_of_each_position_are_no_scale_of_channels() -> None:
    w = rng.standard_normal((4, 4, 1, 1)).astype(np.float32)
    statistics = {n: rng.random((4, 9, 8)).astype(np.float32) + 0.5 for n in "sbma"}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["p"]),
        helper.make_node("BatchNormalization", ["p", "s", "b", "m", "a"], ["y"], spatial=0),
    ]
    report = inspect(graph(nodes, {"w": w, **statistics}, opset=8))
    assert not report.fusions
    assert any("spatial=0" in r.reason for r in report.refusals)


def test_a_mean_that_stretches_one_of_its_operands_is_no_sum_of_them() -> None:
    """A window over a value that stands for a whole map sees it nine times, over the value once."""
    weights = {n: rng.standard_normal((4, 4, 3, 3)).astype(np.float32) for n in "wvu"}

    def windowed(source: str, weight: str, target: str) -> onnx.NodeProto:
        return helper.make_node("Conv", [source, weight], [target], pads=[1, 1, 1, 1])

    means = [helper.make_node("Mean", ["x", "g"], ["m"])]
    means += [windowed("m", "w", "a"), windowed("x", "v", "b"), windowed("g", "u", "c")]
    means.append(helper.make_node("Mean", ["a", "b", "c"], ["y"]))
    before = graph([helper.make_node("GlobalAveragePool", ["x"], ["g"]), *means], weights)
    result, report = optimize(before, Options(verify=False))
    assert verify(before, result).passed
    assert not report.fusions
    alike = graph([helper.make_node("Relu", ["x"], ["g"]), *means], weights)
    result, report = optimize(alike, Options(verify=False))
    assert verify(alike, result).passed
    assert len(report.fusions) == 1


def test_a_model_is_replaced_in_one_step(tmp_path: Path) -> None:
    """Whoever has the old model open goes on reading the old one."""
    path, weights = tmp_path / "m.onnx", {"w": np.ones((4, 4, 1, 1), np.float32)}
    onnx.save(graph([helper.make_node("Conv", ["x", "w"], ["y"])], weights), path)
    old = path.read_bytes()
    with path.open("rb") as reader:
        optimize_file(path, path, Options(verify=False))
        assert reader.read() == old
        assert os.fstat(reader.fileno()).st_ino != path.stat().st_ino


def test_a_text_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """Whoever has the old file open goes on reading the old one."""
    path = tmp_path / "report.json"
    write_text(path, "old")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_rtol_and_atol_are_of_each_value() -> None:
    """As numpy.allclose: a small value beside a large one has its own tolerance."""
    before, after = np.array([1000.0, 1e-3]), np.array([1000.5, 1.1e-3])
    assert gap([before], [after], elementwise=(1e-3, 1e-3)).relative[0] <= 1
    assert gap([before], [after], elementwise=(1e-3, 0)).relative[0] > 1
    assert gap([before], [after], elementwise=(1e-4, 1e-3)).relative[0] > 1
    node = helper.make_node("Mul", ["x", "c"], ["y"])
    pair = [graph([node], {"c": np.array(c, np.float32)}) for c in (1, 1.001)]
    assert verify(pair[0], pair[1], Settings(rtol=2e-3)).passed
    assert not verify(pair[0], pair[1], Settings(rtol=5e-4)).passed
    assert not verify(pair[0], pair[1], Settings(atol=1e-3)).passed
