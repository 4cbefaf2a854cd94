"""At which sizes a cut has to be tried, so that it is known at every size.

Along a free axis the positions of a tensor fall into classes: those that a border at either end
had a part in, one class each, counted from that end; and all the others, which form one class. So
a map that is long enough for one position of the last kind shows all classes, and a longer one
shows them again: by one unit (the product of the strides on the way) every tensor grows by a whole
number of positions, which are all of that kind. One map of this length in each residue of the unit
stands for all longer ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from onnxac.proof.certificate.axes import Axes, Axis, Scope
from onnxac.proof.certificate.calls import UnknownOperatorError
from onnxac.proof.certificate.cut import Cut
from onnxac.proof.certificate.evaluate import Evaluator
from onnxac.proof.certificate.spans import ApartError, Reach, Root, Span, TooShortError
from onnxac.proof.certificate.trace import Tracer

Shape = Sequence[int | None]
_TRIES, _LARGEST, _MOST = 600, 4096, 9
# For an axis that nothing is known of, and that is not free.
_ANY = 3
# Of the sizes that are written down, so many are tried.
_CANDIDATES = 16


@dataclass
class Sizes:
    """Sizes of the sources, one after the other, and what they stand for.

    free    smallest size of each free axis from which on no new class of positions appears
    whole   the size of each axis that has to be what it is
    units   by how much a free axis has to grow for the same classes to appear again
    exact   whether the maps tried are those of the model itself, and no others
    trials  shapes of the sources to be tried
    spots   positions along each free axis whose effect is seen whole, at the first trial
    apart   other places for the same run of positions, so far away that no output sees both
    """

    free: dict[Root, int]
    whole: dict[Root, int]
    units: dict[Root, int]
    exact: bool = False
    trials: list[dict[str, tuple[int, ...]]] = field(default_factory=list)
    spots: dict[Root, tuple[int, ...]] = field(default_factory=dict)
    apart: dict[Root, tuple[int, ...]] = field(default_factory=dict)
    axes: tuple[dict[str, Axes], dict[str, Axes]] = field(default_factory=lambda: ({}, {}))


class Survey:
    """Looks for the sizes at which a cut is tried."""

    def __init__(
        self, cut: Cut, shapes: Mapping[str, Shape], sides: tuple[Evaluator, Evaluator]
    ) -> None:
        self._cut, self._shapes, self._sides = cut, shapes, sides
        self._whole: dict[Root, int] = {}
        self._averaged: set[Root] = set()
        self._tried: Mapping[Root, int] = {}
        self._axes: tuple[dict[str, Axes], dict[str, Axes]] = ({}, {})

    def sizes(self) -> Sizes:
        """The sizes, or UnknownOperatorError where the axes can't be followed."""
        roots = [(s, i) for s in self._cut.sources for i in range(len(self._shapes[s]))]
        own = {r: n for r in roots if (n := self._actual(r)) is not None}
        exact: Sizes | None = None
        if own:
            try:
                exact = self._as_it_is({r: own.get(r, 1) for r in roots})
            except UnknownOperatorError:
                if len(own) == len(roots):
                    raise
                self._whole.clear()
        whole = dict(self._whole)
        self._tried = {}
        try:
            seen, least = self._settle({r: 1 for r in roots if r not in whole})
        except UnknownOperatorError:
            exact = exact or self._as_written(roots)
            if exact is None:
                raise
            return exact
        if exact is not None and self._whole != whole:
            # A map of another size does not pass where sizes are written down.
            return exact
        units = {r: _unit(r, seen) for r in least}
        known = {r: n for r in least if (n := self._actual(r)) is not None}
        if any(known[r] < least[r] for r in known):
            # The model's own map is smaller than what shows all classes.
            return self._as_it_is({r: known.get(r, n) for r, n in least.items()})
        result = Sizes(least, self._whole, units)
        starts = []
        for residues in self._residues(least, units, known):
            starts.append(self._settle({r: n + residues.get(r, 0) for r, n in least.items()}))
        for _, found in starts:
            shapes = self._shapes_at(found)
            if shapes not in result.trials:
                result.trials.append(shapes)
        if not self._repeats(starts[0], units):
            if exact is not None:
                return exact
            raise UnknownOperatorError("a border moves with the size of the map")
        seen, found = starts[0]
        result.spots = {r: _spots(r, n, units[r], seen) for r, n in found.items()}
        result.axes = self._axes
        return result

    def _as_written(self, roots: Sequence[Root]) -> Sizes | None:
        """The one size that a model passes whose axes are named, but whose constants have sizes."""
        written = {
            int(n) - less
            for side in self._sides
            for shape in side.constant_shapes()
            for n in shape[2:]
            for less in range(5)
            if n - less > 1
        }
        for size in sorted(written, reverse=True)[:_CANDIDATES]:
            self._whole.clear()
            try:
                return self._as_is({r: self._actual(r) or (size if r[1] > 1 else 1) for r in roots})
            except UnknownOperatorError:
                continue
        return None

    def _repeats(
        self, start: tuple[list[Span], dict[Root, int]], units: Mapping[Root, int]
    ) -> bool:
        """Whether bounds that are computed from sizes keep to the ends, one unit further on.

        They don't where the model can't be run there.
        """
        seen, found = start
        axes = self._axes
        try:
            more = self._trace({r: n + units[r] for r, n in found.items()})
        except (TooShortError, ApartError):
            return False
        finally:
            self._axes = axes
        return [(s.left, s.right, s.reach) for s in seen] == [
            (s.left, s.right, s.reach) for s in more
        ]

    def _as_it_is(self, sizes: Mapping[Root, int]) -> Sizes:
        """The model's own sizes, to be tried themselves.

        Along an axis that is followed through every Reshape, few positions stand for all others.
        """
        whole = dict(self._whole)
        try:
            return self._as_is(sizes, parted=True)
        except UnknownOperatorError:
            self._whole.clear()
            self._whole.update(whole)
            return self._as_is(sizes)

    def _as_is(self, sizes: Mapping[Root, int], *, parted: bool = False) -> Sizes:
        """The same, with what a Reshape parts as a whole, unless it is to be followed."""
        seen: list[Span] = []
        self._tried = dict(sizes)
        for _ in range(_TRIES):
            sizes = {r: n for r, n in sizes.items() if r not in self._whole}
            try:
                seen = self._trace(sizes, exact=True, parted=parted)
            except (TooShortError, ApartError) as error:
                if any(r in self._whole for r in sizes):
                    continue
                raise UnknownOperatorError("its axes don't fit") from error
            if not any(r in self._whole for r in sizes):
                break
        units = {r: _unit(r, seen) for r in sizes}
        return Sizes(
            free=dict(sizes),
            whole=dict(self._whole),
            units=units,
            exact=True,
            trials=[self._shapes_at(sizes)],
            spots={r: _spots(r, n, units[r], seen) for r, n in sizes.items()},
            apart={r: _apart(r, n, units[r], seen) for r, n in sizes.items()},
            axes=self._axes,
        )

    def _residues(
        self, least: Mapping[Root, int], units: Mapping[Root, int], known: Mapping[Root, int]
    ) -> Iterator[dict[Root, int]]:
        """What to add to the smallest sizes: as the model's own shape says, else everything."""
        choices: list[Sequence[int]] = []
        for root in least:
            if root in known:
                choices.append([(known[root] - least[root]) % units[root]])
            else:
                choices.append(range(units[root]))
        whole = math.prod(len(c) for c in choices)
        if whole <= _MOST:
            for added in itertools.product(*choices):
                yield dict(zip(least, added, strict=True))
            return
        # Each residue of each axis, not each pair of them: borders of two axes don't interact.
        for step in range(max(len(c) for c in choices)):
            yield {r: c[step % len(c)] for r, c in zip(least, choices, strict=True)}

    def _shapes_at(self, sizes: Mapping[Root, int]) -> dict[str, tuple[int, ...]]:
        return {
            s: tuple(
                sizes[s, i] if (s, i) in sizes else self._whole[s, i]
                for i in range(len(self._shapes[s]))
            )
            for s in self._cut.sources
        }

    def _actual(self, root: Root) -> int | None:
        return self._shapes[root[0]][root[1]]

    def _settle(self, sizes: dict[Root, int]) -> tuple[list[Span], dict[Root, int]]:
        """The smallest sizes from these on that show every class, with the spans there."""
        for _ in range(_TRIES):
            sizes = {r: n for r, n in sizes.items() if r not in self._whole}
            try:
                seen = self._trace(sizes)
            except (TooShortError, ApartError) as error:
                if not any(r in self._whole for r in sizes):
                    self._grow(sizes, *_wanted(error))
                continue
            if any(r in self._whole for r in sizes):
                continue
            short = [s for s in seen if not s.fits]
            if short:
                worst = max(short, key=lambda s: s.left + s.right - s.length)
                self._grow(sizes, worst.roots, worst.left + worst.right + 1 - worst.length)
                continue
            # Along a single position, a sum can't be told from a mean.
            hidden = {r for r in self._averaged if sizes.get(r, 2) < 2}
            hidden |= {r for r, n in sizes.items() if not _spots(r, n, _unit(r, seen), seen)}
            if hidden:
                self._grow(sizes, frozenset(hidden), 1)
                continue
            return seen, sizes
        raise UnknownOperatorError("no size was found at which every border shows")

    def _grow(self, sizes: dict[Root, int], roots: frozenset[Root], by: int) -> None:
        growing = [r for r in roots if r in sizes]
        if not growing:
            raise UnknownOperatorError("its axes don't fit at any size")
        for root in growing:
            sizes[root] += by
            if sizes[root] > _LARGEST:
                raise UnknownOperatorError(f"{root[0]!r} would have to be too large")

    def _trace(
        self, sizes: Mapping[Root, int], *, exact: bool = False, parted: bool = False
    ) -> list[Span]:
        sources: dict[str, Axes] = {}
        for s in self._cut.sources:
            axes: list[Axis] = []
            for i in range(len(self._shapes[s])):
                if (s, i) in self._whole:
                    axes.append(self._whole[s, i])
                else:
                    axes.append(Span(sizes[s, i], {(s, i): Reach()}))
            sources[s] = tuple(axes)
        scope = Scope(exact, parted)
        tracers = [
            Tracer(part, side, scope)
            for part, side in zip((self._cut.before, self._cut.after), self._sides, strict=True)
        ]
        found = []
        try:
            for tracer in tracers:
                found.append(tracer.run(sources))
        finally:
            self._averaged = scope.averaged
            mixed = scope.mixed - set(self._whole)
            for root in mixed:
                self._whole[root] = self._needed(root, scope)
        self._axes = found[0], found[1]
        # Where an axis has just turned out not to be free, all is traced again without it.
        for target in () if exact or mixed else self._cut.targets:
            # Axes of one length look alike: which is which must not be left to the lengths.
            if any(
                _roots(a) != _roots(b) for a, b in zip(*(f[target] for f in found), strict=False)
            ):
                raise UnknownOperatorError("an axis of the result follows another one than before")
        return [a for a in itertools.chain(*sources.values()) if isinstance(a, Span)] + [
            s for t in tracers for s in t.seen
        ]

    def _needed(self, root: Root, scope: Scope) -> int:
        """The size of an axis that is not free: the model's own, or what its weights say."""
        actual = self._actual(root)
        # Where nothing says which, one is as good as another, and the certificate names it.
        return scope.needed.get(root, self._tried.get(root, _ANY)) if actual is None else actual


def _roots(axis: Axis) -> frozenset[Root]:
    return axis.roots if isinstance(axis, Span) else frozenset()


def _wanted(error: TooShortError | ApartError) -> tuple[frozenset[Root], int]:
    if isinstance(error, TooShortError):
        return error.roots, error.by
    return error.shorter, 1


def _unit(root: Root, seen: Sequence[Span]) -> int:
    """By how much an axis grows for every tensor to grow by whole positions."""
    dens = [
        s.reach[root].den // math.gcd(s.reach[root].num, s.reach[root].den)
        for s in seen
        if root in s.reach
    ]
    return math.lcm(*dens) if dens else 1


def _spots(root: Root, size: int, unit: int, seen: Sequence[Span]) -> tuple[int, ...]:
    """A run of positions, one for each residue, whose every effect is on the map."""
    own = [s for s in seen if root in s.reach]
    good = [q for q in range(size) if all(s.sees(root, q) for s in own)]
    for first in good:
        if all(first + k in good for k in range(unit)):
            return tuple(range(first, first + unit))
    return ()


def _apart(root: Root, size: int, unit: int, seen: Sequence[Span]) -> tuple[int, ...]:
    """How far a run of positions may be moved along an axis, to meet no output of the others."""
    own = [s for s in seen if root in s.reach]
    reach = [s.reach[root] for s in own]
    wide = max((-(-(r.high - r.low + r.den) // r.num) for r in reach), default=1)
    step = -(-(wide + unit) // unit) * unit
    first = _spots(root, size, unit, seen)
    if not first:
        return (0,)
    moves = range(0, size - first[-1], step)
    return tuple(m for m in moves if all(s.sees(root, q + m) for s in own for q in first))
