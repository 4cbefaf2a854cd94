"""Two terms, one behind the other, written in one frame.

The frame has the outer's axes and, behind them, those that the inner alone sums over. A window
over whole axes may change which of them is called the channels, so that both agree on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxac.algebra.axis import Axis
from onnxac.algebra.layout import GROUPED, Dim, Entry, View, is_ordered, named, through
from onnxac.algebra.lazy import Lazy
from onnxac.algebra.term import Obstacle, Term

Shapes = Callable[[str], "Sequence[Dim] | None"]


def extents(term: Term, shapes: Shapes) -> list[int | None]:
    """Extents of the term's source along the axes of its frame, None where dynamic."""
    shape = shapes(term.source)
    if term.axes is None:
        return [] if shape is None else [number(d) for d in shape]
    return [extent(entry, shape) for entry in term.view]


def extent(entry: Any, shape: Sequence[Dim] | None) -> int | None:
    """The extent of what an entry of a view names; None where dynamic."""
    if entry is None:
        return 1
    if shape is None or entry == GROUPED:
        return None
    if isinstance(entry, int):
        return number(shape[entry])
    found = [number(shape[i]) for i in entry]
    return None if None in found else math.prod(n for n in found if n is not None)


def number(dim: Dim) -> int | None:
    """The dim, where it is a number."""
    return dim if isinstance(dim, int) else None


@dataclass(frozen=True)
class Frame:
    """The common frame: for each axis, the outer's geometry, the inner's, and the view.

    at  for each axis of the frame, the inner's axis, None where it has none
    """

    outer: tuple[Axis, ...]
    inner: tuple[Axis, ...]
    view: View
    hidden: int
    at: tuple[int | None, ...]


def frame_of(outer: Term, inner: Term) -> Frame | Obstacle:
    """The outer's axes, and behind them what the inner alone sums over.

    Axes of the tensor in between that the outer does not name have extent 1. They stay, hidden,
    where the inner has more than one tap along them.
    """
    assert outer.axes is not None
    assert inner.axes is not None
    mismatch = Obstacle("layout", f"{outer.source} is rearranged between the two")
    outers: list[Axis] = list(outer.axes)
    inners: list[Axis] = []
    view: list[Entry] = []
    at: list[int | None] = []
    for axis, entry in zip(outer.axes, outer.view, strict=True):
        one = entry if isinstance(entry, int) else None
        inners.append(Axis() if one is None else inner.axes[one])
        view.append(through(entry, inner.view))
        at.append(one)
        if isinstance(entry, tuple) and not (axis.is_identity and _is_still(inner, entry)):
            return mismatch
        if one is not None and isinstance(inner.view[one], tuple) and not axis.is_identity:
            return mismatch
    if GROUPED in view and not (
        is_ordered(outer.view)
        and is_ordered(inner.view)
        and not outer.hidden
        and inner.is_pointwise
        and outer.is_pointwise
    ):
        return mismatch
    seen = set(named(outer.view))
    hidden = outer.hidden
    for number, geometry in enumerate(inner.axes):
        if number not in seen and not geometry.is_identity:
            outers.append(Axis())
            inners.append(geometry)
            view.append(inner.view[number])
            at.append(number)
            hidden += 1
    return Frame(tuple(outers), tuple(inners), tuple(view), hidden, tuple(at))


def _is_in_order(term: Term) -> bool:
    """Whether the term leaves every element where it is in the source's order."""
    return not term.hidden and term.is_pointwise and is_ordered(term.view)


def _is_still(inner: Term, entry: tuple[int, ...]) -> bool:
    """Whether the inner leaves axes that are merged or regrouped behind it as they are."""
    assert inner.axes is not None
    merged = entry or tuple(range(len(inner.axes) - inner.hidden))
    mixed = inner.channels is not None and inner.channels.axis in entry
    if entry == GROUPED:
        return inner.hidden == 0 and inner.is_pointwise
    return not mixed and all(inner.axes[i].is_identity for i in merged)


def channel_at(outer: Term, inner: Term) -> int:
    """The axis of the common frame that channels lie on."""
    if outer.channels is not None:
        return outer.channels.axis
    assert inner.channels is not None
    return outer.view.index(inner.channels.axis)


def swapped(outer: Term, wanted: int, lengths: Sequence[int | None]) -> Term | None:
    """A window over whole axes, with another one of them taken as its channels.

    Where every element of two axes has a weight of its own, it does not matter which of them
    is called the channels.
    """
    if outer.channels is None or outer.axes is None or outer.channels.group > 1:
        return None
    if wanted not in outer.view:
        return None
    at, axis = outer.view.index(wanted), outer.channels.axis
    here, length = outer.axes[at], lengths[at]
    whole = length is not None and here == Axis(taps=length, extent=1 - length)
    if at < len(outer.axes) - outer.hidden or not whole or length is None:
        return None
    width = outer.channels.width
    view, axes = list(outer.view), list(outer.axes)
    view[at], view[axis] = view[axis], view[at]
    axes[at] = Axis(taps=width, extent=1 - width)
    # The kernel's dims are [out, width, *taps without the channels'].
    place = 2 + at - (at > axis)
    return replace(
        outer,
        axes=tuple(axes),
        view=tuple(view),
        channels=replace(outer.channels, width=length),
        kernel=Lazy(lambda k: np.swapaxes(k, 1, place), outer.kernel),
        marks=tuple(replace(m, axes=tuple(axes)) for m in outer.marks),
    )
