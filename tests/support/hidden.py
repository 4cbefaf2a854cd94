"""Pairs of models that are not equal, though their outputs look it on careless inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
Dims = Sequence[int | str | None]
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
Pair = tuple[onnx.ModelProto, onnx.ModelProto]
node = helper.make_node


def graph(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, Any],
    *,
    x: Dims = (1, 4, 9, 8),
    x_type: int = FLOAT,
    y_type: int = FLOAT,
    more: Sequence[onnx.ValueInfoProto] = (),
) -> onnx.ModelProto:
    """A model of x (and `more`) to y."""
    made = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", x_type, x), *more],
        [helper.make_tensor_value_info("y", y_type, None)],
        [numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def both(models: Iterable[onnx.ModelProto]) -> Pair:
    """Two models as a pair."""
    first, second = models
    return first, second


def rows(number: int, width: int = 4, scale: float = 1.0) -> Array:
    """Weights of a dense layer, [width, number]."""
    return (scale * np.random.default_rng(5).standard_normal((width, number))).astype(np.float32)


def off(weights: Array, at: tuple[int, ...] = (1, 2), factor: float = 1.05) -> Array:
    """The weights, one of them off by a twentieth."""
    changed = weights.copy()
    changed[at] *= np.float32(factor)
    return changed


def dense(
    tail: Sequence[onnx.NodeProto], w: Array, *, name: str = "t", **options: Any
) -> onnx.ModelProto:
    """MatMul to the tensor `name`, and what comes behind it."""
    extra = options.pop("weights", {})
    nodes = [node("MatMul", ["x", "w"], [name]), *tail]
    return graph(nodes, {"w": w, **extra}, x=options.pop("x", (6, 4)), **options)


def detector() -> Pair:
    """No box of noise reaches the threshold."""

    def made(w: Array) -> onnx.ModelProto:
        tail = [
            node("Sigmoid", ["t"], ["s"]),
            node("Slice", ["s", "zero", "four", "axis"], ["boxes"]),
            node("Slice", ["s", "four", "five", "axis"], ["score"]),
            node("Transpose", ["score"], ["scores"], perm=[0, 2, 1]),
            node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "threshold"], ["y"]),
        ]
        extra = {
            "zero": np.array([0]), "four": np.array([4]), "five": np.array([5]),
            "axis": np.array([2]), "most": np.array([10]), "iou": np.array([0.5], np.float32),
            "threshold": np.array([0.9999999], np.float32),
        }  # fmt: skip
        return dense(tail, w, x=(1, 6, 4), y_type=INT64, weights=extra)

    w = rows(5, scale=0.01)
    return made(w), made(off(w))


def ordered(op: str) -> Pair:
    """Which is the largest hardly hangs on one weight."""
    attributes: dict[str, Any] = {} if op == "TopK" else {"axis": 1}
    inputs, outputs = (["t", "k"], ["v", "y"]) if op == "TopK" else (["t"], ["y"])
    tail = [node(op, inputs, outputs, **attributes)]
    w = rows(10)
    k = {"k": np.array([1])} if op == "TopK" else {}
    return both(dense(tail, v, y_type=INT64, weights=k) for v in (w, off(w, (1, 2), 1.01)))


def ordered_under_other_names() -> Pair:
    """The same, exported twice: no tensor inside has the name that it had."""
    w = rows(10)
    return both(
        dense([node("ArgMax", [t], ["y"], axis=1)], v, name=t, y_type=INT64)
        for t, v in (("t", w), ("u", off(w, (1, 2), 1.01)))
    )


def score_column(shape: Dims) -> Pair:
    """A score of 1e-3 at most, as the last column beside coordinates up to 640."""
    scale = np.array([640, 640, 640, 640, 1e-4], np.float32)
    return both(
        graph([node("Mul", ["x", "s"], ["y"])], {"s": s}, x=shape)
        for s in (scale, off(scale, (4,)))
    )


def fifth_axis() -> Pair:
    """Channels on axis 2 of five, as detectors have them: (n, anchors, values, h, w)."""
    scale = np.array([640, 640, 640, 640, 1e-4], np.float32).reshape(1, 1, 5, 1, 1)
    return both(
        graph([node("Mul", ["x", "s"], ["y"])], {"s": s}, x=(1, 3, 5, 4, 4))
        for s in (scale, off(scale, (0, 0, 4, 0, 0)))
    )


def saturated(op: str) -> Pair:
    """All that is fed ends at 0 and 1."""
    w, bias = rows(10), np.full(10, -60, np.float32)
    bias[0] = 60.0
    attributes: dict[str, Any] = {"axis": 1} if op == "Softmax" else {}
    tail = [node("Add", ["t", "b"], ["u"]), node(op, ["u"], ["y"], **attributes)]
    return both(dense(tail, v, weights={"b": bias}) for v in (w, off(w)))


def dead_relu() -> Pair:
    """Only an image of 0 to 255 gets through."""
    nodes = [node("Sub", ["x", "c"], ["u"]), node("Relu", ["u"], ["y"])]
    thresholds = np.full((1, 4, 1, 1), 120, np.float32)
    return both(graph(nodes, {"c": c}) for c in (thresholds, off(thresholds, (0, 1, 0, 0))))


def unreached_clip() -> Pair:
    """Its limit is far beyond what is fed at a magnitude of 1."""
    return both(
        graph([node("Clip", ["x", "", "c"], ["y"])], {"c": np.array(c, np.float32)})
        for c in (100, 110)
    )


def untried_flag() -> Pair:
    """What a flag leads to, when it is set."""
    flag = helper.make_tensor_value_info("flag", BOOL, [])
    return both(
        graph(
            [node("Mul", ["x", "c"], ["z"]), node("Where", ["flag", "z", "x"], ["y"])],
            {"c": np.array(c, np.float32)},
            more=[flag],
        )
        for c in (2, 3)
    )


def flag_that_is_unset() -> Pair:
    """What a flag leads to, when it is not set."""
    flag = helper.make_tensor_value_info("flag", BOOL, [])
    return both(
        graph(
            [node("Mul", ["x", "c"], ["z"]), node("Where", ["flag", "x", "z"], ["y"])],
            {"c": np.array(c, np.float32)},
            more=[flag],
        )
        for c in (2, 3)
    )


def beyond(compare: str, limit: int) -> Pair:
    """Another result only where the width is above, or below, a limit."""

    def made(factor: float) -> onnx.ModelProto:
        nodes = [
            node("Shape", ["x"], ["shape"], start=3),
            node(compare, ["shape", "limit"], ["far"]),
            node("Where", ["far", "c", "one"], ["s"]),
            node("Mul", ["x", "s"], ["y"]),
        ]
        weights = {
            "limit": np.array([limit]),
            "c": np.array([factor], np.float32),
            "one": np.array([1], np.float32),
        }
        return graph(nodes, weights, x=(1, 4, "h", "w"))

    return made(1.0), made(1.05)


def row_of_a_table() -> Pair:
    """The row that nobody asks for who feeds 0 to 7."""
    table = np.arange(120, dtype=np.float32).reshape(30, 4) + 1
    return both(
        graph([node("Gather", ["t", "x"], ["y"])], {"t": t}, x=(64,), x_type=INT64)
        for t in (table, off(table, (20, 1)))
    )


def row_behind_a_clip() -> Pair:
    """An index that is clipped before it is used."""
    table = np.arange(120, dtype=np.float32).reshape(30, 4) + 1
    nodes = [node("Clip", ["x", "low", "high"], ["i"]), node("Gather", ["t", "i"], ["y"])]
    ends = {"low": np.array(0), "high": np.array(29)}
    return both(
        graph(nodes, {"t": t, **ends}, x=(64,), x_type=INT64) for t in (table, off(table, (29, 1)))
    )


def dropped(tail: str) -> Pair:
    """All that is fed is the same behind it: a constant output."""
    w = rows(10)
    zero = {"zero": np.array(0, np.float32)}
    return both(
        dense([node(tail, [t, "zero"], ["y"])], v, name=t, weights=zero)
        for t, v in (("t", w), ("u", off(w)))
    )


PAIRS: dict[str, Callable[[], Pair]] = {
    "a detector that finds nothing": detector,
    "ArgMax": lambda: ordered("ArgMax"),
    "TopK": lambda: ordered("TopK"),
    "ArgMax of another export": ordered_under_other_names,
    "a score column of rank 2": lambda: score_column((6, 5)),
    "a score column of ten values": lambda: score_column((1, 10, 5)),
    "a score of one value": lambda: score_column((1, 5)),
    "channels on axis 2 of five": fifth_axis,
    "a saturated Sigmoid": lambda: saturated("Sigmoid"),
    "a saturated Softmax": lambda: saturated("Softmax"),
    "a dead Relu": dead_relu,
    "a Clip that is not reached": unreached_clip,
    "a flag that is set": untried_flag,
    "a flag that is not set": flag_that_is_unset,
    "a size over 64": lambda: beyond("Greater", 64),
    "a size over 128": lambda: beyond("Greater", 128),
    "a size under 32": lambda: beyond("Less", 32),
    "a size under 16": lambda: beyond("Less", 16),
    "a row of a table": row_of_a_table,
    "a row behind a Clip": row_behind_a_clip,
    "an output that is constant": lambda: dropped("Mul"),
}
