"""Every refusal is right: fused anyway, the result would differ.

Each case here is a model with something that looks as if it could be fused, and the naive
fusion of it, written by hand. The model comes out with a refusal that names the node and
the rule; the naive fusion computes something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from exact import Array, Net, Window, feeds, operators, run
from fusing import INNER3, POINT, SAME3, composed, fused, one_conv, refused, weight
from onnx import ModelProto, TensorProto, helper


@dataclass(frozen=True)
class Case:
    """A model, what a careless optimizer makes of it, and the refusal that stands instead."""

    model: ModelProto
    naive: ModelProto
    node: str
    rule: str


def biased_pointwise_then_padded() -> Case:
    a, b, k = weight(3, 2, 1, 1), np.array([1.0, 2.0, 3.0]), weight(2, 3, 3, 3)
    net = Net()
    net.output(net.conv(net.conv(net.input((1, 2, 6, 6)), a, POINT, bias=b), k, SAME3))
    bias = np.einsum("omij,m->o", k, b)
    return Case(net.model(), one_conv((1, 2, 6, 6), composed(k, a), SAME3, bias), "Conv", "border")


def padded_then_padded() -> Case:
    a, k = weight(1, 1, 3, 3), weight(1, 1, 3, 3)
    net = Net()
    net.output(net.conv(net.conv(net.input((1, 1, 6, 6)), a, SAME3), k, SAME3))
    wide = [Window(5, offset=-2)] * 2
    return Case(net.model(), one_conv((1, 1, 6, 6), composed(k, a), wide), "Conv", "border")


def average_without_its_padding() -> Case:
    """count_include_pad=0: at the border it divides by fewer elements."""
    k = weight(2, 2, 1, 1)
    net = Net()
    made = net.conv(net.input((1, 2, 6, 6)), k, POINT)
    net.output(
        net.unary("AveragePool", made, shape=(1, 2, 7, 7), kernel_shape=[2, 2], pads=[1, 1, 1, 1])
    )
    window = [Window(2, offset=-1, extent=1)] * 2
    naive = one_conv((1, 2, 6, 6), np.repeat(np.repeat(k / 4, 2, 2), 2, 3), window)
    return Case(net.model(), naive, "AveragePool", "average")


def average_with_a_partial_window() -> Case:
    """ceil_mode: the last window lies partly outside, and there is one more of them."""
    k = weight(2, 2, 1, 1)
    net = Net()
    made = net.conv(net.input((1, 2, 5, 5)), k, POINT)
    net.output(
        net.unary(
            "AveragePool",
            made,
            shape=(1, 2, 3, 3),
            kernel_shape=[2, 2],
            strides=[2, 2],
            ceil_mode=1,
        )
    )
    window = [Window(2, stride=2, extent=-1)] * 2
    naive = one_conv((1, 2, 5, 5), np.repeat(np.repeat(k / 4, 2, 2), 2, 3), window)
    return Case(net.model(), naive, "AveragePool", "ceil_mode")


def normalized_then_padded() -> Case:
    """A BatchNormalization with a shift in front of a padded convolution."""
    k = weight(2, 2, 3, 3)
    beta = np.array([1.0, -2.0])
    net = Net()
    x = net.input((1, 2, 6, 6))
    norm = net.batch_norm(x, np.array([2.0, 1.0]), beta, np.zeros(2), np.zeros(2))
    net.output(net.conv(norm, k, SAME3))
    scaled = k * np.array([2.0, 1.0]).reshape(1, 2, 1, 1)
    naive = one_conv((1, 2, 6, 6), scaled, SAME3, np.einsum("oikl,i->o", k, beta))
    return Case(net.model(), naive, "BatchNormalization", "border")


def cropped_then_padded() -> Case:
    k = weight(1, 1, 3, 3)
    net = Net()
    x = net.input((1, 1, 6, 6))
    net.output(net.conv(net.crop(x, {2: (1, 1, 1), 3: (1, 1, 1)}), k, SAME3))
    return Case(net.model(), one_conv((1, 1, 6, 6), k, INNER3), "Slice", "border")


def padded_by_a_constant() -> Case:
    k = weight(1, 1, 3, 3)
    net = Net()
    x = net.input((1, 1, 6, 6))
    net.output(net.conv(net.pad(x, {2: (1, 1), 3: (1, 1)}, value=1.0), k, INNER3))
    return Case(net.model(), one_conv((1, 1, 6, 6), k, SAME3), "Pad", "operator")


def spread_out_bias() -> Case:
    """Between the zeros of a transposed convolution a bias is not."""
    a, b, k = weight(2, 2, 1, 1), np.array([1.0, 2.0]), weight(2, 1, 2, 2)

    def transposed(net: Net, x: Any, kernel: Array, **more: Any) -> Any:
        names = [x.name, net.constant(kernel), *(net.constant(v) for v in more.values())]
        shape = (1, kernel.shape[1], 9, 9)
        return net.node(
            "ConvTranspose",
            names,
            x,
            shape=shape,
            strides=[3, 3],
            pads=[0, 0, 2, 2],
            output_padding=[2, 2],
            bound=100.0,
        )

    net, other = Net(), Net()
    net.output(transposed(net, net.conv(net.input((1, 2, 3, 3)), a, POINT, bias=b), k))
    merged = np.einsum("mokl,mi->iokl", k, a[:, :, 0, 0])
    bias = np.einsum("mokl,m->o", k, b)
    other.output(transposed(other, other.input((1, 2, 3, 3)), merged, bias=bias))
    return Case(net.model(), other.model(), "Conv", "spread")


def constant_over_another_axis() -> Case:
    """A vector added to NCHW lies over W, even where there are as many channels."""
    k, v = weight(6, 2, 1, 1), np.arange(1.0, 7.0)
    net = Net()
    x = net.input((1, 2, 6, 6))
    net.output(net.shift(net.conv(x, k, POINT), v))
    return Case(net.model(), one_conv((1, 2, 6, 6), k, POINT, v), "Conv", "layout")


def factor_over_another_axis() -> Case:
    k, v = weight(6, 2, 1, 1), np.array([1.0, 2.0, 1.0, 0.5, 1.0, 2.0])
    net = Net()
    x = net.input((1, 2, 6, 6))
    net.output(net.scale(net.conv(x, k, POINT), v))
    naive = one_conv((1, 2, 6, 6), k * v.reshape(6, 1, 1, 1), POINT)
    return Case(net.model(), naive, "Conv", "layout")


def constant_per_position() -> Case:
    k = weight(2, 2, 1, 1)
    v = np.zeros((1, 2, 6, 6))
    v[:, :, 2, 3] = 1.0
    net = Net()
    x = net.input((1, 2, 6, 6))
    net.output(net.shift(net.conv(x, k, POINT), v))
    return Case(
        net.model(), one_conv((1, 2, 6, 6), k, POINT, v.max(axis=(0, 2, 3))), "Add", "broadcast"
    )


def training_statistics() -> Case:
    """In training mode the statistics are those of the batch, not the stored ones."""
    k = weight(2, 2, 1, 1)
    net = Net()
    x = net.input((1, 2, 4, 4))
    made = net.conv(x, k, POINT)
    stored = [net.constant(v) for v in (np.ones(2), np.zeros(2), np.zeros(2), np.ones(2))]
    net.output(made)
    model = net.model()
    model.graph.node.append(
        helper.make_node(
            "BatchNormalization", [made.name, *stored], ["y", "m", "v"], training_mode=1
        )
    )
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4))
    return Case(model, one_conv((1, 2, 4, 4), k, POINT), "BatchNormalization", "training")


def broadcasting_sum() -> Case:
    """Behind a sum that broadcasts one operand, its convolution is not that of a map."""
    k = weight(1, 2, 3, 3)
    net, other = Net(), Net()
    for made, inside in ((net, True), (other, False)):
        x, vector = made.input((1, 2, 6, 6)), made.input((1, 2, 1, 1))
        x, vector = made.unary("Abs", x), made.unary("Abs", vector)
        if inside:
            made.output(made.conv(made.combine([x, vector]), k, SAME3))
        else:
            ends = [made.conv(t, k, SAME3) for t in (x, vector)]
            made.output(made.combine(ends))
    return Case(net.model(), other.model(), "Add", "broadcast")


DIFFERENT = [
    biased_pointwise_then_padded,
    padded_then_padded,
    average_without_its_padding,
    average_with_a_partial_window,
    normalized_then_padded,
    cropped_then_padded,
    padded_by_a_constant,
    spread_out_bias,
    constant_over_another_axis,
    factor_over_another_axis,
    constant_per_position,
    training_statistics,
    broadcasting_sum,
]


@pytest.mark.parametrize("case", DIFFERENT, ids=lambda f: f.__name__)
def test_fused_anyway_it_would_differ(case: Any) -> None:
    drawn = case()
    result, report = fused(drawn.model)
    assert (drawn.node, drawn.rule) in refused(report)
    assert operators(result) == operators(drawn.model)
    values = feeds(drawn.model)
    (wanted, *_), (naive, *_) = run(drawn.model, values), run(drawn.naive, values)
    assert naive.shape != wanted.shape or not np.array_equal(naive, wanted)
