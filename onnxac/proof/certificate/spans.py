"""How far an operator sees along an axis, and where its border ends.

Along an axis that is only ever windowed (space, batch, the rows of a matrix), every position of a
tensor does the same thing, but for those that some border had a part in. Of these there are
finitely many at each end, however long the axis. A `Span` counts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Root = tuple[str, int]


class TooShortError(Exception):
    """An axis has no room for a window. Holds the roots that have to grow, and by how much."""

    def __init__(self, roots: frozenset[Root], by: int) -> None:
        super().__init__(f"too short by {by}")
        self.roots, self.by = roots, by


class ApartError(Exception):
    """Two axes that are added have different lengths. `shorter` holds the roots that may grow."""

    def __init__(self, shorter: frozenset[Root], longer: frozenset[Root], by: int) -> None:
        super().__init__(f"lengths differ by {by}")
        self.shorter, self.longer, self.by = shorter, longer, by


@dataclass(frozen=True)
class Reach:
    """Where a source's position q arrives: from (num·q + low)/den to (num·q + high)/den."""

    num: int = 1
    den: int = 1
    low: int = 0
    high: int = 0


@dataclass(frozen=True)
class Span:
    """One axis of a tensor.

    length       its positions, at the sizes that were tried
    reach        how it follows from the axes of the sources
    left, right  how many positions at either end some border had a part in
    """

    length: int
    reach: Mapping[Root, Reach] = field(default_factory=dict)
    left: int = 0
    right: int = 0

    @property
    def roots(self) -> frozenset[Root]:
        """The axes of sources that this one follows from."""
        return frozenset(self.reach)

    @property
    def fits(self) -> bool:
        """Whether at least one position is free of every border."""
        return self.left + self.right < self.length

    def sees(self, root: Root, q: int) -> bool:
        """Whether every place that position q of a source arrives at is on the map."""
        r = self.reach[root]
        low, high = -(-(r.num * q + r.low) // r.den), (r.num * q + r.high) // r.den
        return low >= 0 and high < self.length


def windowed(
    span: Span, taps: int, stride: int = 1, dilation: int = 1, begin: int = 0, end: int = 0
) -> Span:
    """Behind a convolution, a pool, a Pad (one tap) or a Slice (one tap, negative padding)."""
    wide = dilation * (taps - 1)
    room = span.length + begin + end - wide - 1
    if room < 0:
        raise TooShortError(span.roots, -room)
    reach = {
        root: Reach(r.num, r.den * stride, r.low + r.den * (begin - wide), r.high + r.den * begin)
        for root, r in span.reach.items()
    }
    # Position p reads from stride·p − begin on; from the other end, likewise.
    left = max(0, -(-(span.left + begin) // stride))
    right = max(0, -(-(span.right + end) // stride))
    return Span(room // stride + 1, reach, left, right)


def spread(
    span: Span, taps: int, stride: int = 1, dilation: int = 1, begin: int = 0, end: int = 0
) -> Span:
    """Behind a transposed convolution, or anything that repeats cells."""
    wide = dilation * (taps - 1)
    length = (span.length - 1) * stride + wide + 1 - begin - end
    if length <= 0:
        raise TooShortError(span.roots, 1 - length)
    reach = {
        root: Reach(
            r.num * stride,
            r.den,
            r.low * stride - r.den * begin,
            r.high * stride + r.den * (wide - begin),
        )
        for root, r in span.reach.items()
    }
    left = max(0, span.left * stride + wide - begin)
    right = max(0, span.right * stride + wide - end)
    return Span(length, reach, left, right)


def together(first: Span, second: Span) -> Span | None:
    """Behind an addition. None where one source arrives at different strides."""
    if first.length != second.length:
        short, long = sorted((first, second), key=lambda s: s.length)
        raise ApartError(short.roots, long.roots, long.length - short.length)
    reach = dict(first.reach)
    for root, r in second.reach.items():
        o = reach.get(root, r)
        if o.num * r.den != r.num * o.den:
            return None
        scale, other = r.den, o.den
        reach[root] = Reach(
            o.num * scale,
            o.den * scale,
            min(o.low * scale, r.low * other),
            max(o.high * scale, r.high * other),
        )
    return Span(first.length, reach, max(first.left, second.left), max(first.right, second.right))
