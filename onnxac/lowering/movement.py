"""Operators that move data along spatial axes: Pad and Slice.

A crop of a at the start and b at the end is the identity kernel with offset +a and extent
−a−b; a zero padding the same with negative numbers; a step is a stride.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.algebra import AffineSum, Deferred, Edge, Obstacle
from onnxac.inference.dims import static
from onnxac.inference.windows import pad_axes, slice_axes
from onnxac.lowering.channels import selection
from onnxac.lowering.context import Context, Lowered, Rule, attribute, shifted

_MODES: dict[str, Edge] = {"constant": "zero", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def _pad(node: gs.Node, output: int, context: Context) -> Lowered:
    source = node.inputs[0]
    shape = context.shape(source)
    if shape is None or len(shape) < 3 or not isinstance(shape[1], int):
        return Obstacle("shape", f"the channels of {source.name} are not known")
    axes = pad_axes(context.operands(node), static(shape))
    if isinstance(axes, Obstacle):
        return axes
    if not (axes[0].is_identity and axes[1].is_identity):
        return Obstacle("layout", "it pads the batch or the channels")
    edge = _MODES.get(attribute(node, "mode", "constant"))
    if edge is None:
        return Obstacle("attributes", "its mode is not known")
    if edge != "zero" and any(a.pad_begin < 0 or a.pad_end < 0 for a in axes):
        return Obstacle("attributes", f"it crops in mode {edge}")
    value = _pad_value(node, context)
    if isinstance(value, Obstacle):
        return value
    extended = tuple(a if a.is_identity else replace(a, edge=edge) for a in axes[2:])
    conv = shifted(extended, shape[1], context.step(node))
    if value and edge == "zero":
        conv = replace(conv, fill=Deferred.of(np.full(shape[1], value)))
    return AffineSum(((source.name, conv),), None, frozenset({context.step(node)}))


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
    cuts = slice_axes(context.operands(node), static(shape))
    if isinstance(cuts, Obstacle):
        return cuts
    if not cuts[0].is_identity:
        return None
    if not isinstance(shape[1], int):
        return Obstacle("shape", f"the channels of {source.name} are not known")
    if not cuts[1].is_identity:
        if not all(c.is_identity for c in cuts[2:]):
            return Obstacle("layout", "it cuts channels and positions at once")
        step, count = cuts[1].stride, cuts[1].length(shape[1])
        rows = range(cuts[1].offset, cuts[1].offset + step * count, step)
        return selection(node, source.name, rows, shape, context)
    conv = shifted(cuts[2:], shape[1], context.step(node))
    return AffineSum(((source.name, conv),), None, frozenset({context.step(node)}))


RULES: dict[str, Rule] = {"Pad": _pad, "Slice": _slice}
