"""What exporters write for one and the same block: Einsum, stacked sums, unit axes, casts.

Each model is the smallest of its kind, in exact arithmetic. None of them is matched: they fall
out of how each operator is lowered, and of what the result costs.
"""

from __future__ import annotations

from collections import Counter

import pytest
from onnx import ModelProto
from test_layouts import integers, ints, model, node, same


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
