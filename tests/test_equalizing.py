"""Cross-layer equalization: exact to the bit, or refused with its reason."""

from __future__ import annotations

import math

import numpy as np
import pytest
from exact import Array, session
from onnx import ModelProto, helper, numpy_helper
from uneven import Map, Uneven, feed, untried

from onnxac.pipeline import Options, inspect, optimize
from onnxac.report import HOLDS, Refusal, Report

__all__ = ["untried"]


def equalized(net: Uneven, *outputs: Map, **more: object) -> tuple[ModelProto, Report]:
    """Equalized, proven, and equal to the bit to what is only merged; at three sizes."""
    model = net.model(*outputs)
    result, report = optimize(model, Options(equalize=True, seeds=1, **more))  # type: ignore[arg-type]
    plain, _ = optimize(model, Options(verify=False, **more))  # type: ignore[arg-type]
    for size in (8, 9, 12):
        values = feed(net, size, size)
        for want, have in zip(
            session(plain).run(None, values), session(result).run(None, values), strict=True
        ):
            assert np.array_equal(want, have), size
    assert report.verification is not None
    assert report.verification.passed
    assert all(c.certificate is not None for c in report.equalizations)
    assert [c.certificate.verdict for c in report.equalizations if c.certificate] == [HOLDS] * len(
        report.equalizations
    )
    return result, report


def reasons(report: Report) -> list[Refusal]:
    return [r for r in report.refusals if r.rule == "equalize"]


def scaled(report: Report) -> set[str]:
    return {t.before for c in report.equalizations for t in c.tensors}


def widest(model: ModelProto, name: str, axis: int = 0) -> float:
    """How many times the widest channel of a weight is as wide as the narrowest."""
    tensor = next(t for t in model.graph.initializer if t.name == name)
    values = np.abs(numpy_helper.to_array(tensor))
    ranges = values.max(axis=tuple(a for a in range(values.ndim) if a != axis))
    return float(ranges.max() / ranges.min())


def test_a_chain_has_even_channels_behind() -> None:
    net = Uneven()
    first = net.conv(net.start, 6)
    second = net.conv(net.relu(first), 5)
    model, report = equalized(net, net.head(net.relu(second)))
    assert len(report.equalizations) == 2
    assert scaled(report) >= {first.name, second.name}
    weights = [n.input[1] for n in model.graph.node if n.op_type == "Conv"]
    before = net.model(second)
    assert widest(before, "w0") > 8
    assert widest(model, weights[0]) <= 2
    change = report.equalizations[0]
    assert change.powers
    for tensor in change.tensors:
        assert all(math.frexp(f)[0] == 0.5 for f in tensor.factors)
        assert tensor.after != tensor.before
    assert [n.name for n in change.makers] == [first.name]
    assert [n.name for n in change.readers] == [second.name]
    assert reasons(report) == []


def test_the_weights_that_are_left_keep_their_bytes() -> None:
    net = Uneven()
    model, _ = equalized(net, net.head(net.conv(net.relu(net.conv(net.start, 6)), 5)))
    before = {t.name: t.SerializeToString() for t in net.model(net.start).graph.initializer}
    for tensor in model.graph.initializer:
        assert before.get(tensor.name, tensor.SerializeToString()) == tensor.SerializeToString()


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Relu", {}),
        ("LeakyRelu", {"alpha": 0.25}),
        ("Identity", {}),
        ("Neg", {}),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        ("AveragePool", {"kernel_shape": [2, 2], "count_include_pad": 1, "pads": [1, 1, 1, 1]}),
        ("GlobalAveragePool", {}),
        ("GlobalMaxPool", {}),
        ("ReduceMean", {"axes": [2, 3]}),
        ("Dropout", {}),
    ],
)
def test_what_a_factor_passes_through(op: str, attributes: dict[str, object]) -> None:
    net = Uneven()
    first = net.conv(net.start, 6)
    made = net.conv(net.relu(net.same(op, net.relu(first), **attributes)), 4, taps=1)
    _, report = equalized(net, made)
    assert first.name in scaled(report)


def test_a_prelu_with_a_slope_per_channel() -> None:
    net = Uneven()
    first = net.conv(net.start, 6)
    slope = net.constant("slope", 2.0 ** net.rng.integers(-2, 1, (6, 1, 1)))
    _, report = equalized(net, net.conv(net.same("PRelu", first, slope), 4))
    assert first.name in scaled(report)


def moved(net: Uneven, x: Map, how: str) -> Map:
    """The same map after a walk through operators that move data."""
    ints = {"perm": [0, 2, 3, 1]}
    if how == "Transpose":
        turned = net.node("Transpose", [x.name], **ints)
        return Map(net.node("Transpose", [turned], perm=[0, 3, 1, 2]), x.powers)
    if how == "Split":
        sizes = np.array([2, x.channels - 2], np.int64)
        net.constants["sizes"] = sizes
        names = ["part_a", "part_b"]
        net.nodes.append(helper.make_node("Split", [x.name, "sizes"], names, "split", axis=1))
        return Map(net.node("Concat", names[::-1], axis=1), (*x.powers[2:], *x.powers[:2]))
    if how == "Slice":
        for key, value in (("starts", 1), ("ends", x.channels), ("axes", 1)):
            net.constants[key] = np.array([value], np.int64)
        return Map(net.node("Slice", [x.name, "starts", "ends", "axes"]), x.powers[1:])
    if how == "reversed":
        for key, value in (("starts", -1), ("ends", -(2**31)), ("axes", 1), ("steps", -1)):
            net.constants[key] = np.array([value], np.int64)
        return Map(net.node("Slice", [x.name, "starts", "ends", "axes", "steps"]), x.powers[::-1])
    if how == "Gather":
        order = np.array([3, 1, 1, 0], np.int64)
        net.constants["order"] = order
        powers = tuple(x.powers[i] for i in order)
        return Map(net.node("Gather", [x.name, "order"], axis=1), powers)
    if how == "Pad":
        net.constants["pads"] = np.array([0, 1, 1, 2, 0, 0, 2, 1], np.int64)
        return Map(net.node("Pad", [x.name, "pads"]), (0, *x.powers))
    if how == "Resize":
        net.constants["scales"] = np.array([1, 1, 2, 2], np.float32)
        return Map(net.node("Resize", [x.name, "", "scales"], mode="nearest"), x.powers)
    net.constants["axes"] = np.array([0], np.int64)
    longer = net.node("Unsqueeze", [x.name, "axes"])
    return Map(net.node("Squeeze", [longer, "axes"]), x.powers)


@pytest.mark.parametrize(
    "how", ["Transpose", "Split", "Slice", "reversed", "Gather", "Pad", "Resize", "Unsqueeze"]
)
def test_where_channels_go(how: str) -> None:
    net = Uneven(seed=3)
    first = net.conv(net.start, 6)
    made = net.conv(moved(net, net.relu(first), how), 4)
    _, report = equalized(net, made)
    assert first.name in scaled(report)


def test_flatten_in_front_of_a_matrix() -> None:
    net = Uneven()
    first = net.conv(net.start, 6)
    flat = net.node("Flatten", [net.relu(first).name])
    wide = Map(flat, tuple(p for p in first.powers for _ in range(64)), flat=True)
    model, report = optimize(net.model(net.head(wide)), Options(equalize=True, seeds=1))
    assert first.name in scaled(report)
    plain, _ = optimize(net.model(Map(net.nodes[-1].output[0], ())), Options(verify=False))
    values = feed(net)
    assert np.array_equal(session(model).run(None, values)[0], session(plain).run(None, values)[0])


def test_a_matrix_that_mixes_places_and_not_channels() -> None:
    """As in a token mixer: the factor stops there, and the layers around are as they were."""
    net = Uneven()
    first = net.relu(net.conv(net.start, 6))
    net.constants["shape"] = np.array([0, 6, 64], np.int64)
    lines = net.node("Reshape", [first.name, "shape"])
    mixed = net.node("MatMul", [lines, net.constant("m", net.rng.integers(-1, 2, (64, 5)))])
    _, report = equalized(net, Map(net.node("Relu", [mixed]), (0,) * 5))
    assert report.equalizations == ()
    assert any("does not read the channels" in r.reason for r in reasons(report))


def test_a_depthwise_convolution_and_groups() -> None:
    net = Uneven()
    first = net.conv(net.start, 6)
    second = net.conv(net.relu(first), 6, group=6)
    third = net.conv(net.relu(second), 4, group=2)
    _, report = equalized(net, net.head(net.relu(third)))
    assert scaled(report) >= {first.name, second.name, third.name}


def test_a_transposed_convolution_and_a_matmul() -> None:
    net = Uneven()
    first = net.conv(net.start, 6)
    weight = net.weight(Map("", first.powers), net.powers(4), 1, (2, 2)).swapaxes(0, 1)
    made = net.node(
        "ConvTranspose", [net.relu(first).name, net.constant("t", weight)], strides=[2, 2]
    )
    lines = net.node("Transpose", [net.node("Relu", [made])], perm=[0, 2, 3, 1])
    matrix = net.rng.integers(-1, 2, (4, 3)) * 2.0 ** net.rng.integers(-4, 5, (4, 1))
    _, report = equalized(
        net, Map(net.node("MatMul", [lines, net.constant("m", matrix)]), (0, 0, 0))
    )
    assert scaled(report) >= {first.name, made}


def test_a_residual_sum_has_one_factor() -> None:
    """All that meets in an Add shares it; the chain goes on through three blocks."""
    net = Uneven()
    x = net.relu(net.conv(net.start, 6))
    made = [x]
    for _ in range(3):
        inner = net.relu(net.conv(x, 5))
        added = net.conv(inner, 6, powers=x.powers)
        x = net.relu(Map(net.node("Add", [added.name, x.name]), x.powers))
        made.append(x)
    _, report = equalized(net, net.head(x))
    told = {t.before: t.factors for c in report.equalizations for t in c.tensors}
    assert len({told[m.name] for m in made}) == 1
    assert len(set(told[x.name])) > 1


def test_a_residual_through_concat() -> None:
    net = Uneven()
    x = net.relu(net.conv(net.start, 6))
    other = net.relu(net.conv(x, 4))
    both = Map(net.node("Concat", [x.name, other.name], axis=1), x.powers + other.powers)
    last = net.relu(net.conv(both, 6, powers=x.powers))
    summed = Map(net.node("Add", [last.name, x.name]), x.powers)
    _, report = equalized(net, net.head(summed))
    told = {t.before: t.factors for c in report.equalizations for t in c.tensors}
    assert told[both.name] == told[x.name] + told[other.name]
    assert told[summed.name] == told[x.name]


@pytest.mark.parametrize("op", ["Add", "Sub", "Sum"])
def test_a_constant_that_is_added_is_divided(op: str) -> None:
    net = Uneven()
    first = net.conv(net.start, 6)
    passed = net.relu(first)
    shift = net.constant(
        "shift", net.rng.integers(-3, 4, (6, 1, 1)) * 2.0 ** np.array(first.powers).reshape(6, 1, 1)
    )
    one = net.constant("one", np.array(4.0))
    made = net.same(op, net.relu(net.same(op, passed, shift)), one)
    _, report = equalized(net, net.conv(net.relu(made), 4, taps=1))
    assert first.name in scaled(report)


def test_a_batch_normalization_that_could_not_be_merged() -> None:
    net = Uneven()
    first = net.conv(net.start, 6)
    rows = 2.0 ** np.array(first.powers)
    statistics = [
        net.constant(n, v)
        for n, v in {
            "scale": np.ones(6),
            "shift": net.rng.integers(-2, 3, 6) * rows,
            "mean": net.rng.integers(-2, 3, 6) * rows,
            "var": np.ones(6),
        }.items()
    ]
    normal = net.same("BatchNormalization", net.relu(first), *statistics, epsilon=0.0)
    _, report = equalized(net, net.conv(net.relu(normal), 4))
    assert first.name in scaled(report)


def test_a_gate_is_left_alone_and_its_map_is_scaled() -> None:
    """Squeeze and excitation: the factor passes the product, and stops before the Sigmoid."""
    net = Uneven()
    first = net.conv(net.start, 6)
    squeezed = net.same("GlobalAveragePool", first)
    gate = net.node("Sigmoid", [net.conv(squeezed, 6, taps=1, powers=(0,) * 6).name])
    made = net.relu(Map(net.node("Mul", [first.name, gate]), first.powers))
    _, report = equalized(net, net.conv(made, 4))
    assert scaled(report) >= {first.name, made.name}
    assert any(r.node.op == "Sigmoid" for r in reasons(report))


def refused(op: str, *more: Array, **attributes: object) -> tuple[Report, str]:
    """A chain with something between its convolutions; and the node's name."""
    net = Uneven()
    first = net.relu(net.conv(net.start, 6))
    names = [net.constant(f"operand{i}", m) for i, m in enumerate(more)]
    between = net.same(op, first, *names, **attributes)
    _, report = equalized(net, net.conv(between, 4))
    return report, between.name


@pytest.mark.parametrize("op", ["Sigmoid", "HardSwish", "Tanh", "Softplus", "Erf", "HardSigmoid"])
def test_a_factor_stops_at_what_bends(op: str) -> None:
    report, name = refused(op)
    assert report.equalizations == ()
    (told,) = reasons(report)
    assert told.node.name == name
    assert told.reason.startswith(f"{op} of x/s is not {op} of x, divided by s")


def test_a_factor_stops_at_a_clip() -> None:
    report, name = refused("Clip", np.array(0.0), np.array(6.0))
    assert report.equalizations == ()
    (told,) = reasons(report)
    assert told.node.name == name
    assert "its upper bound 6" in told.reason


def test_a_clip_from_below_at_zero_is_a_relu() -> None:
    report, _ = refused("Clip", np.array(0.0))
    assert len(report.equalizations) == 1


def test_a_factor_stops_at_silu() -> None:
    net = Uneven()
    first = net.conv(net.start, 6)
    gate = net.node("Sigmoid", [first.name])
    made = net.conv(Map(net.node("Mul", [first.name, gate]), first.powers), 4)
    _, report = equalized(net, made)
    assert report.equalizations == ()
    (told,) = reasons(report)
    assert told.node.op == "Sigmoid"


def test_a_shared_weight_is_left() -> None:
    net = Uneven()
    first = net.conv(net.start, 4)
    again = net.node("Conv", [net.relu(first).name, "w0", "bw0"], pads=[1] * 4)
    _, report = equalized(net, net.conv(net.relu(Map(again, (0,) * 4)), 4))
    assert report.equalizations == ()
    assert {r.node.name for r in reasons(report)} == {first.name, again}
    assert all("stored twice" in r.reason for r in reasons(report))


def test_an_output_in_the_middle_stays() -> None:
    net = Uneven()
    first = net.conv(net.start, 6)
    seen = net.relu(first)
    second = net.conv(seen, 5)
    _, report = equalized(net, net.head(net.relu(second)), seen)
    assert scaled(report).isdisjoint({first.name, seen.name})
    assert second.name in scaled(report)
    (told,) = reasons(report)
    assert "an output of the model" in told.reason


def test_dynamic_sizes_stay_dynamic() -> None:
    net = Uneven(dims=("n", "h", "w"))
    first = net.conv(net.start, 6)
    pooled = net.same("MaxPool", net.relu(first), kernel_shape=[2, 2])
    model, report = equalized(net, net.head(net.relu(net.conv(pooled, 5))))
    assert first.name in scaled(report)
    assert model.graph.input == net.model(pooled).graph.input


def test_nodes_that_are_kept_keep_their_ranges() -> None:
    net = Uneven()
    first = net.conv(net.start, 6)
    second = net.conv(net.relu(first), 5)
    _, report = equalized(net, net.head(net.relu(second)), keep=(first.name,))
    assert first.name not in scaled(report)
    assert second.name in scaled(report)


def test_a_half_has_no_digits_to_spare() -> None:
    net = Uneven(dtype=np.float16)
    model = net.model(net.conv(net.relu(net.conv(net.start, 6)), 4))
    result, report = optimize(model, Options(equalize=True, verify=False))
    assert report.equalizations == ()
    assert any("float16" in r.reason for r in reasons(report))
    assert result.graph.initializer == model.graph.initializer


def test_a_weight_that_would_lose_digits_is_left() -> None:
    """The smallest numbers that float32 has can't be divided by two."""
    net = Uneven()
    first = net.conv(net.start, 6)
    second = net.conv(net.relu(first), 5)
    net.constants["w0"][:, :, 1, 1] = np.float32(2.0**-149) * 3
    model = net.model(net.head(net.relu(second)))
    result, report = optimize(model, Options(equalize=True, verify=False))
    assert first.name not in scaled(report)
    assert any("digits" in r.reason for r in reasons(report))
    stored = {t.name: numpy_helper.to_array(t) for t in result.graph.initializer}
    assert np.array_equal(stored["w0"], net.constants["w0"])


def test_a_channel_of_zeros_is_no_trouble() -> None:
    net = Uneven()
    first = net.conv(net.start, 6)
    net.constants["w0"][2] = 0
    net.constants["bw0"][2] = 0
    _, report = equalized(net, net.conv(net.relu(first), 5))
    assert first.name in scaled(report)


def test_exact_factors_are_within_rounding() -> None:
    net = Uneven()
    first = net.conv(net.start, 6)
    model = net.model(net.head(net.relu(net.conv(net.relu(first), 5))))
    _, report = optimize(model, Options(equalize=True, exact_factors=True))
    assert report.verification is not None
    assert report.verification.passed
    factors = [f for c in report.equalizations for t in c.tensors for f in t.factors]
    assert any(math.frexp(f)[0] != 0.5 for f in factors)
    assert not any(c.powers for c in report.equalizations)
    assert all(c.certificate is not None and c.certificate.holds for c in report.equalizations)


def test_a_network_with_even_channels_stays_as_it_is() -> None:
    net = Uneven(spread=0)
    model = net.model(net.head(net.relu(net.conv(net.relu(net.conv(net.start, 6)), 5))))
    result, report = optimize(model, Options(equalize=True))
    assert report.equalizations == ()
    assert result.graph.node == model.graph.node


def test_nothing_is_equalized_unless_it_is_asked_for() -> None:
    net = Uneven()
    model = net.model(net.head(net.relu(net.conv(net.relu(net.conv(net.start, 6)), 5))))
    assert optimize(model)[1].equalizations == ()
    assert inspect(model, Options(equalize=True)).equalizations
