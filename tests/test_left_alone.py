"""What is left alone although it could be fused: it would be dearer, or is needed as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from exact import Net, Window, feeds, operators, run
from fusing import INNER3, POINT, SAME3, fused, one_conv, refused, weight
from onnx import ModelProto, helper

from onnxac.pipeline import Options, optimize

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
    ends = [net.conv(x, sign * weight(2, 2, 3, 3), SAME3) for sign in (1, -1)]
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
    assert len(set(reasons)) == 1, "told once for the model, however many nodes there are"
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
