"""What computes the target of a Reshape, or the zeros that a recurrent layer begins with, goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper, numpy_helper
from test_symbolic_shapes import FLOAT, Shape, merged, model, node, random, run

from onnxac.pipeline import Options, optimize


def reshaped(*parts: str, shape: Shape = ("N", 4, "H", "W"), more: Any = ()) -> ModelProto:
    """x, reshaped to parts of its shape (n, c, h, w), numbers, and what more nodes make."""
    nodes = [node("Shape", ["x"], "s"), NodeProto()]
    nodes[1].CopyFrom(helper.make_node("Split", ["s"], list("nchw"), num_outputs=4))
    nodes += [*more, node("Concat", parts, "target", axis=0), node("Reshape", ["x", "target"], "y")]
    held = {"four": [4], "two": [2], "one": [1], "zero": [0], "open": [-1], "three": [3]}
    return model(nodes, held, shape)


MANY = [node("Mul", ["h", "w"], "hw")]
SETTLED: dict[str, tuple[ModelProto, list[int]]] = {
    "a batch and the rest": (reshaped("n", "open"), [0, -1]),
    "a flattened map": (reshaped("n", "four", "hw", more=MANY), [0, 4, -1]),
    "two copies and a number": (reshaped("n", "c", "h", "open"), [0, 4, 0, -1]),
    "an extent from elsewhere": (reshaped("four", "n", "h", "w"), [4, -1, 0, 0]),
    "what nobody follows": (
        reshaped("r", "four", more=[node("Div", ["m", "k"], "q"), node("Cast", ["q"], "r", to=7)]),
        [-1, 4],
    ),
}


def also(made: ModelProto) -> ModelProto:
    """The number of rows of four, in floating point, of which no symbol is known."""
    if any(n.op_type == "Div" for n in made.graph.node):
        made.graph.node.insert(2, node("ReduceProd", ["s"], "p", keepdims=1))
        made.graph.node.insert(3, node("Cast", ["p"], "m", to=FLOAT))
        made.graph.initializer.append(numpy_helper.from_array(np.full(1, 4, np.float32), "k"))
    return made


@pytest.mark.parametrize("what", SETTLED)
def test_a_target_that_follows(what: str) -> None:
    before, target = SETTLED[what]
    before = also(before)
    after, report = optimize(before, Options(verify=False))
    assert [n.op_type for n in after.graph.node] == ["Reshape"]
    held = {t.name: numpy_helper.to_array(t).tolist() for t in after.graph.initializer}
    assert held[after.graph.node[0].input[1]] == target
    assert report.idle
    for shape in ((2, 4, 5, 3), (1, 4, 1, 1), (4, 4, 4, 4)):
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        assert np.array_equal(run(after, x), run(before, x))


@pytest.mark.parametrize(
    "before",
    [
        reshaped("h", "w", "n", "c"),
        reshaped("h", "open", "c"),
        reshaped("hw", "n", "c", more=MANY),
    ],
    ids=["an order of its own", "one is open already", "two that are no copies"],
)
def test_a_target_that_does_not_follow(before: ModelProto) -> None:
    assert "Concat" in merged(before, (2, 4, 5, 3), (1, 4, 2, 2))


def test_extents_that_may_be_none_are_not_left_open_together() -> None:
    """What was found may be nothing, and then it does not tell the other extent."""
    nodes = [
        node("NonZero", ["x"], "found"),
        node("Transpose", ["found"], "t", perm=[1, 0]),
        node("Cast", ["t"], "f", to=FLOAT),
        node("Unsqueeze", ["f", "one"], "u"),
        node("Tile", ["u", "repeats"], "tiled"),
        node("Shape", ["tiled"], "s"),
        node("Gather", ["s", "zero"], "many"),
        node("Gather", ["s", "one"], "w"),
        node("Concat", ["many", "w", "two"], "target", axis=0),
        node("Reshape", ["tiled", "target"], "y"),
        node("Shape", ["x"], "sx"),
        node("Gather", ["sx", "one"], "width"),
        node("Concat", ["one", "width", "one"], "repeats", axis=0),
    ]
    nodes = [*nodes[-3:], *nodes[:-3]]
    before = model(nodes, {"zero": [0], "one": [1], "two": [2]}, ["N", "W"])
    after, _ = optimize(before, Options(verify=False))
    for x in (np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)):
        assert np.array_equal(run(after, x), run(before, x))


def lstm(first: float) -> ModelProto:
    """A layer whose states begin with one number, filled in for the batch at hand."""
    filled = helper.make_tensor("value", FLOAT, [1], [first])
    nodes = [
        node("Shape", ["x"], "s"),
        node("Slice", ["s", "one", "two"], "n"),
        node("Concat", ["one", "n", "width"], "size", axis=0),
        node("ConstantOfShape", ["size"], "h", value=filled),
        node("LSTM", ["x", "w", "r", "b", "", "h", "h"], "o", hidden_size=5),
        node("Relu", ["o"], "y"),
    ]
    held = {"w": random(1, 20, 3), "r": random(1, 20, 5), "b": random(1, 40)}
    return model(nodes, held | {"one": [1], "two": [2], "width": [5]}, ["T", "N", 3])


def test_a_state_of_zeros_is_left_out() -> None:
    assert merged(lstm(0.0), (4, 2, 3), (7, 1, 3)) == ["LSTM", "Relu"]
    assert "ConstantOfShape" in merged(lstm(0.5), (4, 2, 3), (7, 1, 3))
