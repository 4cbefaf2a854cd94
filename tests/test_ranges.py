"""How well a model quantizes: the figures of the report, and the gate."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, save
from uneven import Array, Map, Uneven, feed

from onnxac.cli import run
from onnxac.pipeline import Options, inspect, optimize
from onnxac.quantizing import weight_ranges
from onnxac.report import Quantization, Report

Capture = pytest.CaptureFixture[str]


def network() -> tuple[Uneven, ModelProto]:
    """3x3 + 1x1, whose channels are wide in different branches; Relu; Conv; mean; Gemm."""
    net = Uneven(seed=2)
    parts = [net.conv(net.start, 6, taps=t, powers=p) for t, p in ((3, WIDE), (1, WIDE[::-1]))]
    net.constants["w1"] = net.constants["w1"] * 16
    x = net.relu(Map(net.node("Add", [p.name for p in parts]), WIDE))
    return net, net.model(net.head(net.relu(net.conv(x, 5))))


WIDE = (3, 0, 0, -3, -3, -3)


def measured(report: Report) -> Quantization:
    assert report.quantization is not None
    return report.quantization


def single(op: str, weight: Array, **attributes: Any) -> ModelProto:
    node = helper.make_node(op, ["x", "w"], ["y"], "only", **attributes)
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "xy"]
    stored = [numpy_helper.from_array(weight.astype(np.float32), "w")]
    return helper.make_model(helper.make_graph([node], "g", info[:1], info[1:], stored))


@pytest.mark.parametrize(
    ("op", "shape", "rows", "attributes"),
    [
        ("Conv", (2, 3, 1, 2), lambda w: w.reshape(2, -1), {}),
        ("ConvTranspose", (3, 2, 1, 2), lambda w: w.swapaxes(0, 1).reshape(2, -1), {}),
        (
            "ConvTranspose",
            (4, 3, 1, 1),
            lambda w: np.stack(
                [w[2 * (o // 3) : 2 * (o // 3) + 2, o % 3].ravel() for o in range(6)]
            ),
            {"group": 2},
        ),
        ("MatMul", (4, 3), lambda w: w.T, {}),
        ("Gemm", (4, 3), lambda w: w.T, {}),
        ("Gemm", (4, 3), lambda w: w, {"transB": 1}),
    ],
)
def test_a_weight_as_a_whole_and_by_channels(
    op: str, shape: tuple[int, ...], rows: object, attributes: dict[str, Any]
) -> None:
    weight = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    (found,) = weight_ranges(single(op, weight, **attributes), Path())
    values = np.asarray(rows(weight), np.float64)  # type: ignore[operator]
    rms = math.sqrt(float(np.mean(values**2)))
    assert found.node.name == "only"
    assert found.weight == "w"
    assert found.ratio == pytest.approx(np.abs(values).max() / rms)
    each = np.abs(values).max(axis=1) / np.sqrt(np.mean(values**2, axis=1))
    assert found.channels == pytest.approx(tuple(each))


def test_a_weight_of_zeros_or_without_numbers_has_no_range() -> None:
    (found,) = weight_ranges(single("MatMul", np.zeros((2, 2))), Path())
    assert found.ratio == 0
    (found,) = weight_ranges(single("MatMul", np.array([[np.inf, 1.0], [0, 0]])), Path())
    assert found.ratio == 0
    (found,) = weight_ranges(single("MatMul", np.array([[1.0, 1.0], [1, 1]])), Path())
    assert found.ratio == 1


def test_before_and_after_and_the_worst_named() -> None:
    _, model = network()
    _, report = optimize(model, Options(equalize=True, seeds=1))
    found = measured(report)
    assert len(found.before.weights) == 4
    assert len(found.after.weights) == 3
    _, plain = optimize(model, Options(ranges=True, seeds=1))
    fused = measured(plain).after
    assert found.after.worst[0].ratio < fused.worst[0].ratio
    assert [w.ratio for w in fused.worst] == sorted((w.ratio for w in fused.weights), reverse=True)
    assert Report.from_dict(report.to_dict()) == report


def test_merging_that_makes_a_range_wider_is_told() -> None:
    _, model = network()
    found = measured(inspect(model, Options(ranges=True)))
    (told,) = found.widened
    assert len(told.branches) == 2
    assert told.ratio > max(told.branches)


def test_a_normalization_counts_to_its_branch() -> None:
    """The same weights, scaled by a batch normalization each: the same figures."""
    net = Uneven(seed=5)
    made = []
    for taps, powers in ((3, WIDE), (1, WIDE[::-1])):
        conv = net.conv(net.start, 6, taps=taps, powers=(0,) * 6)
        scale = net.constant(f"g{taps}", np.exp2(powers) * (16 if taps == 1 else 1))
        zero, one = net.constant(f"z{taps}", np.zeros(6)), net.constant(f"o{taps}", np.ones(6))
        made.append(
            net.node("BatchNormalization", [conv.name, scale, zero, zero, one], epsilon=0.0)
        )
    model = net.model(Map(net.node("Add", made), WIDE))
    (told,) = measured(inspect(model, Options(ranges=True))).widened
    plain = [w.ratio for w in measured(inspect(model, Options(ranges=True))).before.weights]
    assert min(told.branches) > max(plain)


def test_activations_on_given_inputs(tmp_path: Path) -> None:
    net, model = network()
    np.savez(tmp_path / "a.npz", x=feed(net, 1)["x"])
    np.savez(tmp_path / "b.npz", x=feed(net, 2)["x"])
    inputs = (tmp_path / "a.npz", tmp_path / "b.npz")
    _, report = optimize(model, Options(equalize=True, seeds=1, inputs=inputs))
    found = measured(report)
    before = {a.tensor: a for a in found.before.activations}
    after = {a.tensor: a for a in found.after.activations}
    scaled = [t for c in report.equalizations for t in c.tensors]
    assert scaled
    for tensor in scaled:
        old, new = before[tensor.before], after[tensor.after]
        for lows, news, factor in zip(
            (old.low, old.high), (new.low, new.high), [tensor.factors] * 2, strict=True
        ):
            assert np.array_equal(np.divide(lows, factor), news)
    single_run = measured(optimize(model, Options(ranges=True, seeds=1, inputs=inputs[:1]))[1])
    name = scaled[0].before
    one = {a.tensor: a for a in single_run.before.activations}[name]
    assert all(a <= b for a, b in zip(before[name].low, one.low, strict=True))
    assert not measured(inspect(model, Options(ranges=True))).before.activations


def test_the_command_tells_them(tmp_path: Path, capsys: Capture) -> None:
    net, model = network()
    save(model, tmp_path / "in.onnx")
    np.savez(tmp_path / "a.npz", x=feed(net, 1)["x"])
    source, target, report, summary = (
        str(tmp_path / n) for n in ("in.onnx", "out.onnx", "r.json", "s.md")
    )
    written = ["--report", report, "--summary", summary, "--inputs", str(tmp_path / "a.npz")]
    assert run(["optimize", source, target, "--ranges", *written]) == 0
    said = capsys.readouterr().out
    assert "times its rms" in said
    assert "max/rms" in said
    assert "widest/mean" in said
    assert "--equalize evens it out" in " ".join(said.split())
    assert "max/rms" in Path(summary).read_text()
    assert json.loads(Path(report).read_text())["quantization"]["widened"]
    assert run(["optimize", source, target]) == 0
    assert "rms" not in capsys.readouterr().out


def test_a_gate_for_ranges(tmp_path: Path, capsys: Capture) -> None:
    _, model = network()
    save(optimize(model, Options(verify=False))[0], tmp_path / "fused.onnx")
    save(optimize(model, Options(verify=False, equalize=True))[0], tmp_path / "even.onnx")
    wide, even = (
        max(w.ratio for w in measured(inspect(tmp_path / n, Options(ranges=True))).before.weights)
        for n in ("fused.onnx", "even.onnx")
    )
    assert even < wide
    limit = str((even + wide) / 2)
    assert run(["check", str(tmp_path / "even.onnx"), "--max-range-ratio", limit]) == 0
    assert run(["check", str(tmp_path / "fused.onnx"), "--max-range-ratio", limit]) == 1
    assert "times their rms, that of" in capsys.readouterr().out
    assert run(["check", str(tmp_path / "fused.onnx"), "--max-range-ratio", "1000"]) == 0
