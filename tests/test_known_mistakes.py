"""What other optimizers get wrong, on models of a few nodes."""

from __future__ import annotations

import numpy as np
import pytest
from exact import Net, Tensor, integers, operators
from fusing import INNER3, POINT, SAME3, fused, refused, rng, weight
from onnx import helper, numpy_helper
from pieces import concat, transpose

from onnxac.pipeline import Options, optimize


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


def test_a_norm_goes_into_what_makes_its_input() -> None:
    """Folding it into both of its readers costs the same at first, and leaves it there."""
    net = Net()
    x = net.input((1, 4, 6, 6))
    made = net.combine([net.conv(x, weight(4, 1, 3, 3), SAME3, group=4), x])
    norm = net.batch_norm(made, np.full(4, 2.0), np.ones(4), np.zeros(4), np.zeros(4))
    inner = net.unary("Relu", net.conv(norm, weight(8, 4, 1, 1), POINT))
    net.output(net.combine([norm, net.conv(inner, weight(4, 8, 1, 1), POINT)]))
    result, _ = fused(net.model())
    assert operators(result) == {"Conv": 3, "Relu": 1, "Add": 1}


@pytest.mark.parametrize("rows", [[5, 4, 3, 2, 1, 0], [0, 0, 1, 2, 3, 4], [0, 2, 1, 3, 4, 5]])
def test_rows_that_change_places_inside_a_border(rows: list[int]) -> None:
    """A border around them says where the source lies, not how."""
    net = Net()
    x = net.input((1, 2, 6, 6))
    moved = net.node("Gather", [x.name, net.constant(np.array(rows))], x, axis=2)
    net.output(net.conv(net.pad(moved, {2: (1, 1), 3: (1, 1)}), weight(2, 2, 3, 3), INNER3))
    result, _ = fused(net.model())
    assert operators(result) == {"Gather": 1, "Conv": 1}


def test_windows_added_up_in_another_axis_order() -> None:
    """Maps cut into windows have six axes on the way, and meet a sum of four."""
    net = Net()
    maps, windows = net.input((1, 6, 6, 4)), net.input((4, 4, 3, 3))

    def reshape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return net.node("Reshape", [x.name, net.constant(np.array(shape))], x, shape=shape)

    cut = transpose(net, reshape(maps, (1, 2, 3, 2, 3, 4)), (0, 1, 3, 2, 4, 5))
    other = transpose(net, net.unary("Relu", windows), (0, 2, 3, 1))
    both = net.combine([net.scale(other, weight(4)), reshape(cut, (4, 3, 3, 4))])
    net.output(transpose(net, both, (0, 3, 1, 2)))
    fused(net.model())


def test_rows_that_are_normalized_as_a_matrix() -> None:
    """LeViT: the product has three axes and its normalization two, which holds the bias."""
    net = Net()
    x = net.input((1, 6, 4))
    made = net.node(
        "MatMul", [x.name, net.constant(weight(4, 8))], x, shape=(1, 6, 8), bound=x.bound * 8
    )
    rows = net.node("Reshape", [made.name, net.constant(np.array([6, 8]))], made, shape=(6, 8))
    norm = net.batch_norm(rows, np.full(8, 2.0), np.ones(8), np.zeros(8), np.zeros(8))
    net.output(net.node("Reshape", [norm.name, net.constant(np.array([1, 6, 2, 4]))], norm))
    result, _ = fused(net.model())
    assert operators(result) == {"Squeeze": 1, "Gemm": 1, "Reshape": 1}


def test_a_repeated_tensor_takes_no_more_nodes_than_its_repetition() -> None:
    """Before opset 19 it takes a Slice and a Concat to write what Concat(x, x) says."""
    net = Net()
    x = net.input((1, 4, 4, 4))
    twice = concat(net, [x, x], axis=2)
    rows = net.node("Reshape", [twice.name, net.constant(np.array([0, -1]))], twice, shape=(1, 128))
    product = net.constant(integers(rng(), (128, 128), most=2))
    net.output(net.node("MatMul", [rows.name, product], rows, bound=rows.bound * 256))
    result, _ = fused(net.model())
    assert len(result.graph.node) <= 3
