"""Operators on the channel axis: Split and Gather select channels, Concat stacks them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.algebra import AffineConv, AffineSum, Axis, Deferred, Obstacle
from onnxac.algebra.affine import Mark, number
from onnxac.algebra.kernel import Array
from onnxac.inference.dims import Shape
from onnxac.lowering.context import Context, Lowered, Rule, attribute


def selection(
    node: gs.Node, source: str, rows: Sequence[int], shape: Shape, context: Context
) -> AffineSum:
    """Channels `rows` of the source, in that order, on the second axis."""
    width = int(str(shape[1]))
    conv = _matrix(lambda: np.eye(width)[list(rows)], len(rows), width, shape, context.step(node))
    return AffineSum(((source, conv),), None, frozenset({context.step(node)}))


def _matrix(make: Callable[[], Array], out: int, width: int, shape: Shape, step: int) -> AffineConv:
    rank = len(shape) - 2
    axes = (Axis(),) * rank
    return AffineConv(
        axes,
        (out, width),
        1,
        Deferred(lambda: make().reshape(out, width, *[1] * rank)),
        marks=(Mark((step,), axes, 1),),
    )


def _split(node: gs.Node, output: int, context: Context) -> Lowered:
    source = node.inputs[0]
    shape = context.shape(source)
    if shape is None or int(attribute(node, "axis", 0)) % len(shape) != 1 or len(shape) < 2:
        return None
    sizes = []
    for tensor in node.outputs:
        part = context.shape(tensor)
        if part is None or not isinstance(part[1], int) or not isinstance(shape[1], int):
            return Obstacle("shape", "the sizes of its parts are not known")
        sizes.append(part[1])
    first = sum(sizes[:output])
    return selection(node, source.name, range(first, first + sizes[output]), shape, context)


def _gather(node: gs.Node, output: int, context: Context) -> Lowered:
    source, index = node.inputs[0], node.inputs[1]
    shape = context.shape(source)
    if shape is None or len(shape) < 2 or int(attribute(node, "axis", 0)) % len(shape) != 1:
        return None
    rows = context.facts.value(index.name) if context.is_constant(index) else None
    if rows is None or np.ndim(rows) != 1 or not isinstance(shape[1], int):
        return None
    return selection(node, source.name, [int(r) % shape[1] for r in rows], shape, context)


def _concat(node: gs.Node, output: int, context: Context) -> Lowered:
    step = context.step(node)
    if len(node.inputs) == 1:
        return AffineSum(((node.inputs[0].name, number(1.0, (step,))),), None, frozenset({step}))
    shapes = [context.shape(t) for t in node.inputs]
    first = shapes[0]
    if first is None or len(first) < 2 or int(attribute(node, "axis", 0)) % len(first) != 1:
        return None
    sizes: list[int] = []
    for tensor, shape in zip(node.inputs, shapes, strict=True):
        if shape is None or not isinstance(shape[1], int) or context.is_constant(tensor):
            return None
        if (shape[0], *shape[2:]) != (first[0], *first[2:]):
            return None
        sizes.append(shape[1])
    total, rank, at = sum(sizes), len(first) - 2, 0
    terms = []
    for tensor, size in zip(node.inputs, sizes, strict=True):
        rows = slice(at, at + size)

        def embed(rows: slice = rows) -> Array:
            return np.eye(total)[:, rows]

        terms.append((tensor.name, _matrix(embed, total, size, (1, size, *[1] * rank), step)))
        at += size
    return AffineSum(tuple(terms), None, frozenset({step}))


RULES: dict[str, Rule] = {"Split": _split, "Gather": _gather, "Concat": _concat}
