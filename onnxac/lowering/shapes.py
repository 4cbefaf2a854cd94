"""Operators that change the shape: Transpose, Flatten, Reshape, Squeeze, Unsqueeze, Expand, …

Three of their uses are linear maps of channels:

    [N, C, *L] → [N, C·ΠL]   a window over the whole map, every tap to a channel of its own
    [*B, C]    → [*B', C]    channels are last, and stay last
    transposition            another axis order of the same sum
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.algebra import AffineConv, AffineSum, Axis, Deferred
from onnxac.algebra.affine import Mark
from onnxac.algebra.frame import plain
from onnxac.inference.dims import Shape
from onnxac.lowering.context import Context, Lowered, Rule, attribute, same, shifted


def _transpose(node: gs.Node, output: int, context: Context) -> Lowered:
    shape = context.shape(node.inputs[0])
    perm = attribute(node, "perm", None)
    if shape is None:
        return None
    order = plain(tuple(perm) if perm else tuple(reversed(range(len(shape)))))
    found = same(node, context)
    return AffineSum(found.terms, None, found.steps, order)


def _reshaped(node: gs.Node, output: int, context: Context) -> Lowered:
    source = node.inputs[0]
    before, after = context.shape(source), context.shape(node.outputs[0])
    if before is None or after is None:
        return None
    if before == after:
        return same(node, context)
    if node.op in ("Expand", "Tile") or len(before) < 2 or len(after) < 2:
        return None
    step = context.step(node)
    conv = _flattened(before, after, step)
    if conv is None and before[-1] == after[-1] and isinstance(before[-1], int):
        conv = replace(shifted((), before[-1], step), reshaped=True)
    if conv is None:
        return None
    return AffineSum(((source.name, conv),), None, frozenset({step}))


def _flattened(before: Shape, after: Shape, step: int) -> AffineConv | None:
    """[N, C, *L] → [N, C·ΠL]."""
    dims = [d for d in before[1:] if isinstance(d, int)]
    if len(after) != 2 or after[0] != before[0] or len(dims) < len(before) - 1 or len(before) < 3:
        return None
    channels, lengths = dims[0], dims[1:]
    count = math.prod(dims)
    if after[1] != count:
        return None
    if math.prod(lengths) == 1:
        return replace(shifted((Axis(),) * len(lengths), channels, step), reshaped=True)
    axes = tuple(Axis(taps=n, extent=1 - n) for n in lengths)
    return AffineConv(
        axes,
        (count, channels),
        1,
        Deferred(lambda: np.eye(count).reshape(count, channels, *lengths)),
        marks=(Mark((step,), axes, 1),),
        unfold=True,
        reshaped=True,
    )


RULES: dict[str, Rule] = {
    "Transpose": _transpose,
    "Reshape": _reshaped,
    "Flatten": _reshaped,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "Expand": _reshaped,
    "Tile": _reshaped,
}
