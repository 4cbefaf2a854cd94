"""Adding up terms: several convolutions of one source as one, on the union of their taps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxac.algebra import kernel as kernels
from onnxac.algebra.axis import Axis
from onnxac.algebra.kernel import Array
from onnxac.algebra.layout import View
from onnxac.algebra.lazy import Lazy
from onnxac.algebra.term import Channels, Lengths, Obstacle, Term

Key = tuple[str, View | None, int]


def key(term: Term) -> Key:
    """What two terms have to share to become one, as far as that needs no comparison.

    A number fits to every term that reads the source as it is.
    """
    return (term.source, None if term.is_plain else term.view, term.hidden)


def add(terms: Sequence[Term], lengths: Lengths) -> Term | Obstacle:
    """The sum of terms of one `key` as one term.

    lengths  extents of the source along the axes of the frame, None where dynamic
    """
    if len(terms) == 1:
        return terms[0]
    marks = tuple(m for t in terms for m in t.marks)
    rank = next((len(t.axes) for t in terms if t.axes is not None), None)
    if rank is None:
        numbers = [t.kernel for t in terms]
        total = Lazy(lambda *k: np.asarray(sum(k)), *numbers)
        return Term(terms[0].source, total, marks=marks)
    mixed = next((t.channels for t in terms if t.channels is not None), None)
    laid: list[Term] = []
    for term in terms:
        framed = term.framed(rank)
        if mixed is not None:
            found = framed.mixing(mixed.axis, lengths[mixed.axis])
            if isinstance(found, Obstacle):
                return found
            framed = found
        laid.append(framed)
    return _union(laid, marks, lengths)


def _union(terms: Sequence[Term], marks: tuple[Any, ...], lengths: Lengths) -> Term | Obstacle:
    """Terms of one frame, with channels on one axis or on none, on the union of their lattices."""
    first = terms[0]
    assert first.axes is not None
    axes, channels = first.axes, first.channels
    for term in terms[1:]:
        assert term.axes is not None
        if channels is not None and term.channels is not None:
            if (channels.out, channels.width) != (term.channels.out, term.channels.width):
                return Obstacle("layout", "channels differ in number")
            channels = replace(channels, group=math.gcd(channels.group, term.channels.group))
        pairs = list(zip(axes, term.axes, lengths, strict=True))
        if not all(a.agrees_with(b, n) for a, b, n in pairs):
            return Obstacle("geometry", "strides, output sizes or padding modes differ")
        if not _same_fill(first, term, lengths):
            return Obstacle("geometry", "the padding holds different constants")
        axes = tuple(a.union(b, n) for a, b, n in pairs)
    return replace(
        first,
        axes=axes,
        channels=channels,
        kernel=_summed(terms, axes, channels),
        unit=False,
        fill=next((t.fill for t in terms if t.fill is not None), None),
        marks=marks,
        equals=None,
    )


def taps(axes: Sequence[Axis], channels: Channels | None) -> tuple[Axis, ...]:
    """The axes that a kernel has taps for: all but the channels'."""
    return tuple(a for i, a in enumerate(axes) if channels is None or i != channels.axis)


def _summed(
    terms: Sequence[Term], axes: tuple[Axis, ...], channels: Channels | None
) -> Lazy[Array]:
    lattice = taps(axes, channels)
    parts = [(1 if t.channels is None else t.channels.group, t.axes or ()) for t in terms]

    def total(*held: Array) -> Array:
        wide = [
            k[None, None] if channels is None else kernels.regroup(k, group, channels.group)
            for k, (group, _) in zip(held, parts, strict=True)
        ]
        summed = kernels.overlay(wide, [taps(own, channels) for _, own in parts], lattice)
        return summed[0, 0] if channels is None else summed

    return Lazy(total, *(t.kernel for t in terms))


def _same_fill(a: Term, b: Term, lengths: Lengths) -> bool:
    return (
        a.fill is b.fill
        or not pads(a, lengths)
        or not pads(b, lengths)
        or is_fill(a.fill, b.fill, 0.0)
    )


def pads(term: Term, lengths: Lengths) -> bool:
    """Whether the term reads past an edge of its source."""
    return any(x.reads_beyond(n) for x, n in zip(term.axes or (), lengths, strict=True))


def is_fill(value: Lazy[Array] | None, fill: Lazy[Array] | None, tolerance: float) -> bool:
    """Whether both are one vector; None is zero. Zero itself admits no tolerance."""
    if value is fill:
        return True
    have = np.zeros(()) if value is None else value()
    want = np.zeros(()) if fill is None else fill()
    if not (np.all(np.isfinite(have)) and np.all(np.isfinite(want))):
        return bool(np.all(have == want))
    size = max(np.abs(have).max(initial=0.0), np.abs(want).max(initial=0.0))
    return bool(np.all(np.abs(have - want) <= (tolerance * size if fill is not None else 0.0)))


def tidy(terms: Sequence[Term]) -> tuple[Term, ...]:
    """Add up terms where that costs nothing: the taps and groups of one hold the other's.

    Without it a residual network without activations would double its terms at each sum.
    """
    if len(terms) == 1:
        return tuple(terms)
    kept: dict[Key, list[Term]] = {}
    for term in terms:
        same = kept.setdefault(key(term), [])
        for at, other in enumerate(same):
            merged = _absorb(other, term) or _absorb(term, other)
            if merged:
                same[at] = merged
                break
        else:
            same.append(term)
    return tuple(t for same in kept.values() for t in same)


def _absorb(large: Term, small: Term) -> Term | None:
    """large + small where that has large's cost; None where it would not."""
    if large.axes is None:
        if small.axes is not None:
            return None
        found = add([large, small], ())
        return found if isinstance(found, Term) else None
    if large.channels is None and small.channels is not None:
        return None
    # The source's extents are known only where a term says so; that is enough here.
    lengths: list[int | None] = [None] * len(large.axes)
    if large.channels is not None:
        lengths[large.channels.axis] = large.channels.width
    laid = small.framed(len(large.axes))
    if large.channels is not None:
        mixed = laid.mixing(large.channels.axis, large.channels.width)
        if isinstance(mixed, Obstacle) or mixed.channels is None:
            return None
        if mixed.channels.group % large.channels.group:
            return None
        laid = mixed
    if not all(
        a.covers(b) and a.extent == b.extent and a.mean == b.mean
        for a, b in zip(large.axes, laid.axes or (), strict=True)
    ):
        return None
    merged = add([large, laid], lengths)
    return merged if isinstance(merged, Term) else None


def by_key(terms: Sequence[Term]) -> Mapping[Key, list[Term]]:
    """Terms that might become one, in order."""
    found: dict[Key, list[Term]] = {}
    for term in terms:
        found.setdefault(key(term), []).append(term)
    return found
