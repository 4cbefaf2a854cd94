"""Ways to write a term as a product of matrices: x·W with the channels last, or W·x."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from onnxac.algebra import Axis, Lazy
from onnxac.algebra.kernel import Array
from onnxac.algebra.layout import GROUPED, Entry
from onnxac.recipes.cost import Cost, window_cost
from onnxac.recipes.frame import Frame
from onnxac.recipes.site import Piece
from onnxac.recipes.steps import Step, Weight, rearranged, size


def multiplied(frame: Frame) -> Iterator[Piece]:
    """x·W with the channels last, or W·x with them last but one."""
    term, rank = frame.term, len(frame.axes)
    if term.channels is None or not term.is_pointwise or term.channels.group > 1:
        return
    at, out, width = term.channels.axis, term.channels.out, term.channels.width
    others = [i for i in range(rank) if i != at]
    matrix = Lazy(lambda k: k.reshape(out, width), term.kernel)
    sides = [False, True] if at == rank - 1 or rank < 2 else [True, False]
    for left in sides:
        if left and not others:
            continue
        order = [*others[:-1], at, others[-1]] if left else [*others, at]
        yield from _product(frame, order, matrix, left=left)


def _product(frame: Frame, order: list[int], matrix: Lazy[Array], *, left: bool) -> Iterator[Piece]:
    head, tail = frame.around(order)
    if head is None or tail is None or len(order) < 2:
        return
    assert frame.term.channels is not None
    out, width = frame.term.channels.out, frame.term.channels.width
    dims = tuple(frame.after[i] for i in order)
    cost = window_cost(frame.site.elements, (out, width), 1, 1)
    cost += Cost(elements=size(frame.source) + frame.site.elements, nodes=1)
    if not left and len(order) == 2 and frame.site.has_bias:
        step = Step("Gemm", dims, cost, {"transB": 1}, (Weight("weight", matrix),), weighted=True)
        yield frame.piece((*head, step), tail, len(head))
        return
    weight = Weight("weight", matrix if left else Lazy(lambda m: m.T, matrix))
    yield frame.piece((*head, Step("MatMul", dims, cost, {}, (weight,), left, weighted=True)), tail)


def flattened(frame: Frame) -> Iterator[Piece]:
    """A window over whole axes: they are flattened, and multiplied with a matrix."""
    term, channels = frame.term, frame.term.channels
    hidden = range(len(frame.axes) - term.hidden, len(frame.axes))
    if channels is None or channels.group > 1 or not term.hidden or term.fill is not None:
        return
    rest = [i for i in range(hidden.start) if i != channels.axis]
    if not all(frame.axes[i].is_identity for i in rest):
        return
    lengths = [frame.before[i] for i in hidden]
    entries = [term.view[i] for i in (channels.axis, *hidden)]
    if not all(isinstance(n, int) for n in lengths) or GROUPED in entries:
        return
    if any(frame.axes[i].up > 1 or frame.axes[i].edge != "zero" for i in hidden):
        return
    counts = [int(str(n)) for n in lengths]
    matrix = _spread(term.kernel, counts, [frame.axes[i] for i in hidden], len(rest))
    parts = [[e] if isinstance(e, int) else list(e or ()) for e in entries]
    # The columns stand in the source's own order, whatever the channels are: nothing is moved.
    columns = sorted(range(len(parts)), key=lambda i: parts[i][:1])
    matrix = _ordered(matrix, [channels.width, *counts], columns)
    merged = [axis for i in columns for axis in parts[i]]
    view: list[Entry] = [*(term.view[i] for i in rest), tuple(merged) or None]
    width = channels.width * math.prod(counts)
    target = (*(frame.before[i] for i in rest), width)
    head = rearranged(frame.source, tuple(view), target, frame.site.opset)
    order = [*rest, channels.axis]
    tail = frame.tail(order)
    if head is None or tail is None:
        return
    dims = tuple(frame.after[i] for i in order)
    cost = window_cost(frame.site.elements, (channels.out, width), 1, 1)
    cost += Cost(elements=size(frame.source) + frame.site.elements, nodes=1)
    if len(order) == 2 and frame.site.has_bias:
        step = Step("Gemm", dims, cost, {"transB": 1}, (Weight("weight", matrix),), weighted=True)
        yield frame.piece((*head, step), tail, len(head))
    elif len(order) >= 2:
        weight = Weight("weight", Lazy(lambda m: m.T, matrix))
        yield frame.piece((*head, Step("MatMul", dims, cost, {}, (weight,), weighted=True)), tail)


def _ordered(matrix: Lazy[Array], sizes: list[int], columns: list[int]) -> Lazy[Array]:
    """The matrix [out, features] with what its features are made of in another order."""
    if columns == sorted(columns):
        return matrix
    order = (0, *(1 + i for i in columns))
    return Lazy(lambda m: m.reshape(-1, *sizes).transpose(order).reshape(m.shape), matrix)


def _spread(kernel: Lazy[Array], lengths: list[int], axes: list[Axis], rest: int) -> Lazy[Array]:
    """[out, width, *taps] with one weight for every element of the axes: [out, features]."""
    found = [a.inside(n) for a, n in zip(axes, lengths, strict=True)]
    cut: Any = (..., *(slice(first, last) for _, first, last in found))
    at: Any = (
        ...,
        *(
            slice(
                a.offset + a.dilation * first,
                a.offset + a.dilation * (last - 1) + 1,
                a.dilation,
            )
            if last > first
            else slice(0, 0)
            for a, (_, first, last) in zip(axes, found, strict=True)
        ),
    )

    def whole(kernel: Array) -> Array:
        held = kernel.reshape(*kernel.shape[:2], *kernel.shape[2 + rest :])
        spread = np.zeros((*held.shape[:2], *lengths))
        spread[at] = held[cut]
        return spread.reshape(held.shape[0], -1)

    return Lazy(whole, kernel)
