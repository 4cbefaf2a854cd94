"""Layouts: which axis of a source stands where in the frame that a term is written in.

A `View` has one entry for each axis of the frame:

    int          that axis of the source
    None         a new axis of extent 1
    (i, j, …)    these axes of the source merged into one, the last one running fastest
    ()           a part of source axes that were regrouped: all that is known is that the
                 frame holds the source's elements in the same order

An axis of the source that no entry names has extent 1. So Transpose, Squeeze, Unsqueeze, Flatten
and Reshape are views, and views compose; nothing is ever concluded from a tensor's rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Protocol, runtime_checkable

Entry = int | None | tuple[int, ...]
View = tuple[Entry, ...]
# A dim is a number, or a value that equals only itself: an extent that is not known.
Dim = object
Shape = Sequence[Dim]

GROUPED: Entry = ()


def identity(rank: int) -> View:
    """Every axis where it is."""
    return tuple(range(rank))


def named(view: View) -> list[int]:
    """The source's axes that the view names, in the order of the frame."""
    found: list[int] = []
    for entry in view:
        if isinstance(entry, int):
            found.append(entry)
        elif entry:
            found += entry
    return found


def is_ordered(view: View) -> bool:
    """Whether the named axes stand in the source's order: no element changes its rank."""
    axes = named(view)
    return all(a < b for a, b in pairwise(axes))


def through(entry: Entry, inner: View) -> Entry:
    """What an entry that names axes of a tensor names in that tensor's own source."""
    if entry is None or entry == GROUPED:
        return entry
    if isinstance(entry, int):
        return inner[entry]
    parts: list[int] = []
    for axis in entry:
        found = inner[axis]
        if found == GROUPED:
            return GROUPED
        if isinstance(found, int):
            parts.append(found)
        elif found:
            parts += found
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else tuple(parts)


def reshaped(before: Shape, after: Shape) -> View | None:
    """The view of a Reshape; None where the two shapes don't have the same elements.

    The shapes are cut into the smallest segments of equal products. A segment of one axis on
    both sides is that axis; several axes that become one are merged; what is left is regrouped.
    Axes of extent 1 don't count.
    """
    left = [i for i, d in enumerate(before) if d != 1]
    right = [i for i, d in enumerate(after) if d != 1]
    view: list[Entry] = [None] * len(after)
    a = b = 0
    while a < len(left) and b < len(right):
        p, q = [left[a]], [right[b]]
        a, b = a + 1, b + 1
        while not _same(before, p, after, q):
            if a < len(left) and (b == len(right) or _is_less(before, p, after, q)):
                p.append(left[a])
                a += 1
            elif b < len(right):
                q.append(right[b])
                b += 1
            else:
                return None
        if len(q) == 1:
            view[q[0]] = p[0] if len(p) == 1 else tuple(p)
        else:
            for i in q:
                view[i] = GROUPED
    return tuple(view) if a == len(left) and b == len(right) else None


@runtime_checkable
class Factored(Protocol):
    """An extent that is not known, but may be known to be a product."""

    def factors(self) -> tuple[int, Sequence[Dim]]:
        """A number, and what it is multiplied by."""


def factors(dims: Iterable[Dim]) -> tuple[int, list[str]]:
    """The product of some extents: of those that are numbers, and the names of the others."""
    number, others = 1, list[str]()
    for dim in dims:
        if isinstance(dim, int):
            number *= dim
        elif isinstance(dim, Factored):
            multiple, names = dim.factors()
            number *= multiple
            others += map(str, names)
        else:
            others.append(str(dim))
    return number, sorted(others)


def _factors(shape: Shape, axes: Sequence[int]) -> tuple[int, list[str]]:
    return factors(shape[axis] for axis in axes)


def _same(before: Shape, p: Sequence[int], after: Shape, q: Sequence[int]) -> bool:
    return _factors(before, p) == _factors(after, q)


def _is_less(before: Shape, p: Sequence[int], after: Shape, q: Sequence[int]) -> bool:
    """Whether the left segment has to grow: it lacks a factor that the right one has."""
    (m, first), (n, second) = _factors(before, p), _factors(after, q)
    if len(first) != len(second):
        return len(first) < len(second)
    return m < n


def settled(view: View, source: Shape, frame: Callable[[int], Dim]) -> View:
    """A view with regrouped axes, looked at again with both shapes known.

    What was split and merged again is no regrouping any more.

    frame  extent of the frame's axis of that number, as the source has it
    """
    if GROUPED not in view:
        return view
    return reshaped(source, [frame(i) for i in range(len(view))]) or view
