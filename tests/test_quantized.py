"""Models that are quantized already: what stays to the bit, and what --dequantize merges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exact import Array, session
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, save
from onnxruntime.quantization import QuantFormat
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from onnxac.cli import run
from onnxac.pipeline import Options, inspect, optimize
from onnxac.report import Report


class Quantized:
    """A graph in the making: weights behind DequantizeLinear, activations behind pairs."""

    def __init__(self, *, per_channel: bool = False) -> None:
        self.rng = np.random.default_rng(7)
        self.nodes: list[NodeProto] = []
        self.stored: dict[str, Array] = {}
        self.per_channel = per_channel

    def node(self, op: str, sources: list[str], **attributes: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, sources, [name], name, **attributes))
        return name

    def weight(self, *shape: int) -> str:
        """Integers, and powers of two for scales: nothing rounds."""
        name = f"w{len(self.stored)}"
        self.stored[name] = self.rng.integers(-7, 8, shape).astype(np.int8)
        channels = (shape[0],) if self.per_channel else ()
        self.stored[f"{name}_scale"] = np.full(channels, 0.25, np.float32)
        self.stored[f"{name}_zero"] = np.zeros(channels, np.int8)
        more: dict[str, Any] = {"axis": 0} if self.per_channel else {}
        return self.node("DequantizeLinear", [name, f"{name}_scale", f"{name}_zero"], **more)

    def conv(self, x: str, taps: int, channels: int = 4) -> str:
        kernel = self.weight(channels, 4, taps, taps)
        return self.node("Conv", [x, kernel], pads=[taps // 2] * 4)

    def pair(self, x: str) -> str:
        """What quantizes an activation."""
        self.stored.setdefault("scale", np.array(0.5, np.float32))
        self.stored.setdefault("zero", np.array(3, np.uint8))
        small = self.node("QuantizeLinear", [x, "scale", "zero"])
        return self.node("DequantizeLinear", [small, "scale", "zero"])

    def model(self, output: str) -> ModelProto:
        infos = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, None, 8, 8])
            for n in ("x", output)
        ]
        infos[0].type.tensor_type.shape.dim[1].dim_value = 4
        graph = helper.make_graph(
            self.nodes,
            "quantized",
            infos[:1],
            infos[1:],
            [numpy_helper.from_array(v, n) for n, v in self.stored.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def block(net: Quantized, *, activations: bool) -> str:
    parts = [net.conv("x", t) for t in (3, 1)]
    if activations:
        parts = [net.pair(p) for p in parts]
    return net.node("Relu", [net.node("Add", parts)])


def assert_untouched(model: ModelProto, result: ModelProto) -> None:
    """What is left has its bytes: quantized weights, scales, zero points, and their nodes."""
    before = {t.name: t.SerializeToString() for t in model.graph.initializer}
    for tensor in result.graph.initializer:
        if tensor.name in before:
            assert tensor.SerializeToString() == before[tensor.name]
    # Equal scales are stored once: their names may be others, their bytes are not.
    first, second = (
        {t.name: (t.data_type, list(t.dims), t.raw_data) for t in m.graph.initializer}
        for m in (model, result)
    )
    nodes = {n.name: n for n in model.graph.node}
    for node in result.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            other = nodes[node.name]
            assert list(node.attribute) == list(other.attribute)
            for a, b in zip(other.input, node.input, strict=True):
                assert first.get(a, a) == second.get(b, b)


def same(model: ModelProto, result: ModelProto) -> bool:
    values = {"x": np.random.default_rng(1).integers(-3, 4, (1, 4, 8, 8)).astype(np.float32)}
    want, have = (session(m).run(None, values)[0] for m in (model, result))
    return bool(np.array_equal(want, have))


@pytest.mark.parametrize("activations", [False, True])
def test_quantized_branches_stay_with_a_reason(activations: bool) -> None:
    net = Quantized()
    model = net.model(block(net, activations=activations))
    result, report = optimize(model, Options(seeds=1))
    assert report.fusions == ()
    assert [n.name for n in result.graph.node] == [n.name for n in model.graph.node]
    assert_untouched(model, result)
    assert any("is quantized" in r.reason and "--dequantize" in r.reason for r in report.refusals)


@pytest.mark.parametrize("per_channel", [False, True])
def test_weights_alone_are_merged_where_that_is_asked_for(per_channel: bool) -> None:
    net = Quantized(per_channel=per_channel)
    model = net.model(block(net, activations=False))
    result, report = optimize(model, Options(dequantize=True, seeds=1))
    assert len(report.fusions) == 1
    assert [n.op_type for n in result.graph.node] == ["Conv", "Relu"]
    assert same(model, result)
    (fusion,) = report.fusions
    assert fusion.certificate is not None
    assert fusion.certificate.holds, fusion.certificate.reason


def test_quantizers_of_activations_keep_branches_apart() -> None:
    net = Quantized()
    model = net.model(block(net, activations=True))
    result, report = optimize(model, Options(dequantize=True, seeds=1))
    assert report.fusions == ()
    assert [n.name for n in result.graph.node] == [n.name for n in model.graph.node]
    assert_untouched(model, result)


def mixed() -> ModelProto:
    """A block of weights only, a quantized convolution, and a block of floats."""
    net = Quantized()
    x = net.pair(block(net, activations=False))
    x = net.pair(net.conv(x, 3))
    parts = []
    for taps in (3, 1):
        name = f"f{taps}"
        net.stored[name] = net.rng.integers(-2, 3, (4, 4, taps, taps)).astype(np.float32)
        parts.append(net.node("Conv", [x, name], pads=[taps // 2] * 4))
    return net.model(net.node("Add", parts))


def test_float_parts_are_merged_and_the_rest_is_untouched() -> None:
    model = mixed()
    result, report = optimize(model, Options(seeds=1))
    assert len(report.fusions) == 1
    assert_untouched(model, result)
    assert same(model, result)
    stored = {t.name for t in result.graph.initializer}
    assert stored.isdisjoint({"f3", "f1"})
    kernels = [
        t.name for t in model.graph.initializer if t.data_type == TensorProto.INT8 and t.dims
    ]
    assert len(kernels) == 3
    assert stored.issuperset(kernels)


def test_a_quantized_weight_that_is_not_merged_stays_as_small_as_it_was() -> None:
    model = mixed()
    result, report = optimize(model, Options(dequantize=True, seeds=1))
    assert len(report.fusions) == 2
    assert_untouched(model, result)
    assert same(model, result)
    kept = [n.op_type for n in result.graph.node]
    assert kept.count("DequantizeLinear") == 3
    assert kept.count("QuantizeLinear") == 2


def test_no_factor_is_moved_into_quantized_weights() -> None:
    net = Quantized()
    x = net.node("Relu", [net.conv("x", 3)])
    model = net.model(net.conv(x, 3))
    for options in (Options(equalize=True), Options(equalize=True, dequantize=True)):
        result, report = optimize(model, options)
        assert report.equalizations == ()
        assert_untouched(model, result)
        assert sum("quantized" in r.reason for r in report.refusals) >= 2


def in_four_bits(form: QuantFormat, *, symmetric: bool) -> ModelProto:
    """Two products of 4-bit matrices, scaled by blocks of rows, and two float ones, each a sum."""
    rng = np.random.default_rng(3)
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"], "a"),
        helper.make_node("MatMul", ["x", "w1"], ["b"], "b"),
        helper.make_node("Add", ["a", "b"], ["s"], "s"),
        helper.make_node("Relu", ["s"], ["r"], "r"),
        helper.make_node("MatMul", ["r", "w2"], ["c"], "c"),
        helper.make_node("MatMul", ["r", "w3"], ["d"], "d"),
        helper.make_node("Add", ["c", "d"], ["y"], "y"),
    ]
    # 16 rows are half a block more than two of 32: the last one is shorter.
    rows = {"w0": 80, "w1": 80, "w2": 64, "w3": 64}
    weights = [
        numpy_helper.from_array(rng.normal(size=(r, 64)).astype(np.float32), n)
        for n, r in rows.items()
    ]
    infos = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", c])
        for n, c in (("x", 80), ("y", 64))
    ]
    graph = helper.make_graph(nodes, "four", infos[:1], infos[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    quantizer = MatMulNBitsQuantizer(
        model,
        bits=4,
        block_size=32,
        is_symmetric=symmetric,
        quant_format=form,
        nodes_to_exclude=["c", "d"],
    )
    quantizer.process()
    made: ModelProto = quantizer.model.model
    return made


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("dequantize", [True, False])
@pytest.mark.parametrize("form", [QuantFormat.QOperator, QuantFormat.QDQ])
def test_weights_in_four_bits_scaled_by_blocks(
    form: QuantFormat, dequantize: bool, symmetric: bool
) -> None:
    model = in_four_bits(form, symmetric=symmetric)
    result, report = optimize(model, Options(dequantize=dequantize, seeds=1))
    assert report.verification is not None
    assert report.verification.passed
    values = {"x": np.random.default_rng(1).normal(size=(3, 80)).astype(np.float32)}
    want, have = (session(m).run(None, values)[0] for m in (model, result))
    assert np.abs(want - have).max() < 1e-5 * np.abs(want).max()
    merges = dequantize and form == QuantFormat.QDQ
    assert len(report.fusions) == 1 + merges
    if form == QuantFormat.QDQ:
        # Nobody but ONNX Runtime knows the shape behind a MatMulNBits: there the run is the proof.
        assert all(f.certificate is not None and f.certificate.holds for f in report.fusions)
    assert_untouched(model, result)
    kept = {t.name for t in result.graph.initializer}
    small = {t.name for t in model.graph.initializer if t.name.startswith(("w0_", "w1_"))}
    reasons = {r.node.name: r.reason for r in report.refusals}
    if merges:
        assert [n.op_type for n in result.graph.node] == ["MatMul", "Relu", "MatMul"]
        assert not small & kept
    elif form == QuantFormat.QDQ:
        assert small <= kept
        assert len(reasons) == 2
        assert all("is quantized (--dequantize" in reason for reason in reasons.values())
    else:
        assert small <= kept
        assert "MatMulNBits is not a standard operator" in " ".join(reasons.values())


def test_the_command_and_explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Quantized()
    save(net.model(block(net, activations=False)), tmp_path / "in.onnx")
    source, target = str(tmp_path / "in.onnx"), str(tmp_path / "out.onnx")
    assert run(["explain", source]) == 0
    assert "--dequantize" in capsys.readouterr().out
    assert run(["optimize", source, target, "--dequantize", "--fail-if-unfused"]) == 0
    report: Report = inspect(target)
    assert report.before.stats.nodes == 2
