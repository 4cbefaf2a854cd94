"""Operators that move data along axes: Pad and Slice.

A crop of a at the start and b at the end is the identity kernel with offset +a and extent
−a−b; a zero padding the same with negative numbers; a step is a stride.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.algebra import Edge, Lazy, Obstacle
from onnxac.inference.dims import static
from onnxac.inference.windows import pad_axes, slice_axes
from onnxac.lowering.channels import selection
from onnxac.lowering.context import Context, Lowered, Rule, attribute, moved, single

_MODES: dict[str, Edge] = {"constant": "zero", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def _pad(node: gs.Node, output: int, context: Context) -> Lowered:
    source = node.inputs[0]
    shape = context.shape(source)
    if shape is None:
        return Obstacle("shape", f"the rank of {source.name} is not known")
    axes = pad_axes(context.operands(node), static(shape))
    if isinstance(axes, Obstacle):
        return axes
    edge = _MODES.get(attribute(node, "mode", "constant"))
    if edge is None:
        return Obstacle("attributes", "its mode is not known")
    if edge != "zero" and any(a.pad_begin < 0 or a.pad_end < 0 for a in axes):
        return Obstacle("attributes", f"it crops in mode {edge}")
    value = _pad_value(node, context)
    if isinstance(value, Obstacle):
        return value
    step = context.step(node)
    term = moved(source.name, [a if a.is_identity else replace(a, edge=edge) for a in axes], step)
    if value and edge == "zero":
        term = replace(term, fill=Lazy.of(np.full(1, value)))
    return single(term, step)


def _pad_value(node: gs.Node, context: Context) -> float | Obstacle:
    if "value" in node.attrs:
        return float(node.attrs["value"])
    tensor = context.operand(node, 2)
    if tensor is None:
        return 0.0
    value = context.value(tensor)
    if value is None:
        return Obstacle("constant", "the value it pads with is computed at run time")
    if value.size != 1:
        return Obstacle("attributes", "the value it pads with is not one number")
    return float(np.asarray(value).reshape(()))


def _slice(node: gs.Node, output: int, context: Context) -> Lowered:
    source = node.inputs[0]
    shape = context.shape(source)
    if shape is None:
        return None
    operands, step = context.operands(node), context.step(node)
    backwards = _reversed(operands, static(shape))
    if backwards is not None:
        axis, rows, width = backwards
        return single(selection(source.name, rows, width, axis, len(shape), step), step)
    cuts = slice_axes(operands, static(shape))
    if isinstance(cuts, Obstacle):
        return cuts
    return single(moved(source.name, cuts, step), step)


def _reversed(operands: list[object], shape: list[int | None]) -> tuple[int, list[int], int] | None:
    """Axis, rows and width of a Slice that runs backwards along one axis, and cuts no other."""
    arrays = [None if v is None else np.asarray(v) for v in operands]
    if any(a is not None and a.shape != (1,) for a in arrays):
        return None
    starts, ends, named, steps = (None if a is None else [int(a[0])] for a in arrays)
    if starts is None or ends is None or steps is None or steps[0] >= 0:
        return None
    axis = (named or [0])[0]
    if not -len(shape) <= axis < len(shape):
        return None
    axis %= len(shape)
    width = shape[axis]
    if width is None:
        return None
    rows = list(range(width))[slice(max(starts[0], -width - 1), max(ends[0], -width - 1), steps[0])]
    return (axis, rows, width) if rows else None


RULES: dict[str, Rule] = {"Pad": _pad, "Slice": _slice}
