"""How far a tensor may be off in one run: by its type, by its noise, or against float64."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from onnxac.proof.judging.compare import EXACT, Array, Gap, base_tolerance
from onnxac.proof.judging.few import slices
from onnxac.proof.running.process import AGAIN, Pair, Rejection, Result, Worker
from onnxac.proof.settings import Settings

BEFORE, AFTER, FLOAT64 = "the first model", "the second model", "the first model in float64"

# Measured: fused against original is up to 4 times the larger of two draws of the noise.
NOISE_MULTIPLE = 8.0
NOISE_DRAWS = 2
# So many in all where that is not enough: behind a Relu a channel may have one value left, and two
# draws of its noise say as much about their luck as about the noise. After the first few,
# float64 is asked as well. No more begin after some seconds of them.
FEW_DRAWS, MOST_DRAWS = 4, 16
DRAWING_SECONDS = 10.0

# Against float64 the second model may be so many times as far off as the first one: of two
# right ones now the one is nearer, now the other.
EXACT_MULTIPLE = 4.0
# A channel is taken to be off by what that share of a tensor's channels is off by at most.
USUAL = 0.9
# Beyond that share of its magnitude the first model itself has no digits to compare with.
HOPELESS = 0.1
# Seconds of evaluating in float64 after which no more of it is begun: it takes about a hundred
# times as long as a run.
EXACT_SECONDS = 10.0


@dataclass(frozen=True)
class Subject:
    """Two tensors that are compared: outputs, or tensors `inside` both models."""

    name: str
    pair: Pair
    inside: bool = False


@dataclass(frozen=True)
class Finding:
    """One subject in one run.

    tolerances  what `gap.relative` may be, of the whole and of each channel
    unjudged    why nothing can be said in this run; empty where something can
    moves       how far rounding alone moves the first model, where that is why
    """

    subject: Subject
    gap: Gap
    tolerances: Array
    unjudged: str = ""
    moves: float = 0.0

    @property
    def differs(self) -> bool:
        """Whether it is further off than it may be."""
        return not self.unjudged and bool((self.gap.relative > self.tolerances).any())


@dataclass
class Judge:
    """Judges the runs on the feed that stands in the worker.

    load      loads a further model, a noisy one or that in float64, under its key; says whether
              it could. It is called only if a tensor is further off than its type allows
    coarsest  the largest ε among the first model's weights
    draws     whether the first model may draw at random, and give another result each time
    """

    worker: Worker
    settings: Settings
    load: Callable[[str], bool]
    coarsest: float
    draws: bool = True
    unsteady: set[str] = field(default_factory=set)
    _loaded: dict[str, bool] = field(default_factory=dict)
    _exact_seconds: float = 0.0
    _drawing_seconds: float = 0.0

    def judge(self, subjects: Sequence[Subject]) -> list[Finding]:
        """Compare the two runs that were made. Tensors that are drawn at random are left out."""
        gaps = self._gaps(Result(BEFORE), Result(AFTER), subjects)
        found = {s.name: Finding(s, g, self._own(g)) for s, g in zip(subjects, gaps, strict=True)}
        suspects = [f.subject for f in found.values() if f.differs]
        if suspects:
            steady = self._steady(suspects)
            noise: dict[str, Array] = {}
            exact = False
            for seeds in (range(FEW_DRAWS), range(FEW_DRAWS, MOST_DRAWS)):
                self._allow_noise(found, steady, noise, seeds)
                off = [f for f in (found[s.name] for s in steady) if self._is_number(f)]
                exact = exact or self._evaluate(off, noise)
                if exact or seeds[-1] == MOST_DRAWS - 1:
                    for judged in self._against_float64(off, noise, exact):
                        found[judged.subject.name] = judged
        return [f for f in found.values() if f.subject.name not in self.unsteady]

    def cap(self, gap: Gap) -> float:
        """The widest tolerance that noise may lead to: a third of the digits have to be left."""
        return float(max(gap.epsilon or 0.0, self.coarsest) ** (1 / 3))

    def moves(
        self, subjects: Sequence[Subject], seeds: Sequence[int], *, anew: bool = False
    ) -> Iterator[list[Gap]]:
        """The first model on this feed against itself, off by a rounding; of each draw.

        Its inputs are moved by each seed, and its weights in `NOISE_DRAWS` ways in turn.

        anew  its weights by each seed, too: whole numbers in a feed don't move
        """
        names = [s.pair.first for s in subjects]
        for seed in seeds if subjects else ():
            once = anew and seed >= NOISE_DRAWS
            key = noisy_key(seed if once else seed % NOISE_DRAWS)
            known = self.load(key) if once else self._has(key)
            key = key if known else BEFORE
            rejected = self.worker.run(key, seed, names)
            gaps = None if rejected else self._gaps(Result(BEFORE), Result(key, seed), subjects)
            if once and known:
                self.worker.drop(key)
            if gaps is not None:
                yield gaps

    def _allow_noise(
        self,
        found: dict[str, Finding],
        steady: Sequence[Subject],
        noise: dict[str, Array],
        seeds: Sequence[int],
    ) -> None:
        """Draw noise for what is further off than it may be, as often as that is of use."""
        for seed in seeds:
            doubted = [s for s in steady if self._may_be_noise(found[s.name], seed)]
            self._add_noise(noise, doubted, seed)
            for subject in doubted:
                name = subject.name
                found[name] = self._widened(found[name], noise.get(name))

    def _add_noise(self, noise: dict[str, Array], subjects: Sequence[Subject], seed: int) -> None:
        """Add to `noise` how far rounding moves each subject and its channels on this feed.

        Infinite where it moves it by more than a number: a value overflows, a detection is gone.
        """
        further = seed >= NOISE_DRAWS
        if not self.settings.derives or (further and self._drawing_seconds > DRAWING_SECONDS):
            return
        started = time.monotonic()
        anew = seed >= FEW_DRAWS
        for gaps in self.moves(subjects, [seed], anew=anew):
            for subject, found in zip(subjects, gaps, strict=True):
                moves = np.full(1, np.inf) if found.reason else found.relative.copy()
                before = noise.get(subject.name, np.zeros(1))
                if anew and not found.reason:
                    # Of many values the first draws have told; it is single ones that hardly moved.
                    moves[0] = before[0]
                noise[subject.name] = np.maximum(before, moves)
        self._drawing_seconds += time.monotonic() - started if further else 0.0

    def _gaps(
        self, first: Result, second: Result, subjects: Sequence[Subject], *, wide: bool = False
    ) -> list[Gap]:
        # Of two runs of the same model it is the first model's tensor that is compared.
        pairs = [
            s.pair if second.key == AFTER else replace(s.pair, second=s.pair.first)
            for s in subjects
        ]
        elementwise = self.settings.elementwise
        return self.worker.gaps(first, second, pairs, elementwise=elementwise, wide=wide)

    def _own(self, gap: Gap) -> Array:
        """What the type allows the whole and each channel; or what the user does."""
        tolerances = np.full(gap.distances.shape, base_tolerance(gap.epsilon))
        if gap.epsilon is None:
            return tolerances
        if not self.settings.derives:
            # The user's number is one for the whole; rtol and atol are in the scale.
            of_whole = 1.0 if self.settings.elementwise else self.settings.tolerance or 0.0
            tolerances[0], tolerances[1:] = max(of_whole, EXACT), np.inf
            return tolerances
        for _, start, stop in slices(gap):
            # One run does not tell; `few` looks at all of them.
            tolerances[start:stop] = np.inf
        return tolerances

    def _steady(self, suspects: Sequence[Subject]) -> list[Subject]:
        """Those that the first model reproduces; the others hold random numbers."""
        steady = [s for s in suspects if s.name not in self.unsteady]
        names = [s.pair.first for s in steady]
        if not self.draws or isinstance(self.worker.run(BEFORE, AGAIN, names), Rejection):
            return steady
        gaps = self._gaps(Result(BEFORE), Result(BEFORE, AGAIN), steady)
        for subject, found in zip(list(steady), gaps, strict=True):
            if found.relative.any():
                self.unsteady.add(subject.name)
                steady.remove(subject)
        return steady

    def _widened(self, found: Finding, noise: Array | None) -> Finding:
        gap = found.gap
        if noise is None or gap.epsilon is None:
            return found
        if np.isinf(noise[0]):
            return replace(found, unjudged="a last bit decides about it in the original, too")
        if gap.reason:
            return found
        allowed = np.broadcast_to(NOISE_MULTIPLE * noise, found.tolerances.shape)
        cap = self.cap(gap)
        widened = np.maximum(found.tolerances, np.minimum(allowed, cap))
        # A channel that is nothing but noise is judged with the whole only.
        widened[1:][allowed[1:] > cap] = np.inf
        return replace(found, tolerances=widened)

    def _may_be_noise(self, found: Finding, drawn: int) -> bool:
        """Whether one more draw of the noise may show that it is all that sets the models apart."""
        if not found.differs or drawn < NOISE_DRAWS:
            return found.differs
        # Where it is no number, a draw may be none either; the whole is allowed no more than this.
        return bool(found.gap.reason or found.gap.relative[0] <= self.cap(found.gap))

    def _is_number(self, found: Finding) -> bool:
        """Whether it is off by a number that float64 can judge, and not by the user's limits."""
        gap = found.gap
        known = not gap.reason and gap.epsilon is not None and self.settings.derives
        return known and found.differs

    def _is_noise(self, found: Finding, noise: Mapping[str, Array]) -> bool:
        """Whether rounding has eaten so many digits that none are left to judge by."""
        moves = noise.get(found.subject.name)
        return moves is not None and NOISE_MULTIPLE * moves[0] > self.cap(found.gap)

    def _evaluate(self, findings: Sequence[Finding], noise: Mapping[str, Array]) -> bool:
        """Run the first model in float64 for what it can judge; whether that could be done."""
        names = [f.subject.pair.first for f in findings if _moves(f, noise) <= HOPELESS]
        if not names or self._exact_seconds > EXACT_SECONDS:
            return False
        started = time.monotonic()
        evaluated = self._has(FLOAT64) and not isinstance(
            self.worker.run(FLOAT64, names=names), Rejection
        )
        self._exact_seconds += time.monotonic() - started
        return evaluated

    def _against_float64(
        self, findings: Sequence[Finding], noise: Mapping[str, Array], exact: bool
    ) -> list[Finding]:
        """The findings, with both models judged by how far they are from float64.

        exact  whether there is a run in float64; without one, only what is hopeless can be told
        """
        judged = [
            self._hopeless(f, _moves(f, noise)) for f in findings if _moves(f, noise) > HOPELESS
        ]
        findings = [f for f in findings if _moves(f, noise) <= HOPELESS]
        if not findings:
            return judged
        if not exact:
            late = self._exact_seconds > EXACT_SECONDS
            return [*judged, *(self._without_float64(f, noise, late) for f in findings)]
        subjects = [f.subject for f in findings]
        own = self._gaps(Result(FLOAT64), Result(BEFORE), subjects, wide=True)
        new = self._gaps(Result(FLOAT64), Result(AFTER), subjects, wide=True)
        return [
            *judged,
            *(
                self._by_float64(f, o, n, noise.get(f.subject.name, np.zeros(1)))
                for f, o, n in zip(findings, own, new, strict=True)
            ),
        ]

    def _by_float64(self, found: Finding, own: Gap, new: Gap, noise: Array) -> Finding:
        comparable = own.relative.shape == new.relative.shape == found.gap.relative.shape
        if not comparable or own.reason or new.reason:
            return found
        # What the first model is off by is one draw of its rounding; its noise is two more.
        off = np.maximum(own.relative, np.broadcast_to(noise, own.relative.shape))
        if off[0] > HOPELESS:
            return self._hopeless(found, float(off[0]))
        off[1:] = np.maximum(off[1:], _usual(own.relative[1:]))
        base = base_tolerance(found.gap.epsilon)
        right = new.relative <= EXACT_MULTIPLE * off + base
        # As far apart as two results can be that are both that near to the exact one.
        apart = (1 + EXACT_MULTIPLE) * off + base
        apart[1:][off[1:] > HOPELESS] = np.inf
        apart = np.where(right, np.maximum(apart, found.gap.relative), 0.0)
        return replace(found, tolerances=np.maximum(found.tolerances, apart))

    def _without_float64(self, found: Finding, noise: Mapping[str, Array], late: bool) -> Finding:
        if late:
            why = "it is beyond its tolerance, and float64 would take too long another time"
            return replace(found, unjudged=why)
        if not self._is_noise(found, noise):
            return found
        return self._hopeless(found, _moves(found, noise))

    def _hopeless(self, found: Finding, moves: float) -> Finding:
        why = f"too ill-conditioned to judge: rounding moves it by {moves:.2g} of its magnitude"
        return replace(found, unjudged=why, moves=moves)

    def _has(self, key: str) -> bool:
        if key not in self._loaded:
            self._loaded[key] = self.load(key)
        return self._loaded[key]


def _moves(found: Finding, noise: Mapping[str, Array]) -> float:
    """How far rounding moves the whole tensor, as far as that was measured."""
    moves = noise.get(found.subject.name)
    return 0.0 if moves is None else float(moves[0])


def _usual(off: Array) -> float:
    """What most channels of a tensor are off by: of thousands, some have hit the result by luck."""
    judged = off[off <= HOPELESS]
    return float(np.quantile(judged, USUAL)) if judged.size else 0.0


def noisy_key(seed: int) -> str:
    """The key of the first model with weights that are off by a rounding."""
    return f"the first model with noise {seed}"
