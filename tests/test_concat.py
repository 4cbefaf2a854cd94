"""Branches that end in Concat: merged where that pays, left apart with the figure where not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxac.pipeline import Options, optimize
from onnxac.report import Report


def branches(
    width: int, out: int, *, kernels: tuple[int, ...] = (3, 5, 7), tail: bool = True
) -> ModelProto:
    """Convolutions of several sizes over one input, each Relu and MaxPool, into Concat."""
    rng = np.random.default_rng(0)
    nodes: list[NodeProto] = []
    weights: list[TensorProto] = []
    ends: list[str] = []
    for i, taps in enumerate(kernels):
        values = rng.standard_normal((out, width, taps, taps)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{i}"))
        pads = [taps // 2] * 4
        nodes.append(helper.make_node("Conv", ["x", f"w{i}"], [f"c{i}"], f"conv{i}", pads=pads))
        if tail:
            pool: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
            nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"], f"relu{i}"))
            nodes.append(helper.make_node("MaxPool", [f"r{i}"], [f"p{i}"], f"pool{i}", **pool))
        ends.append(f"p{i}" if tail else f"c{i}")
    nodes.append(helper.make_node("Concat", ends, ["y"], "concat", axis=1))
    graph = helper.make_graph(
        nodes,
        "branches",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, width, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def optimized(model: ModelProto) -> tuple[dict[str, int], Report]:
    _, report = optimize(model, Options())
    return report.after.stats.ops, report


def test_few_channels_pay() -> None:
    """Measured 1.2 times faster merged, in spite of the zeros around the smaller kernels."""
    ops, report = optimized(branches(3, 8))
    assert ops == {"Conv": 1, "MaxPool": 1, "Relu": 1}
    (fusion,) = report.fusions
    assert {n.name for n in fusion.removed} >= {"conv0", "conv1", "conv2", "concat"}


def test_many_channels_do_not() -> None:
    """Measured 1.7 times slower merged; the reason says by how much."""
    ops, report = optimized(branches(32, 32))
    assert ops == {"Concat": 1, "Conv": 3, "MaxPool": 3, "Relu": 3}
    (refusal,) = report.refusals
    assert (refusal.node.name, refusal.rule) == ("concat", "stack")
    assert "of the time" in refusal.reason


@pytest.mark.parametrize("out", [4, 64])
def test_kernels_of_one_size_always_do(out: int) -> None:
    """Inception's 1x1s: side by side they cost nothing but the Concat less."""
    ops, report = optimized(branches(16, out, kernels=(1, 1, 1), tail=False))
    assert ops == {"Conv": 1}
    assert report.after.stats.macs == report.before.stats.macs


@pytest.mark.parametrize("tail", [False, True])
def test_some_of_the_branches(tail: bool) -> None:
    """Two of 1x1 become one; around them a 7x7 would have too many zeros."""
    ops, report = optimized(branches(32, 32, kernels=(1, 1, 7), tail=tail))
    assert ops == {"Concat": 1, "Conv": 2} | ({"MaxPool": 2, "Relu": 2} if tail else {})
    assert report.after.stats.macs == report.before.stats.macs
    names = {n.name for f in report.fusions for n in f.removed}
    assert names <= {f"{kind}{i}" for kind in ("conv", "relu", "pool") for i in range(3)}
    assert report.folded == 0


@pytest.mark.parametrize("kept", ["conv1", "relu1", "concat"])
def test_what_is_kept_is_not_moved(kept: str) -> None:
    """A branch that is kept has no part in it; a Concat that is kept has all its branches."""
    before = branches(3, 8)
    after, report = optimize(before, Options(keep=(kept,)))
    assert kept in {n.name for n in after.graph.node}
    assert report.after.stats.nodes <= report.before.stats.nodes
    (node,) = (n for n in after.graph.node if n.name == kept)
    assert node in before.graph.node


def test_a_lone_convolution_in_a_body_stays() -> None:
    weight = numpy_helper.from_array(np.ones((2, 2, 1, 1), np.float32), "w")

    def body(name: str) -> GraphProto:
        conv = helper.make_node("Conv", ["x", "w"], [name])
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([conv], name, [], [value])

    either: dict[str, Any] = {"then_branch": body("a"), "else_branch": body("b")}
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], "either", **either)],
        "nested",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4, 4]),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    _, report = optimize(model)
    assert not report.refusals
