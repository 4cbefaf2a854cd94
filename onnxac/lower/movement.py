"""Operators that move data along spatial axes: Pad and Slice.

A crop of a at the start and b at the end is the identity kernel with offset +a and extent
−a−b; a zero padding the same with negative numbers; a step is a stride.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.algebra import AffineSum, Axis, Deferred, Edge, Obstacle
from onnxac.facts import Dim
from onnxac.lower.channels import selection
from onnxac.lower.context import Context, Lowered, Rule, attribute, shifted

_MODES: dict[str, Edge] = {"constant": "zero", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def _pad(node: gs.Node, output: int, context: Context) -> Lowered:
    source = node.inputs[0]
    shape = context.shape(source)
    if shape is None or len(shape) < 3:
        return Obstacle("shape", f"the rank of {source.name} is not known, or too low")
    amounts = context.ints(node, 1, "pads")
    if amounts is None:
        return Obstacle("constant", "its amounts are computed at run time")
    rank = len(shape)
    begins, ends = _spread(node, context, amounts, rank)
    if any(begins[:2]) or any(ends[:2]):
        return Obstacle("layout", "it pads the batch or the channels")
    edge = _MODES.get(attribute(node, "mode", "constant"))
    if edge is None or not isinstance(shape[1], int):
        return Obstacle("attributes", "its mode or its channels are not known")
    if edge != "zero" and any(v < 0 for v in (*begins, *ends)):
        return Obstacle("attributes", f"it crops in mode {edge}")
    value = _pad_value(node, context)
    if isinstance(value, Obstacle):
        return value
    axes = tuple(
        Axis(offset=-b, extent=b + e, edge=edge if b or e else "zero")
        for b, e in zip(begins[2:], ends[2:], strict=True)
    )
    conv = shifted(axes, shape[1], context.step(node))
    if value:
        held = np.full(shape[1], value)
        conv = type(conv)(
            conv.axes, conv.channels, conv.group, conv.kernel, conv.unit, Deferred.of(held), conv.marks
        )
    return AffineSum(((source.name, conv),), None, frozenset({context.step(node)}))


def _spread(
    node: gs.Node, context: Context, amounts: list[int], rank: int
) -> tuple[list[int], list[int]]:
    """Amounts per axis, where opset 18 may name the axes they are for."""
    axes = context.ints(node, 3, "axes") or list(range(rank))
    begins, ends = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        begins[axis], ends[axis] = amounts[i], amounts[i + len(axes)]
    return begins, ends


def _pad_value(node: gs.Node, context: Context) -> float | Obstacle:
    if "value" in node.attrs:
        return float(node.attrs["value"])
    tensor = context.operand(node, 2)
    if tensor is None:
        return 0.0
    value = context.facts.value(tensor.name) if context.is_constant(tensor) else None
    if value is None:
        return Obstacle("constant", "the value it pads with is computed at run time")
    return float(np.asarray(value).reshape(()))


def _slice(node: gs.Node, output: int, context: Context) -> Lowered:
    source = node.inputs[0]
    shape = context.shape(source)
    if shape is None or len(shape) < 2:
        return None
    starts, ends = context.ints(node, 1, "starts"), context.ints(node, 2, "ends")
    if starts is None or ends is None:
        return Obstacle("constant", "its bounds are computed at run time")
    named = context.ints(node, 3, "axes") or list(range(len(starts)))
    steps = context.ints(node, 4, "steps") or [1] * len(starts)
    cuts: list[Axis] = [Axis()] * len(shape)
    for start, end, axis, step in zip(starts, ends, named, steps, strict=True):
        cut = _cut(shape[axis], start, end, step)
        if isinstance(cut, Obstacle):
            return cut
        cuts[axis] = cut
    if not cuts[0].is_identity:
        return None
    if not isinstance(shape[1], int):
        return Obstacle("shape", f"the channels of {source.name} are not known")
    if not cuts[1].is_identity:
        rows = range(cuts[1].offset, cuts[1].offset + cuts[1].stride * cuts[1].length(shape[1]), cuts[1].stride)
        if not all(c.is_identity for c in cuts[2:]):
            return Obstacle("layout", "it cuts channels and positions at once")
        return selection(node, source.name, list(rows), shape, context)
    conv = shifted(tuple(cuts[2:]), shape[1], context.step(node))
    return AffineSum(((source.name, conv),), None, frozenset({context.step(node)}))


def _cut(length: Dim, start: int, end: int, step: int) -> Axis | Obstacle:
    if step < 1:
        return Obstacle("attributes", "it runs backwards")
    if isinstance(length, int):
        first = min(max(start + length if start < 0 else start, 0), length)
        last = min(max(end + length if end < 0 else end, 0), length)
        if last <= first:
            return Obstacle("attributes", "it takes nothing")
        return Axis(stride=step, offset=first, extent=-first - (length - last))
    if start < 0 or 0 <= end < 2**31 - 1:
        return Obstacle("dynamic", "its bounds count from the other end of a dynamic extent")
    behind = -end if end < 0 else 0
    return Axis(stride=step, offset=start, extent=-start - behind)


RULES: dict[str, Rule] = {"Pad": _pad, "Slice": _slice}
