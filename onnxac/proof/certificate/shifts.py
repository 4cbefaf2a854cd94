"""The axes behind each operator that only moves data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxac.proof.certificate import spans
from onnxac.proof.certificate.axes import Axes, Axis, Rule, Scope, length
from onnxac.proof.certificate.calls import Call, UnknownOperatorError
from onnxac.proof.certificate.cut import Array
from onnxac.proof.certificate.moving import bounds, widths
from onnxac.proof.certificate.resizing import factors
from onnxac.proof.certificate.spans import Span


def _transposed(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    order = call.get("perm", list(range(len(own[0])))[::-1])
    return [tuple(own[0][p] for p in order)]


def _reshaped(
    t: Scope, call: Call, own: Sequence[Axes], names: Sequence[str], fixed: frozenset[str]
) -> list[Axes]:
    axes = own[0]
    wanted = call.ints("shape", 1)
    sizes = [length(a) for a in axes]
    shape = [sizes[i] if n == 0 else n for i, n in enumerate(wanted)]
    if -1 in shape:
        rest = math.prod(n for n in shape if n != -1)
        shape[shape.index(-1)] = math.prod(sizes) // max(rest, 1)
    said = len(names) < 2 or names[1] in fixed
    return [regrouped(t, axes, shape, [said and n > 0 for n in wanted])]


def regrouped(t: Scope, axes: Axes, shape: Sequence[int], said: Sequence[bool]) -> Axes:
    """The axes of a reshaped tensor: those that stay themselves stay free.

    said  for each new axis whether its length is written down, so that it can't be another
    """
    found: list[Axis] = []
    i = j = 0
    while j < len(shape) or i < len(axes):
        left, right, a, b = 1, 1, i, j
        while True:
            if left == right and (i > a or j > b):
                break
            if left <= right and i < len(axes) and (left < right or i == a):
                left *= length(axes[i])
                i += 1
            elif j < len(shape):
                right *= shape[j]
                j += 1
            elif i < len(axes):
                left *= length(axes[i])
                i += 1
            else:
                break
        if i - a == 1 and j - b == 1 and not said[b]:
            found.append(axes[a])
            continue
        blocks = _parted(axes[a:i], shape[b:j]) if t.parted else None
        if blocks is None:
            for axis in axes[a:i]:
                t.mix(axis)
        found += shape[b:j] if blocks is None else blocks
    return tuple(found)


def _parted(axes: Axes, shape: Sequence[int]) -> list[Axis] | None:
    """An axis as blocks and the places in them, or blocks and their places as one axis.

    As SpaceToDepth and DepthToSpace have them. None where it is neither.
    """
    first = axes[0] if axes else 1
    if not isinstance(first, Span) or not shape or any(isinstance(a, Span) for a in axes[1:]):
        return None
    if len(axes) == len(shape) == 1:
        return [first]
    if len(axes) == 1:
        block = math.prod(shape[1:])
        return [spans.windowed(first, block, block), *shape[1:]]
    if len(shape) == 1:
        block = math.prod(length(a) for a in axes[1:])
        return [spans.spread(first, block, block)]
    return None


def _flattened(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    axes = own[0]
    at = call.get("axis", 1)
    at = at + len(axes) if at < 0 else at
    result: list[Axis] = []
    for part in (axes[:at], axes[at:]):
        rest = [a for a in part if a != 1]
        if len(rest) == 1:
            result.append(rest[0])
        else:
            result.append(math.prod(t.mix(a) for a in rest))
    return [tuple(result)]


def _unsqueezed(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    axes = call.ints("axes", 1)
    rank = len(own[0]) + len(axes)
    where = {a % rank for a in axes}
    rest = iter(own[0])
    return [tuple(1 if i in where else next(rest) for i in range(rank))]


def _squeezed(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    axes = call.ints("axes", 1)
    where = {a % len(own[0]) for a in axes} if axes is not None else None
    kept: list[Axis] = []
    for i, axis in enumerate(own[0]):
        if i in where if where is not None else axis == 1:
            t.mix(axis, 1)
        else:
            kept.append(axis)
    return [tuple(kept)]


def _concatenated(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    shapes = [own[i] or tuple(call.value(i).array.shape) for i in range(len(own))]
    rank = len(shapes[0])
    at = call.attributes["axis"] % rank
    return [
        tuple(
            _in_a_row(t, [s[i] for s in shapes]) if i == at else t.joined([s[i] for s in shapes])
            for i in range(rank)
        )
    ]


def _in_a_row(t: Scope, axes: Sequence[Axis]) -> Axis:
    """Concatenated axes: beside one that is free, those of fixed length are its border."""
    free = [i for i, a in enumerate(axes) if isinstance(a, Span)]
    if len(free) != 1:
        return sum(t.mix(a) for a in axes)
    lengths = [length(a) for a in axes]
    before, behind = sum(lengths[: free[0]]), sum(lengths[free[0] + 1 :])
    return spans.windowed(axes[free[0]], 1, 1, 1, before, behind)  # type: ignore[arg-type]


def _split(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    at = call.get("axis", 0) % len(own[0])
    total = t.mix(own[0][at])
    sizes = call.ints("split", 1)
    if sizes is None:
        each = -(-total // call.outputs)
        sizes = [min(each, total - each * i) for i in range(call.outputs)]
    return [(*own[0][:at], n, *own[0][at + 1 :]) for n in sizes]


# Ends from here on mean the end, whatever the size.
_TO_THE_END = 2**30


def _sliced(
    t: Scope, call: Call, own: Sequence[Axes], names: Sequence[str], fixed: frozenset[str]
) -> list[Axes]:
    axes = list(own[0])
    for at, start, end, step in bounds(call, len(axes)):
        axis = axes[at]
        size = length(axis)
        first, last, _ = slice(start, None if step < 0 and end < -size else end, step).indices(size)
        count = len(range(first, last, step))
        if not isinstance(axis, Span):
            axes[at] = count
        elif step < 0:
            axes[at] = t.mix(axis) and count
        else:
            # Bounds that are computed from the size are taken for what they are at this one.
            said = not t.exact and (len(names) < 3 or names[2] in fixed)
            if said and size <= end < _TO_THE_END:
                # It may cut something off a longer map.
                raise spans.TooShortError(axis.roots, end - size + 1)
            one_end = (start < 0) == (end < 0 or end >= size) if said else 2 * count < size
            if one_end and (first > 0 or last < size):
                axes[at] = count
            elif count == 0:
                raise spans.TooShortError(axis.roots, 1)
            else:
                axes[at] = spans.windowed(axis, 1, step, 1, -first, min(last, size) - size)
    return [tuple(axes)]


def _gathered(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    at = call.get("axis", 0) % len(own[0])
    t.mix(own[0][at])
    return [(*own[0][:at], *call.constant(1).shape, *own[0][at + 1 :])]


def _gathered_at(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    places = call.constant(1).shape
    for axis in own[0][: places[-1]]:
        t.mix(axis)
    return [(*places[:-1], *own[0][places[-1] :])]


def _tiled(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    times = (int(n) for n in call.constant(1).reshape(-1))
    return [tuple(a if n == 1 else t.mix(a) * n for a, n in zip(own[0], times, strict=True))]


def _expanded(
    t: Scope, call: Call, own: Sequence[Axes], names: Sequence[str], fixed: frozenset[str]
) -> list[Axes]:
    shape = [int(n) for n in call.constant(1).reshape(-1)]
    if names[1] not in fixed:
        # What it is expanded to was computed from the size: it is the size.
        axes = (1,) * (len(shape) - len(own[0])) + tuple(own[0])
        return [
            tuple(
                a if n in (1, length(a)) else max(t.mix(a), n)
                for a, n in zip(axes, shape, strict=True)
            )
        ]
    rank = max(len(shape), len(own[0]))
    return [
        tuple(
            t.joined([s[i] for s in (tuple(shape), own[0]) if len(s) >= -i])
            for i in range(-rank, 0)
        )
    ]


def _padded(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    found: list[Axis] = []
    for axis, (begin, end) in zip(own[0], widths(call, len(own[0])), strict=True):
        if isinstance(axis, Span):
            if call.get("mode", "constant") != "constant" and axis.length <= max(begin, end):
                raise spans.TooShortError(axis.roots, max(begin, end) - axis.length + 1)
            found.append(spans.windowed(axis, 1, 1, 1, begin, end))
        else:
            found.append(axis + begin + end)
    return [tuple(found)]


def _scattered(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    """A block of cells that lies at the ends of free axes is one more border there."""
    axes = list(own[0] or call.value(0).array.shape)
    places = call.constant(1)
    depth = places.shape[-1]
    written = [np.sort(list(set(c.tolist()))) for c in places.reshape(-1, depth).T]
    block = places.size == depth * math.prod(map(len, written)) and places.ndim == depth + 1
    updates = own[2] or tuple(call.value(2).array.shape)
    for at, axis in enumerate(axes):
        if not isinstance(axis, Span):
            continue
        room = axis.length if at >= depth else len(written[at])
        if len(updates) == len(axes) and length(updates[at]) != room:
            raise UnknownOperatorError("ScatterND of another size than its places have")
        everywhere = room == axis.length
        ends = None
        # What is written has to be the same all along the axis.
        if block and not own[2] and _uniform(call.constant(2), at):
            ends = (0, 0) if everywhere else _ends(written[at], axis.length)
        if ends is None:
            axes[at] = t.mix(axis)
        else:
            left, right = max(axis.left, ends[0]), max(axis.right, ends[1])
            axes[at] = Span(axis.length, axis.reach, left, right)
    for axis in updates:
        t.mix(axis)
    return [tuple(axes)]


def _ends(written: Array, size: int) -> tuple[int, int] | None:
    """How many cells at either end are written, if they are all that is."""
    left = 0
    while left < len(written) and written[left] == left:
        left += 1
    right = len(written) - left
    if right and (written[-1] != size - 1 or written[left] != size - right):
        return None
    return left, right


def _uniform(array: Array, axis: int) -> bool:
    return bool(np.all(array == np.take(array, [0], axis)))


def _blocks(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    n, c, *space = own[0]
    b = call.attributes["blocksize"]
    deep = t.mix(c) * b * b if call.op == "SpaceToDepth" else t.mix(c) // (b * b)
    step = spans.windowed if call.op == "SpaceToDepth" else spans.spread
    found: list[Axis] = []
    for axis in space:
        made = step(axis if isinstance(axis, Span) else Span(axis), b, b)
        found.append(made if isinstance(axis, Span) else made.length)
    return [(n, deep, *found)]


# How many old cells beyond its own a new cell may see, by mode.
_BEYOND = {"nearest": 0, "linear": 1, "bilinear": 1}


def _enlarged(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    found: list[Axis] = []
    for axis, factor in zip(own[0], factors(call), strict=True):
        if factor == 1 or not isinstance(axis, Span):
            found.append(axis if isinstance(axis, Span) else axis * factor)
        elif call.get("coordinate_transformation_mode", "") == "align_corners":
            # Where cells lie depends on how many there are.
            found.append(t.mix(axis) * factor)
        else:
            # Cells that are interpolated see one or two beyond their own; so do their borders.
            more = _BEYOND.get(call.get("mode", "nearest"), 2)
            taps = (2 * more + 1) * factor
            found.append(spans.spread(axis, taps, factor, 1, more * factor, more * factor))
    return [tuple(found)]


SHIFTS: dict[str, Rule] = {
    "Transpose": _transposed,
    "Reshape": _reshaped,
    "Flatten": _flattened,
    "Unsqueeze": _unsqueezed,
    "Squeeze": _squeezed,
    "Concat": _concatenated,
    "Split": _split,
    "Slice": _sliced,
    "Gather": _gathered,
    "GatherND": _gathered_at,
    "Expand": _expanded,
    "Tile": _tiled,
    "Pad": _padded,
    "ScatterND": _scattered,
    "SpaceToDepth": _blocks,
    "DepthToSpace": _blocks,
    "Resize": _enlarged,
    "Upsample": _enlarged,
}
