"""What exporters write for one and the same block: Einsum, stacked sums, unit axes, casts.

Each model is the smallest of its kind, in exact arithmetic. None of them is matched: they fall
out of how each operator is lowered, and of what the result costs.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto
from test_layouts import Values, integers, ints, model, node, same
from test_models import MODELS

from onnxac.pipeline import Options, optimize


def operators(before: ModelProto, *sizes: dict[str, int]) -> Counter[str]:
    """Operators that are left of it; what it computes is the same to the bit."""
    after, _ = same(before, *sizes)
    return Counter(n.op_type for n in after.graph.node)


BATCHES = ({"N": 1}, {"N": 3})


def test_einsum_costs_what_the_product_costs() -> None:
    """A Dense layer over maps, channels last: two of them, added, are one."""
    einsum = "abcd,de->abce"
    before = model(
        [
            node("Einsum", "x v", "a", equation=einsum),
            node("Einsum", "x w", "b", equation=einsum),
            node("Add", "a b", "y"),
        ],
        ("N", 4, 4, 6),
        v=integers(6, 8),
        w=integers(6, 8, seed=1),
    )
    assert operators(before, *BATCHES).total() == 1


@pytest.mark.parametrize("equation", ["...c,cd->...d", "c...,cd->d...", "b...c,dc->b...d"])
def test_einsum_with_an_ellipsis(equation: str) -> None:
    turned = "dc" in equation
    channels = 2 if equation.startswith("c") else 6
    before = model(
        [
            node("Einsum", "x v", "a", equation=equation),
            node("Einsum", "x w", "b", equation=equation),
            node("Add", "a b", "y"),
        ],
        (2, 5, 6),
        v=integers(*((8, channels) if turned else (channels, 8))),
        w=integers(*((8, channels) if turned else (channels, 8)), seed=1),
    )
    # Channels in front have no operator of their own: Transpose, MatMul, Transpose.
    assert operators(before)["Einsum"] + operators(before)["Add"] <= 1
    assert operators(before).total() <= 3


@pytest.mark.parametrize(
    ("equation", "shape"),
    [("...c,...d->...d", (5, 5)), ("cc...,cd->d...", (5, 5, 2)), ("bc,cd", (5, 5))],
)
def test_what_is_no_product_stays(equation: str, shape: tuple[int, ...]) -> None:
    """The ellipsis is on both sides; or a diagonal is read; or the result is implied."""
    before = model([node("Einsum", "x v", "y", equation=equation)], shape, v=integers(5, 5))
    assert operators(before) == Counter({"Einsum": 1})


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_sum_over_a_stacked_axis(axis: int) -> None:
    """torch.stack([conv3(x), conv1(x), x]).sum(axis) is a Sum, whose parts merge."""
    before = model(
        [
            node("Conv", "x v", "a", pads=[1] * 4),
            node("Conv", "x w", "b"),
            *(node("Unsqueeze", f"{t} axis", f"{t}_") for t in "abx"),
            node("Concat", "a_ b_ x_", "c", axis=axis),
            node("ReduceSum", "c axis", "y", keepdims=0),
        ],
        ("N", 4, 6, 6),
        v=integers(4, 4, 3, 3),
        w=integers(4, 4, 1, 1, seed=1),
        axis=ints(axis),
    )
    assert operators(before, *BATCHES) == Counter({"Conv": 1})


def test_a_sum_over_a_stacked_axis_of_what_is_not_linear() -> None:
    before = model(
        [
            node("Relu", "x", "a"),
            node("Neg", "x", "n"),
            node("Relu", "n", "b"),
            *(node("Unsqueeze", f"{t} axis", f"{t}_") for t in "ab"),
            node("Concat", "a_ b_", "c", axis=0),
            node("ReduceSum", "c axis", "y", keepdims=0),
        ],
        ("N", 4, 6),
        axis=ints(0),
    )
    assert operators(before, *BATCHES) == Counter({"Relu": 2, "Neg": 1, "Add": 1})


def test_conv1d_between_unit_axes() -> None:
    """Keras' Conv1D: Unsqueeze, a Conv 1×k, Squeeze; normalization and the other branch behind."""
    before = model(
        [
            node("Unsqueeze", "x axis", "u"),
            node("Conv", "u v", "a", pads=[0, 1, 0, 1]),
            node("Squeeze", "a axis", "s"),
            node("Mul", "s scale", "m"),
            node("Add", "m shift", "p"),
            node("Conv", "u w", "b"),
            node("Squeeze", "b axis", "t"),
            node("Add", "p t", "q"),
            node("Relu", "q", "y"),
        ],
        ("N", 6, 16),
        v=integers(8, 6, 1, 3),
        w=integers(8, 6, 1, 1, seed=1),
        scale=integers(1, 8, 1, seed=2),
        shift=integers(1, 8, 1, seed=3),
        axis=ints(2),
    )
    found = operators(before, *BATCHES)
    assert found["Conv"] == 1
    assert found.total() <= 4


HALF, SINGLE = TensorProto.FLOAT16, TensorProto.FLOAT


def halves(*shape: int, seed: int = 0) -> Values:
    return integers(*shape, seed=seed).astype(np.float16)


def normalized(source: str, name: str, *, seed: int) -> tuple[list[NodeProto], dict[str, Values]]:
    """Cast to float, scale and shift there, Cast back: normalization in mixed precision."""
    nodes = [
        node("Cast", source, f"{name}_up", to=SINGLE),
        node("Mul", f"{name}_up {name}_scale", f"{name}_m"),
        node("Add", f"{name}_m {name}_shift", f"{name}_a"),
        node("Cast", f"{name}_a", name, to=HALF),
    ]
    return nodes, {
        f"{name}_scale": integers(1, 4, 1, 1, seed=seed),
        f"{name}_shift": integers(1, 4, 1, 1, seed=seed + 1),
    }


def test_mixed_precision_between_narrow_tensors() -> None:
    """Conv(fp16) → Cast → scale and shift (fp32) → Cast, two of them added: one Conv."""
    (first, held), (second, more) = normalized("a", "p", seed=5), normalized("b", "q", seed=7)
    before = model(
        [
            node("Conv", "x v", "a", pads=[1] * 4),
            node("Conv", "x w", "b"),
            *first,
            *second,
            node("Add", "p q", "y"),
        ],
        ("N", 3, 5, 5),
        HALF,
        v=halves(4, 3, 3, 3),
        w=halves(4, 3, 1, 1, seed=1),
        **held,
        **more,
    )
    assert operators(before, *BATCHES) == Counter({"Conv": 1})


def test_keras_in_mixed_precision() -> None:
    """ACNet under mixed_float16: a Conv per block, proven, and nothing in float32 is left."""
    after, report = optimize(MODELS / "onnx/acnet_mixed16/tf2onnx.onnx", Options())
    assert report.verification is not None
    assert report.verification.passed
    found = Counter(n.op_type for n in after.graph.node)
    assert found == Counter({"Cast": 1, "Transpose": 2, "Conv": 2, "Relu": 2})
    assert all(t.data_type == HALF for t in after.graph.initializer)


def test_a_normalization_alone_stays_in_its_type() -> None:
    """In float16 its product and its sum would each be rounded."""
    nodes, held = normalized("a", "p", seed=5)
    before = model(
        [node("Relu", "x", "a"), *nodes, node("Relu", "p", "y")], ("N", 4, 5, 5), HALF, **held
    )
    after, _ = same(before, *BATCHES)
    found = Counter(n.op_type for n in after.graph.node)
    assert found == Counter({"Relu": 2, "Cast": 2, "BatchNormalization": 1})
    assert all(t.data_type == SINGLE for t in after.graph.initializer)


def test_channels_last_a_normalization_alone_stays_in_its_type() -> None:
    before = model(
        [
            node("Relu", "x", "a"),
            node("Cast", "a", "u", to=SINGLE),
            node("Mul", "u v", "m"),
            node("Add", "m w", "s"),
            node("Cast", "s", "d", to=HALF),
            node("Relu", "d", "y"),
        ],
        ("N", 5, 4),
        HALF,
        v=integers(4),
        w=integers(4, seed=1),
    )
    after, _ = same(before, *BATCHES)
    assert Counter(n.op_type for n in after.graph.node)["Cast"] == 2
    assert all(t.data_type == SINGLE for t in after.graph.initializer)


def test_a_cast_that_rounds_stands_in_the_way_and_is_named() -> None:
    """Between float tensors, one in half precision: without it the result is another."""
    before = model(
        [
            node("Cast", "x", "h", to=HALF),
            node("Conv", "h v", "a"),
            node("Cast", "a", "f", to=SINGLE),
            node("Mul", "f scale", "y"),
        ],
        ("N", 3, 4, 4),
        v=halves(4, 3, 1, 1),
        scale=integers(1, 4, 1, 1, seed=1),
    )
    after, report = same(before, *BATCHES)
    assert Counter(n.op_type for n in after.graph.node)["Cast"] == 2
    assert any(r.rule == "cast" and "rounded to float16" in r.reason for r in report.refusals)


@given(st.integers(0, 2**32))
@settings(max_examples=60)
def test_random_casts(seed: int) -> None:
    """Chains over half and single precision: exact, valid, and no node more."""
    rng = np.random.default_rng(seed)
    nodes: list[NodeProto] = []
    held: dict[str, Values] = {}
    kinds = {"x": HALF}
    for number in range(int(rng.integers(3, 10))):
        source, name = str(rng.choice(list(kinds))), f"t{number}"
        kind = kinds[source]
        dtype = np.float16 if kind == HALF else np.float32
        op = str(rng.choice(["Cast", "Cast", "Conv", "Mul", "Add", "Sum", "Transpose"]))
        small = np.random.default_rng(seed + number)
        if op == "Cast":
            kind = SINGLE if kind == HALF else HALF
            nodes.append(node("Cast", source, name, to=kind))
        elif op == "Transpose":
            nodes.append(node("Transpose", source, name, perm=[0, 1, 3, 2]))
        elif op == "Sum":
            other = str(rng.choice([t for t in kinds if kinds[t] == kind]))
            nodes.append(node("Add", f"{source} {other}", name))
        else:
            shape = (2, 2, 1, 1) if op == "Conv" else (1, 2, 1, 1)
            held[f"w{number}"] = small.integers(-1, 2, shape).astype(dtype)
            nodes.append(node(op, f"{source} w{number}", name))
        kinds[name] = kind
    last = f"t{len(nodes) - 1}"
    nodes.append(node("Cast", last, "y", to=HALF))
    before = model(nodes, (2, 2, 3, 3), HALF, **held)
    after, _ = same(before)
    assert len(after.graph.node) <= len(before.graph.node)


def test_a_slice_that_stands_in_the_way_is_named() -> None:
    """Channels last: taken into the Conv, what it cuts off is met by taps of weight zero."""
    before = model(
        [
            node("Slice", "x begin end axes", "c"),
            node("Transpose", "c", "t", perm=[0, 3, 1, 2]),
            node("Conv", "t w", "y"),
        ],
        ("N", 8, 8, 6),
        begin=ints(1, 1),
        end=ints(-1, -1),
        axes=ints(1, 2),
        w=integers(8, 6, 3, 3),
    )
    after, report = same(before, *BATCHES)
    assert [n.op_type for n in after.graph.node] == ["Slice", "Transpose", "Conv"]
    assert {(r.node.op, r.rule) for r in report.refusals} >= {("Slice", "cost")}


def test_an_input_brought_to_half_precision_is_no_candidate() -> None:
    before = model(
        [
            node("Cast", "x", "h", to=HALF),
            node("Conv", "h v", "a"),
            node("Cast", "a", "y", to=SINGLE),
        ],
        ("N", 3, 4, 4),
        v=halves(4, 3, 1, 1),
    )
    _, report = same(before)
    assert not report.refusals
