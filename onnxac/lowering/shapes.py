"""Operators that lay the same elements out otherwise: each is a view of its input."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxac.algebra import Axis
from onnxac.algebra.layout import reshaped
from onnxac.lowering.context import Context, Lowered, Rule, attribute, moved, same, single


def _transpose(node: gs.Node, output: int, context: Context) -> Lowered:
    shape = context.shape(node.inputs[0])
    if shape is None:
        return None
    rank, perm = len(shape), attribute(node, "perm", None)
    view = tuple(perm) if perm else tuple(reversed(range(rank)))
    if sorted(view) != list(range(rank)):
        return None
    step = context.step(node)
    return single(moved(node.inputs[0].name, [Axis()] * rank, step, view), step)


def _reshaped(node: gs.Node, output: int, context: Context) -> Lowered:
    source = node.inputs[0]
    before, after = context.shape(source), context.shape(node.outputs[0])
    if before is None or after is None:
        return None
    if before == after:
        return same(node, context)
    if node.op in ("Expand", "Tile"):
        return None
    view = reshaped(before, after)
    if view is None:
        return None
    step = context.step(node)
    axes = [Axis()] * len(after)
    return single(moved(source.name, axes, step, view, depth=len(before)), step)


RULES: dict[str, Rule] = {
    "Transpose": _transpose,
    "Reshape": _reshaped,
    "Flatten": _reshaped,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "Expand": _reshaped,
    "Tile": _reshaped,
}
