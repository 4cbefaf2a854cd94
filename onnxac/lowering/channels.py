"""Choosing and joining along an axis: Split, Gather, Concat.

A part of an axis is a crop, whichever axis it is; where a convolution mixes that axis, the
crop becomes rows of its kernel. Concat(a, b) is a sum: of a, put into the first channels of a
larger number of them, and of b, put into the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.algebra import Axis, Channels, Lazy, Obstacle, Sum, Term
from onnxac.algebra.kernel import Array
from onnxac.inference.dims import Dim
from onnxac.lowering.arrangement import Arranged
from onnxac.lowering.context import (
    Context,
    Lowered,
    Rule,
    attribute,
    mixed,
    moved,
    same,
    single,
)


def along(axis: int, rank: int, geometry: Axis) -> list[Axis]:
    """Geometry along one axis, and the identity along all others."""
    axes = [Axis()] * rank
    axes[axis] = geometry
    return axes


def selection(
    source: str, rows: Sequence[int], width: int, axis: int, rank: int, step: int
) -> Term:
    """Elements `rows` of an axis of `width`, in that order."""
    first, count = rows[0], len(rows)
    stride = rows[1] - first if count > 1 else 1
    if stride > 0 and list(rows) == list(range(first, first + stride * count, stride)):
        last = first + stride * (count - 1)
        geometry = Axis(stride=stride, offset=first, extent=last - first - (width - 1))
        return moved(source, along(axis, rank, geometry), step)
    shape = (count, width, *[1] * (rank - 1))
    kernel = Lazy(lambda: np.eye(width)[list(rows)].reshape(shape))
    return mixed(source, kernel, [Axis()] * rank, Channels(axis, count, width, 1), step)


def selections(
    arranged: Arranged, lines: Sequence[Axis], source: str, channels: tuple[int, int], step: int
) -> tuple[Term, ...]:
    """One term for each position that channels (out, width) on axis 1 are read at.

    lines  geometry per spatial axis, but for the offsets
    """
    out, width = channels
    terms = []
    for offsets, rows in arranged.parts:
        axes = [replace(a, offset=o) for a, o in zip(lines, offsets, strict=True)]
        shape = (out, width, *[1] * (len(axes) + 1))
        kernel = Lazy(lambda rows=rows, shape=shape: _placed(rows, shape))
        mixing = Channels(1, out, width, 1)
        terms.append(mixed(source, kernel, [Axis(), Axis(), *axes], mixing, step))
    return tuple(terms)


def _placed(rows: Sequence[tuple[int, int]], shape: tuple[int, ...]) -> Array:
    """A kernel of ones at some places (out, in)."""
    kernel = np.zeros(shape)
    for o, row in rows:
        kernel[o, row] = 1
    return kernel


def _split(node: gs.Node, output: int, context: Context) -> Lowered:
    source = node.inputs[0]
    shape = context.shape(source)
    if shape is None or not shape:
        return None
    axis = int(attribute(node, "axis", 0)) % len(shape)
    width = shape[axis]
    sizes = []
    for tensor in node.outputs:
        part = context.shape(tensor)
        if part is None or len(part) != len(shape):
            return Obstacle("shape", "the sizes of its parts are not known")
        if not isinstance(part[axis], int) or not isinstance(width, int):
            return Obstacle("shape", "the sizes of its parts are not known")
        sizes.append(int(str(part[axis])))
    if not isinstance(width, int) or sum(sizes) != width or not sizes[output]:
        return Obstacle("shape", "the sizes of its parts are not known")
    geometry = Axis(offset=sum(sizes[:output]), extent=sizes[output] - width)
    step = context.step(node)
    return single(moved(source.name, along(axis, len(shape), geometry), step), step)


def _gather(node: gs.Node, output: int, context: Context) -> Lowered:
    source = node.inputs[0]
    shape = context.shape(source)
    rows = context.value(context.operand(node, 1))
    if shape is None or not shape or rows is None:
        return None
    axis = int(attribute(node, "axis", 0)) % len(shape)
    width = shape[axis]
    if not isinstance(width, int) or np.ndim(rows) > 1 or not np.size(rows):
        return None
    step, rank = context.step(node), len(shape)
    chosen = [int(r) % width for r in np.reshape(rows, -1)]
    if np.ndim(rows) == 1:
        return single(selection(source.name, chosen, width, axis, rank, step), step)
    # One element: its axis is gone.
    axes = [*[Axis()] * (rank - 1), Axis(offset=chosen[0], extent=1 - width)]
    view = (*(i for i in range(rank) if i != axis), axis)
    return single(moved(source.name, axes, step, view, hidden=1), step)


def _concat(node: gs.Node, output: int, context: Context) -> Lowered:
    if len(node.inputs) == 1:
        return same(node, context)
    step = context.step(node)
    shapes = [context.shape(t) for t in node.inputs]
    first = shapes[0]
    if first is None or not first:
        return None
    axis = int(attribute(node, "axis", 0)) % len(first)
    others = [d for i, d in enumerate(first) if i != axis]
    sizes: list[int] = []
    for tensor, shape in zip(node.inputs, shapes, strict=True):
        if shape is None or len(shape) != len(first) or context.is_constant(tensor):
            return None
        if not isinstance(shape[axis], int):
            return None
        if not _may_agree([d for i, d in enumerate(shape) if i != axis], others):
            return None
        sizes.append(int(str(shape[axis])))
    total, at, ones = sum(sizes), 0, (1,) * (len(first) - 1)
    terms = []
    for tensor, size in zip(node.inputs, sizes, strict=True):
        kernel = Lazy(lambda n=size, at=at: np.eye(total, n, -at).reshape(total, n, *ones))
        mixing = Channels(axis, total, size, 1)
        terms.append(mixed(tensor.name, kernel, [Axis()] * len(first), mixing, step))
        at += size
    return Sum(tuple(terms), (), frozenset({step}))


def _may_agree(dims: Sequence[Dim], others: Sequence[Dim]) -> bool:
    """Whether shapes are equal at some sizes: at others the operator does not run."""
    return len(dims) == len(others) and all(
        a == b or not (isinstance(a, int) and isinstance(b, int))
        for a, b in zip(dims, others, strict=True)
    )


RULES: dict[str, Rule] = {"Split": _split, "Gather": _gather, "Concat": _concat}
