"""Both sides of a cut, fed with the same probes, and compared entry by entry."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from onnxac.proof.certificate.calls import UnknownOperatorError
from onnxac.proof.certificate.cut import Array, Cut, Graph
from onnxac.proof.certificate.evaluate import Evaluator
from onnxac.proof.certificate.operators import bends
from onnxac.proof.certificate.rounding import AIM, DOUBLE, gamma, longest_sum, ratio, rounding
from onnxac.proof.certificate.sizes import Sizes, Survey
from onnxac.report import FAILS, HOLDS, OPEN, Certificate, CertifiedSource

# Probes are integers of this size; float64 holds their sums with bits to spare.
RANGE = 2**20
# Up to this many entries, all of them are read; and in pieces of this many values.
_ALL, _PIECE = 2**16, 2**20
_MOST_PROBES = 64
# As many pieces of impulses are fed; where there would be more, a choice of them.
_MOST_PIECES = 16
Feeds = dict[str, Array]


class _ShapeError(Exception):
    """A target has another shape than it had."""


def _grid(choices: Sequence[Sequence[int] | Array]) -> Array:
    """Every choice of one number per axis, [number, axes]; a scalar has one, of no numbers."""
    if not choices:
        return np.zeros((1, 0), int)
    return np.stack([g.reshape(-1) for g in np.meshgrid(*choices, indexing="ij")], axis=1)


def _own(array: Array) -> list[int]:
    return list(array.shape[1:])


class Comparison:
    """Both sides of a cut, side by side."""

    def __init__(self, cut: Cut, shapes: Mapping[str, Sequence[int | None]], after: Graph) -> None:
        self.cut = cut
        self.before = Evaluator(cut.before, cut.sources)
        self.after = Evaluator(cut.after, cut.sources)
        self.shapes = shapes
        self.bent = any(bends(n.op_type, a) for e in (self.before, self.after) for n, a in e.live)
        self.terms = longest_sum(self.after.live, self.after)
        self.layers, self.unit, self.after.least = rounding(self.after, after)
        self.sums = longest_sum(self.before.live, self.before) + self.terms
        # Constants that the graph computes, in the type of its weights.
        self.computed = longest_sum(self.before.arithmetic, self.before)
        self.worst, self.entries = 0.0, 0

    def certificate(self) -> Certificate:
        """The certificate, without the time that it took."""
        sizes = Survey(self.cut, self.shapes, (self.before, self.after)).sizes()
        false_pass, reason = 1.0, None
        try:
            false_pass = self._try(sizes)
        except _ShapeError as error:
            self.worst, reason = math.inf, str(error)
        verdict = HOLDS
        if not self.worst <= 1.0:
            verdict = FAILS
            off = f"{self.worst:.3g} times what rounding allows"
            reason = reason or f"{self.cut.targets[0]!r} differs, by {off}"
        elif false_pass > AIM:
            verdict, reason = OPEN, "its weights are too coarse for its borders to be told apart"
        return Certificate(
            verdict,
            reason,
            tuple(self._tested(s, sizes) for s in self.cut.sources),
            self.entries,
            min(self.worst, sys.float_info.max),
            self.unit,
            false_pass,
            0.0,
            self.before.elements + self.after.elements,
        )

    def _try(self, sizes: Sizes) -> float:
        """Feed all probes at all sizes; how likely a wrong map passes."""
        false_pass, runs = 0.0, list(self._running(sizes))
        for number, trial in enumerate(runs):
            self._check_zeros(trial)
            complete = not self.bent and self._count(trial, sizes, everywhere=True) <= _ALL
            if complete or number == 0:
                self._check_impulses(trial, sizes, everywhere=complete)
            if not complete:
                false_pass = max(false_pass, self._check_dense(trial))
        return false_pass

    def _running(self, sizes: Sizes) -> Iterator[Mapping[str, tuple[int, ...]]]:
        """The trials at which the model as it was runs: at others nothing is to be shown.

        Raises UnknownOperatorError where it runs at none.
        """
        rejected: UnknownOperatorError | None = None
        accepted = False
        for trial in sizes.trials:
            try:
                self.before.run(self._zeros(trial), self.cut.targets)
            except UnknownOperatorError as error:
                rejected = error
                continue
            accepted = True
            yield trial
        if rejected is not None and not accepted:
            raise rejected

    def _tested(self, source: str, sizes: Sizes) -> CertifiedSource:
        return CertifiedSource(
            source,
            tuple(t[source] for t in sizes.trials),
            tuple(
                None if sizes.exact else sizes.free.get((source, i))
                for i in range(len(self.shapes[source]))
            ),
        )

    # The probes.

    def _zeros(self, trial: Mapping[str, tuple[int, ...]], probes: int = 1) -> Feeds:
        return {s: np.zeros((probes, *shape)) for s, shape in trial.items()}

    def _check_zeros(self, trial: Mapping[str, tuple[int, ...]]) -> None:
        self._compare(self._zeros(trial), shift=True)

    def _check_dense(self, trial: Mapping[str, tuple[int, ...]]) -> float:
        """Feed random integers, as often as is needed; how likely a wrong map passes."""
        once = gamma(self.unit, self.layers) * self.terms + 1 / RANGE
        number = 1 if once >= 0.5 else math.ceil(math.log(AIM) / math.log(once))
        number = min(max(number, 2), _MOST_PROBES)
        step = max(_PIECE // max(math.prod(s) for s in trial.values()), 1)
        for start in range(0, number, step):
            own = min(step, number - start)
            feeds = {s: _integers((own, *shape)) for s, shape in trial.items()}
            # What they are for zeros was compared before, wherever that is no part of a bend.
            self._compare(feeds, shift=self.bent)
        return min(1.0, once) ** number

    def _count(
        self, trial: Mapping[str, tuple[int, ...]], sizes: Sizes, *, everywhere: bool
    ) -> int:
        """How many entries reading by impulses comes to."""
        total = 0
        for source, shape in trial.items():
            probes = math.prod(n for _, n in self._places(source, shape, sizes, everywhere))
            total += probes // self._blocks(source, sizes)
        outputs = math.prod(
            n if isinstance(n, int) else n.length
            for t in self.cut.targets
            for n in sizes.axes[1][t]
        )
        return total * outputs

    def _places(
        self, source: str, shape: Sequence[int], sizes: Sizes, everywhere: bool
    ) -> list[tuple[Sequence[int], int]]:
        """The positions along each axis that get impulses, and how many these are."""
        found: list[tuple[Sequence[int], int]] = []
        for axis, size in enumerate(shape):
            spots: Sequence[int] = sizes.spots.get((source, axis), ())
            if everywhere or not spots:
                spots = range(size)
            found.append((spots, len(spots)))
        return found

    def _blocks(self, source: str, sizes: Sizes) -> int:
        return _independent(self.cut, source, sizes, (self.before, self.after))

    def _check_impulses(
        self, trial: Mapping[str, tuple[int, ...]], sizes: Sizes, *, everywhere: bool
    ) -> None:
        for source, shape in trial.items():
            blocks = self._blocks(source, sizes)
            places = [np.asarray(p) for p, _ in self._places(source, shape, sizes, everywhere)]
            if blocks > 1:
                places[1] = np.arange(shape[1] // blocks)
            grid = _grid(places)
            if grid.shape[1] > 1:
                # Channels one after the other at one place: probes that look alike go together.
                grid = grid[np.lexsort((grid[:, 1], *grid[:, 2:].T, grid[:, 0]))]
            probes, grid = self._packed(source, grid, sizes, everywhere)
            width = max(self._count(trial, sizes, everywhere=everywhere) // max(len(grid), 1), 1)
            step = max(_PIECE // max(width, math.prod(shape)), 1)
            probes, grid = _drawn(probes, grid, step * _MOST_PIECES)
            for start in range(0, int(probes.max(initial=-1)) + 1, step):
                own = (probes >= start) & (probes < start + step)
                number = min(step, int(probes.max()) + 1 - start)
                feeds = self._zeros(trial, number)
                for block in range(blocks):
                    at = grid[own]
                    at[:, 1] += block * (shape[1] // blocks) if blocks > 1 else 0
                    feeds[source][(probes[own] - start, *at.T)] = 1.0
                self._compare_impulses(feeds)

    def _packed(
        self, source: str, grid: Array, sizes: Sizes, everywhere: bool
    ) -> tuple[Array, Array]:
        """For each impulse its probe and its place: on a large map, many share one probe."""
        number = np.arange(len(grid))
        if everywhere or self.bent:
            return number, grid
        moves = [sizes.apart.get((source, i), (0,)) for i in range(grid.shape[1])]
        offsets = _grid(moves)
        return number // len(offsets), grid + offsets[number % len(offsets)]

    def _compare_impulses(self, feeds: Feeds) -> None:
        if not self.bent:
            self._compare(feeds, shift=False)
            return
        # Large enough for the bias not to matter, of both signs.
        for sign in (RANGE, -RANGE):
            self._compare({s: x * sign for s, x in feeds.items()}, shift=True)

    # The comparison.

    def _compare(self, feeds: Feeds, *, shift: bool) -> None:
        targets = self.cut.targets
        old = self.before.run(feeds, targets, shift=shift)
        new = self.after.run(feeds, targets, shift=shift)
        magnitudes: list[list[Array]] = []
        for index, (a, b) in enumerate(zip(new, old, strict=True)):
            if a.shape != b.shape:
                raise _ShapeError(f"{targets[index]!r} has the shape {_own(a)}, it had {_own(b)}")
            self.entries += a.size
            apart = np.abs(a - b)
            rounded = gamma(self.unit, self.layers)
            # |y| <= Σ|w||x|: what is within the smaller bound is within the bound.
            allowed = rounded * np.abs(a)
            if not np.all(apart <= allowed):
                if not magnitudes:
                    magnitudes = self._magnitudes(feeds, shift)
                own, other = magnitudes[0][index], magnitudes[1][index]
                allowed = rounded * own + gamma(DOUBLE, self.sums) * (own + other)
                allowed += gamma(self.unit, self.computed) * other
                if shift:
                    # A border that holds a bias was rounded by whoever exported it.
                    allowed = allowed + rounded * other
            self.worst = max(self.worst, ratio(apart, allowed))

    def _magnitudes(self, feeds: Feeds, shift: bool) -> list[list[Array]]:
        sizes = {s: np.abs(x) for s, x in feeds.items()}
        return [
            e.run(sizes, self.cut.targets, shift=shift, absolute=True)
            for e in (self.after, self.before)
        ]


def _drawn(probes: Array, grid: Array, most: int) -> tuple[Array, Array]:
    """The probes, with their impulses; of more than `most` a choice, numbered anew.

    A long signal that is reshaped has no positions that stand for others. What is chosen is random
    but for this: along each axis all positions have their turn before one has another, so that
    no channel is left out where there are not more of them. Dense probes read the rest.
    """
    count = int(probes.max(initial=-1)) + 1
    if count <= most:
        return probes, grid
    rng = np.random.default_rng()
    _, starts = np.unique(probes, return_index=True)
    columns = [np.unique(axis, return_inverse=True) for axis in grid[starts].T]
    sizes = tuple(len(found) for found, _ in columns)
    if math.prod(sizes) == count:
        at = [np.concatenate([rng.permutation(n) for _ in range(-(-most // n))]) for n in sizes]
        wanted = np.ravel_multi_index([a[:most] for a in at], sizes)
        places = np.ravel_multi_index([place.reshape(-1) for _, place in columns], sizes)
        chosen = np.unique(np.argsort(places)[wanted])
    else:
        chosen = rng.permutation(count)[:most]
    number = np.full(count, -1)
    number[chosen] = np.arange(len(chosen))
    kept = number[probes] >= 0
    return number[probes][kept], grid[kept]


# Where these are all that there is, channels meet within the groups of convolutions only.
_ALONG = frozenset(
    """Conv ConvTranspose BatchNormalization AveragePool MaxPool GlobalAveragePool Add Sub Sum Mul
    Div Neg Identity Dropout Cast CastLike LeakyRelu PRelu Relu Max Min
    Clip HardSwish Pad Slice""".split()  # noqa: SIM905
)


def _independent(cut: Cut, source: str, sizes: Sizes, sides: tuple[Evaluator, Evaluator]) -> int:
    """Into how many blocks the channels fall that never meet, on either side.

    Impulses in different blocks are answered by different outputs: they can share a probe.
    """
    channels = sizes.whole.get((source, 1))
    if channels is None or len(cut.sources) > 1:
        return 1
    blocks = channels
    for side, axes in zip(sides, sizes.axes, strict=True):
        for node, attributes in side.live:
            if node.op_type not in _ALONG:
                return 1
            if node.op_type in ("Conv", "ConvTranspose"):
                blocks = math.gcd(blocks, int(attributes.get("group", 1)))
            own = [axes[n] for n in node.input if n in axes]
            made = axes[node.output[0]]
            if node.op_type in ("Slice", "Pad") and own[0][1] != made[1]:
                return 1
            if any(len(a) != len(own[0]) or len(a) < 3 for a in (*own, made)):
                return 1
    return blocks


def _integers(shape: Sequence[int]) -> Array:
    """Integers from −RANGE to RANGE, none likelier than 1/(2·RANGE).

    By the system, which nobody can foresee; and numpy.random takes a while to load.
    """
    drawn = np.frombuffer(os.urandom(4 * math.prod(shape)), np.uint32).astype(np.float64)
    return (drawn % (2 * RANGE + 1) - RANGE).reshape(shape)
