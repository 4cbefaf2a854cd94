"""Every refusal is right: fused anyway, the result would differ, or be dearer.

Each case here is a model with something that looks as if it could be fused, and the naive
fusion of it, written by hand. The model comes out with a refusal that names the node and
the rule; the naive fusion computes something else, or costs more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from exact import Array, Net, Window, feeds, integers, operators, run
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxac.pipeline import Options, optimize
from onnxac.report import Report

SAME3 = [Window(3, offset=-1)] * 2
INNER3 = [Window(3, extent=-2)] * 2
POINT = [Window()] * 2


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def weight(*shape: int) -> Array:
    """Weights of which none is zero."""
    return rng().choice([-2.0, -1.0, 1.0, 2.0], shape)


@dataclass(frozen=True)
class Case:
    """A model, what a careless optimizer makes of it, and the refusal that stands instead."""

    model: ModelProto
    naive: ModelProto
    node: str
    rule: str


def fused(model: ModelProto, **options: Any) -> tuple[ModelProto, Report]:
    """The optimized model, proven to compute the same to the bit."""
    result, report = optimize(model, Options(verify=False, **options))
    for seed in range(3):
        values = feeds(model, seed)
        for have, want in zip(run(result, values), run(model, values), strict=True):
            assert np.array_equal(have, want)
    return result, report


def refused(report: Report) -> set[tuple[str, str]]:
    return {(r.node.op, r.rule) for r in report.refusals}


def one_conv(
    x: Sequence[int], kernel: Array, windows: Sequence[Window], bias: Array | None = None
) -> ModelProto:
    net = Net()
    net.output(net.conv(net.input(x), kernel, windows, bias=bias))
    return net.model()


def composed(outer: Array, inner: Array) -> Array:
    """Kernel of a stride-1 convolution of a stride-1 convolution."""
    kh, kw = (a + b - 1 for a, b in zip(outer.shape[2:], inner.shape[2:], strict=True))
    kernel = np.zeros((outer.shape[0], inner.shape[1], kh, kw))
    for i, j in np.ndindex(*outer.shape[2:]):
        product = np.einsum("om,mikl->oikl", outer[:, :, i, j], inner)
        kernel[:, :, i : i + inner.shape[2], j : j + inner.shape[3]] += product
    return kernel


# Different at the border.


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


# Dearer.


def bottleneck() -> ModelProto:
    """A low-rank pair that stands alone."""
    net = Net()
    x = net.conv(net.input((1, 32, 16, 16)), weight(2, 32, 1, 1), POINT)
    net.output(net.conv(x, weight(32, 2, 1, 1), POINT))
    return net.model()


def separable() -> ModelProto:
    """Depthwise, then pointwise."""
    net = Net()
    x = net.conv(net.input((1, 16, 16, 16)), weight(16, 1, 3, 3), SAME3, group=16)
    net.output(net.conv(x, weight(16, 16, 1, 1), POINT))
    return net.model()


def unpadded_pair() -> ModelProto:
    """3x3 of 3x3 would be 5x5: 25 taps instead of 18."""
    net = Net()
    x = net.conv(net.input((1, 16, 20, 20)), np.sign(weight(16, 16, 3, 3)), INNER3)
    net.output(net.conv(x, np.sign(weight(16, 16, 3, 3)), INNER3))
    return net.model()


def distant_branches() -> ModelProto:
    """Two single taps, far apart: the union of their lattices is mostly zeros."""
    net = Net()
    x = net.input((1, 16, 32, 32))
    ends = [
        net.conv(net.crop(x, {2: (c, 12 - c, 1), 3: (c, 12 - c, 1)}), weight(16, 16, 1, 1), POINT)
        for c in (0, 12)
    ]
    extra = net.conv(net.crop(x, {2: (1, 11, 1), 3: (0, 12, 1)}), weight(16, 16, 1, 1), POINT)
    net.output(net.combine([net.combine(ends), extra]))
    return net.model()


@pytest.mark.parametrize("make", [bottleneck, separable, unpadded_pair], ids=lambda f: f.__name__)
def test_merged_it_would_be_dearer(make: Any) -> None:
    model = make()
    result, report = fused(model)
    assert operators(result) == operators(model)
    (refusal,) = report.refusals
    assert refusal.rule == "cost"
    assert "multiply-adds" in refusal.reason


def test_distant_branches_stay_apart() -> None:
    before = distant_branches()
    result, report = fused(before)
    assert operators(result)["Conv"] >= 2
    assert report.after.stats.macs is not None
    assert report.before.stats.macs is not None
    assert report.after.stats.macs <= report.before.stats.macs


# What is needed as it is.


def test_a_branch_that_is_an_output_stays_and_the_others_merge() -> None:
    net = Net()
    x = net.input((1, 2, 6, 6))
    ends = [
        net.conv(x, weight(2, 2, *k), w)
        for k, w in (
            ((3, 3), SAME3),
            ((1, 3), [Window(), SAME3[0]]),
            ((3, 1), [SAME3[0], Window()]),
        )
    ]
    net.output(net.combine([net.combine(ends[:2]), ends[2]]), ends[1])
    result, _ = fused(net.model())
    assert operators(result)["Conv"] <= 2


def test_a_branch_with_a_nonlinear_reader_stays() -> None:
    net = Net()
    x = net.input((1, 4, 6, 6))
    ends = [net.conv(x, weight(4, 4, 3, 3), SAME3), net.conv(x, weight(4, 4, 1, 1), POINT)]
    net.output(net.combine(ends), net.unary("Relu", ends[1]))
    result, _ = fused(net.model())
    assert operators(result) == {"Conv": 2, "Relu": 1}


def test_keep() -> None:
    """Nodes that the user wants kept."""
    net = Net()
    x = net.input((1, 2, 6, 6))
    ends = [net.conv(x, weight(2, 2, 3, 3), SAME3) for _ in range(2)]
    net.output(net.combine(ends))
    model = net.model()
    result, report = fused(model, keep=(f"/{ends[0].name}",))
    assert operators(result) == operators(model)
    assert ("Conv", "keep") in refused(report)


# What is no constant.


def two_branches(**more: Any) -> ModelProto:
    """A 3x3 and a 1x1 branch; `more` goes to the model."""
    net = Net(**more)
    x = net.input((1, 2, 6, 6))
    ends = [net.conv(x, weight(2, 2, 3, 3), SAME3), net.conv(x, weight(2, 2, 1, 1), POINT)]
    net.output(net.combine(ends))
    return net.model()


def overridable(model: ModelProto) -> ModelProto:
    """The same with its initializers listed as inputs: a caller may override them."""
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    return model


def test_an_initializer_that_may_be_overridden_is_no_constant() -> None:
    model = overridable(two_branches())
    result, report = fused(model)
    assert operators(result) == operators(model)
    reasons = [r.reason for r in report.refusals if r.rule == "constant"]
    assert reasons
    assert all("--freeze-initializers" in r for r in reasons)
    # A caller overrides one: that still has its effect.
    name = model.graph.initializer[0].name
    values = feeds(model) | {name: np.zeros((2, 2, 3, 3), np.float32)}
    assert np.array_equal(run(result, values)[0], run(model, values)[0])
    assert not np.array_equal(run(result, values)[0], run(result, feeds(model))[0])


def test_frozen_initializers_are_constants() -> None:
    result, _ = fused(overridable(two_branches()), freeze_initializers=True)
    assert operators(result) == {"Conv": 1}
    assert [i.name for i in result.graph.input] == ["x1"]


def test_before_ir_4_initializers_are_constants_and_stay_listed() -> None:
    result, _ = fused(two_branches(opset=8, ir_version=3))
    assert operators(result) == {"Conv": 1}
    assert {t.name for t in result.graph.initializer} < {i.name for i in result.graph.input}


def test_a_weight_that_is_an_input() -> None:
    net = Net()
    x, w = net.input((1, 2, 6, 6)), net.input((2, 2, 1, 1))
    made = net.node("Conv", [x.name, w.name], x, shape=(1, 2, 6, 6), bound=200.0)
    norm = net.batch_norm(made, np.ones(2), np.ones(2), np.zeros(2), np.ones(2))
    net.output(norm)
    result, report = fused(net.model())
    assert operators(result) == {"Conv": 1, "BatchNormalization": 1}
    assert ("Conv", "constant") in refused(report)


def test_a_quantized_weight_stays_quantized() -> None:
    """Computed out, it would take four bytes for each of its one."""
    net = Net()
    x = net.input((1, 8, 6, 6))
    stored = net.constant(weight(8, 8, 3, 3))
    net.initializers[stored] = weight(8, 8, 3, 3).astype(np.int8)
    scale = net.constant(np.float32(0.5))
    made = net.node("DequantizeLinear", [stored, scale], x, shape=(8, 8, 3, 3))
    conv = net.node("Conv", [x.name, made.name], x, pads=[1] * 4, bound=1000.0, grain=1)
    net.output(net.batch_norm(conv, np.ones(8), np.ones(8), np.zeros(8), np.ones(8)))
    model = net.model()
    result, report = fused(model)
    assert operators(result) == operators(model)
    assert any(r.rule == "constant" and "quantized" in r.reason for r in report.refusals)
    assert report.after.stats.bytes <= report.before.stats.bytes


def test_around_a_custom_operator_the_rest_is_fused() -> None:
    """Nothing is known of its output, not even a shape."""
    net = Net()
    x = net.input((1, 2, 6, 6))
    ends = [net.conv(x, weight(2, 2, 3, 3), SAME3), net.conv(x, weight(2, 2, 1, 1), POINT)]
    odd = net.node("FastGelu", [net.combine(ends).name], x, domain="com.microsoft")
    ends = [net.conv(odd, weight(2, 2, 3, 3), SAME3), net.conv(odd, weight(2, 2, 1, 1), POINT)]
    net.output(net.combine(ends))
    net.domains["com.microsoft"] = 1
    model = net.model()
    result, report = optimize(model, Options(verify=False))
    assert operators(result)["FastGelu"] == 1
    assert operators(result)["Conv"] <= 3
    assert ("FastGelu", "custom") in refused(report)
    values = feeds(model)
    assert np.allclose(run(result, values)[0], run(model, values)[0], atol=1e-4)


def test_auto_pad_over_a_dynamic_size_with_a_stride() -> None:
    """SAME pads by the size: what fits an even map does not fit an odd one."""
    net = Net()
    x = net.input((1, 1, 6, 6), [None, None, "h", "w"])
    k = weight(1, 1, 3, 3)
    names = [x.name, net.constant(k)]
    conv = net.node(
        "Conv", names, x, shape=(1, 1, 3, 3), bound=60.0, strides=[2, 2], auto_pad="SAME_UPPER"
    )
    net.output(net.batch_norm(conv, np.ones(1), np.ones(1), np.zeros(1), np.ones(1)))
    model = net.model()
    result, report = optimize(model, Options(verify=False))
    assert ("Conv", "auto_pad") in refused(report)
    for size in (6, 7):
        values = feeds(model, sizes={"h": size, "w": size})
        assert np.array_equal(run(result, values)[0], run(model, values)[0])
    # The pads that fit size 6 are wrong at size 7.
    even = [Window(3, stride=2, offset=0, extent=-1)] * 2
    naive = one_conv((1, 1, 7, 7), k, even)
    plain = Net()
    y = plain.input((1, 1, 7, 7))
    names = [y.name, plain.constant(k)]
    plain.output(plain.node("Conv", names, y, bound=60.0, strides=[2, 2], auto_pad="SAME_UPPER"))
    (wanted,), (have,) = run(plain.model(), feeds(naive)), run(naive, feeds(naive))
    assert wanted.shape != have.shape


# What other optimizers get wrong.


def test_weights_shared_by_several_convolutions() -> None:
    """Folding a BatchNormalization into a shared weight would change the other reader."""
    net = Net()
    x = net.input((1, 2, 6, 6))
    k = weight(2, 2, 3, 3)
    first = net.conv(x, k, SAME3)
    shared = net.nodes[-1].input[1]
    second = net.conv(net.unary("Relu", first), k, SAME3, held=(shared, ""))
    norm = net.batch_norm(second, np.array([2.0, 1.0]), np.ones(2), np.zeros(2), np.zeros(2))
    net.output(first, norm)
    result, _ = fused(net.model())
    assert operators(result) == {"Conv": 2, "Relu": 1}


def test_a_constant_added_behind_a_grouped_convolution() -> None:
    net = Net()
    x = net.input((1, 4, 6, 6))
    conv = net.conv(x, weight(6, 2, 3, 3), SAME3, group=2)
    net.output(net.shift(conv, np.arange(6.0).reshape(1, 6, 1, 1)))
    result, _ = fused(net.model())
    assert operators(result) == {"Conv": 1}
    (node,) = result.graph.node
    assert {a.name: helper.get_attribute_value(a) for a in node.attribute}["group"] == 2


def test_a_pad_with_several_readers() -> None:
    """One of them takes the padding in; the other still reads it."""
    net = Net()
    x = net.input((1, 2, 6, 6))
    padded = net.pad(x, {2: (1, 1), 3: (1, 1)})
    net.output(net.conv(padded, weight(2, 2, 3, 3), INNER3), net.unary("Relu", padded))
    fused(net.model())


def test_a_pad_by_reflection_with_several_readers() -> None:
    net = Net()
    x = net.input((1, 2, 6, 6))
    padded = net.pad(x, {2: (1, 1), 3: (1, 1)}, mode="reflect")
    ends = [
        net.conv(padded, weight(2, 2, 3, 3), INNER3),
        net.conv(net.crop(padded, {2: (1, 1, 1), 3: (1, 1, 1)}), weight(2, 2, 1, 1), POINT),
    ]
    net.output(net.combine(ends))
    result, _ = fused(net.model())
    assert operators(result) == {"Pad": 1, "Conv": 1}


@pytest.mark.parametrize("alpha", [1.0, 2.0])
@pytest.mark.parametrize("beta", [0.0, 1.0, -2.0])
@pytest.mark.parametrize("flip", [0, 1])
def test_factors_of_a_gemm(alpha: float, beta: float, flip: int) -> None:
    net = Net()
    x = net.input((2, 3))
    w = weight(4, 3) if flip else weight(3, 4)
    names = [x.name, net.constant(w), net.constant(np.arange(4.0))]
    made = net.node("Gemm", names, x, shape=(2, 4), bound=60.0, alpha=alpha, beta=beta, transB=flip)
    net.output(net.scale(made, np.array([1.0, 2.0, -1.0, 4.0])))
    result, _ = fused(net.model())
    assert sum(operators(result).values()) == 1


def test_a_transposed_input_of_a_gemm() -> None:
    """transA: rows are features, so a scale over the columns is not one of the output."""
    net = Net()
    x = net.input((3, 4))
    names = [x.name, net.constant(weight(3, 4)), net.constant(np.arange(4.0))]
    made = net.node("Gemm", names, x, shape=(4, 4), bound=60.0, transA=1)
    net.output(net.scale(made, np.array([1.0, 2.0, -1.0, 4.0])))
    fused(net.model())


@pytest.mark.parametrize("shape", [(4,), (1, 4), (), (1,), (2, 1), (2, 4)])
def test_every_shape_of_a_gemm_bias(shape: tuple[int, ...]) -> None:
    net = Net()
    x = net.input((2, 3))
    names = [x.name, net.constant(weight(3, 4)), net.constant(integers(rng(), shape))]
    made = net.node("Gemm", names, x, shape=(2, 4), bound=60.0)
    net.output(net.scale(made, np.array([1.0, 2.0, -1.0, 4.0])))
    fused(net.model())


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 1, 0)])
def test_the_order_of_a_concat(order: tuple[int, ...]) -> None:
    net = Net()
    x = net.input((1, 2, 6, 6))
    ends = [net.conv(x, i + weight(2, 2, 1, 1), POINT, bias=np.full(2, float(i))) for i in range(3)]
    chosen = [ends[i] for i in order]
    net.output(net.node("Concat", [t.name for t in chosen], chosen[0], shape=(1, 6, 6, 6), axis=1))
    fused(net.model())


@pytest.mark.parametrize("op", ["LeakyRelu", "PRelu", "Clip"])
def test_an_activation_that_bends_is_not_linear(op: str) -> None:
    net = Net()
    x = net.conv(net.input((1, 2, 6, 6)), weight(2, 2, 1, 1), POINT)
    if op == "LeakyRelu":
        y = net.unary(op, x, alpha=0.5, grain=1)
    elif op == "PRelu":
        slope = net.constant(np.array([1.0, 0.5]).reshape(2, 1, 1))
        y = net.node(op, [x.name, slope], x, grain=1)
    else:
        y = net.node(op, [x.name, net.constant(np.float32(-1e30)), net.constant(np.float32(5))], x)
    net.output(net.conv(y, weight(2, 2, 1, 1), POINT))
    model = net.model()
    result, _ = fused(model)
    assert operators(result) == operators(model)


def test_a_fused_weight_that_would_overflow() -> None:
    """In float16 the product of two scales may be infinite: then they stay apart."""
    net = Net(dtype=np.float16)
    x = net.input((1, 1, 4, 4))
    first = net.conv(x, np.full((1, 1, 1, 1), 1024.0), POINT)
    net.output(net.scale(first, np.full((1, 1, 1, 1), 1024.0)))
    model = net.model()
    result, report = optimize(model, Options(verify=False))
    assert operators(result) == operators(model)
    assert "values" in {r.rule for r in report.refusals}


def test_a_negative_variance_is_not_folded() -> None:
    net = Net()
    conv = net.conv(net.input((1, 2, 4, 4)), weight(2, 2, 1, 1), POINT)
    norm = net.batch_norm(conv, np.ones(2), np.ones(2), np.zeros(2), np.zeros(2))
    name = net.nodes[-1].input[4]
    net.initializers[name] = np.array([1.0, -1.0], np.float32)
    net.output(norm)
    model = net.model()
    result, report = optimize(model, Options(verify=False))
    assert operators(result) == operators(model)
    assert ("BatchNormalization", "values") in refused(report)


def test_a_division_by_zero_is_not_folded() -> None:
    net = Net()
    conv = net.conv(net.input((1, 2, 4, 4)), weight(2, 2, 1, 1), POINT)
    zero = net.constant(np.array([1.0, 0.0]).reshape(1, 2, 1, 1))
    net.output(net.node("Div", [conv.name, zero], conv))
    model = net.model()
    result, report = optimize(model, Options(verify=False))
    assert operators(result) == operators(model)
    assert ("Div", "values") in refused(report)


def test_the_known_fusion_of_acnet_forgets_the_bias() -> None:
    """Conv's own bias goes through the normalization: β + γ(b − μ)/√(σ² + ε)."""
    net = Net()
    x = net.input((1, 2, 4, 4))
    conv = net.conv(x, weight(2, 2, 1, 1), POINT, bias=np.array([3.0, -2.0]))
    norm = net.batch_norm(conv, np.array([2.0, 1.0]), np.ones(2), np.ones(2), np.ones(2))
    net.output(norm)
    result, _ = fused(net.model())
    (node,) = result.graph.node
    held = {t.name: numpy_helper.to_array(t) for t in result.graph.initializer}
    assert held[node.input[2]].tolist() == [1 + 2 * (3 - 1) / 2, 1 + (-2 - 1) / 2]
