"""What measurements say of the changes of a model: which to leave out, which to write otherwise."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from onnxac.forms import Forms
from onnxac.report import SLOWER, Fusion, NodeRef, Refusal, Timing

# A change is left out, or written in its other form, where that is faster by more than noise.
_SURE = 1.02
# Where one that the estimate is against has to be so much faster than what is made without it.
_WORTH = 0.03
# Where something is left out, something else may become possible, which is measured as well.
_ROUNDS = 3

Measured = Mapping[str, tuple[Fusion, Timing]]


@dataclass(frozen=True)
class Tuned:
    """What was found.

    slower   key of a change that is left out → the change, and its times
    swapped  keys of changes of which the other form is the faster one
    times    of all other changes, by key
    eager    keys of changes that the estimate is against, and that are faster all the same
    trying   all changes are made that the estimate is against, to be measured
    """

    slower: dict[str, tuple[Fusion, Timing]] = field(default_factory=dict)
    swapped: frozenset[str] = frozenset()
    times: dict[str, Timing] = field(default_factory=dict)
    eager: frozenset[str] = frozenset()
    trying: bool = False

    @property
    def forms(self) -> Forms:
        """What is written otherwise than the cost model would have it."""
        return Forms(frozenset(self.slower), self.swapped, self.eager, self.trying)

    def told(self, fusions: Sequence[Fusion]) -> tuple[Fusion, ...]:
        """The fusions, each with its times."""
        return tuple(replace(f, timing=self.times.get(f.key)) for f in fusions)

    @property
    def refusals(self) -> list[Refusal]:
        """How it is told that changes were left out."""
        return [_refusal(fusion, timing) for fusion, timing in self.slower.values()]


Measure = Callable[[Tuned, frozenset[str] | None], Measured]


def _refusal(fusion: Fusion, timing: Timing) -> Refusal:
    node = fusion.removed[-1] if fusion.removed else NodeRef(fusion.output, "")
    why = f"merged it takes {timing.after_ms:.3g} ms, as it is {timing.before_ms:.3g} ms, measured"
    return Refusal(node, SLOWER, why, fusion.place)


def settle(measure: Measure) -> Tuned:
    """Measure until nothing is left that is slower than what it replaces, or that was not tried.

    measure  rewrites, by what was found so far, and times the fusions of these keys; None for
             all that have no times yet
    """
    tuned, made = _settled(measure, Tuned())
    eager = _better(measure(Tuned(trying=True), None), made)
    return _settled(measure, Tuned(eager=eager))[0] if eager else tuned


def _better(tried: Measured, made: Measured) -> frozenset[str]:
    """Keys of changes that save more time than all those do whose nodes they replace."""
    found: set[str] = set()
    for key, (fusion, timing) in tried.items():
        gone = set(fusion.removed)
        others = [
            (f, t)
            for f, t in made.values()
            if f.place == fusion.place and not gone.isdisjoint(f.removed)
        ]
        if [form_of(f) for f, _ in others] == [form_of(fusion)]:
            continue
        saved = sum(max(t.before_ms - t.after_ms, 0.0) for _, t in others)
        if timing.before_ms - timing.after_ms > saved + _WORTH * timing.before_ms:
            found.add(key)
    return frozenset(found)


def form_of(fusion: Fusion) -> Hashable:
    """What two changes that do the same have in common."""
    operators = tuple(replace(o, branches=()) for o in fusion.operators)
    return fusion.key, frozenset(fusion.removed), tuple(_operators(fusion)), operators


def _settled(measure: Measure, tuned: Tuned) -> tuple[Tuned, dict[str, tuple[Fusion, Timing]]]:
    """Measured until nothing is left that is slower; and all changes that stay, with their times.

    tuned  what is made although the estimate is against it
    """
    made: dict[str, tuple[Fusion, Timing]] = {}
    for _ in range(_ROUNDS):
        found = measure(tuned, None)
        upsampled = frozenset(k for k, (f, _) in found.items() if "upsample" in f.kinds)
        others: Measured = {}
        if upsampled:
            swapped = replace(tuned, swapped=tuned.swapped | upsampled)
            others = measure(swapped, upsampled)
        left_out = len(tuned.slower)
        for key, (fusion, timing) in found.items():
            tuned = _decided(tuned, key, fusion, timing, others.get(key))
            if key in tuned.times:
                made[key] = fusion, tuned.times[key]
        if len(tuned.slower) == left_out:
            break
    return tuned, made


def _decided(
    tuned: Tuned, key: str, fusion: Fusion, timing: Timing, other: tuple[Fusion, Timing] | None
) -> Tuned:
    swapped = tuned.swapped
    if other is not None and _operators(other[0]) != _operators(fusion):
        if other[1].after_ms * _SURE < timing.after_ms:
            swapped |= {key}
            timing = replace(other[1], other_ms=timing.after_ms)
        else:
            timing = replace(timing, other_ms=other[1].after_ms)
    if timing.after_ms > _SURE * timing.before_ms:
        slower = {**tuned.slower, key: (fusion, timing)}
        return replace(tuned, slower=slower)
    return replace(tuned, swapped=swapped, times={**tuned.times, key: timing})


def _operators(fusion: Fusion) -> list[str]:
    return [n.op for n in fusion.added]
