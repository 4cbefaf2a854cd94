"""The comparison itself: run after run, the worst case of each output, and what was left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxac.errors import RuntimeFailure, VerificationError
from onnxac.proof.compare import EXACT, Gap, base_tolerance, gap
from onnxac.proof.feeds import Array, Feed, Shape, Signature
from onnxac.proof.noise import perturb_feeds
from onnxac.proof.process import Outputs, Rejection, Worker
from onnxac.proof.schedule import Run, first_runs, further_runs
from onnxac.report import OutputDifference

# Seconds of running after which a slow model gets no further runs, but for the first
# `MINIMUM` (its own size, and one other where it has others).
PATIENCE = 5.0
MINIMUM = 2

# Measured: fused against original is up to 4 times the larger of two draws of the noise.
NOISE_MULTIPLE = 8.0
NOISE_DRAWS = 2

BEFORE, AFTER = "original", "optimized"


@dataclass
class Trial:
    """Compares the two models that a worker has loaded as `BEFORE` and `AFTER`.

    `load_noisy` loads the original with noisy weights under a key, and says whether it
    could; it is called only if an output is further off than its type allows. `caps` are
    the widest tolerances that noise may lead to, by output, and `tolerance` the user's own, if any.
    """

    worker: Worker
    signature: Signature
    load_noisy: Callable[[str, int], bool]
    caps: Mapping[str, float]
    tolerance: float | None
    worst: dict[str, OutputDifference] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    shapes: list[dict[str, Shape]] = field(default_factory=list)
    runs: int = 0
    _unsteady: set[str] = field(default_factory=set)
    _finite: set[str] = field(default_factory=set)
    _noisy: list[str] | None = None

    def compare(self, given: Mapping[str, Shape], seeds: int) -> None:
        """Make all runs. Raises RuntimeFailure and VerificationError as `verify` does."""
        started = time.monotonic()
        first = self._first(given)
        plan = further_runs(self.signature, given, first, seeds)
        for done, run in enumerate(plan, start=1):
            if done >= MINIMUM and time.monotonic() - started > PATIENCE:
                self._note(f"{len(plan) + 1 - done} of {len(plan) + 1} runs: the model is slow")
                break
            feeds = run.feeds(self.signature)
            before = self.worker.run(BEFORE, feeds)
            if isinstance(before, Rejection):
                what = f"{_text(run.shapes)}" + (" of zeros" if run.fill.kind == "zeros" else "")
                self._note(f"the original rejects {what}: {before.reason}")
            else:
                self._judge(run, feeds, before)
        for name in self.worst.keys() - self._finite:
            self._note(f"no proof: {name!r} is never finite in the original")

    def _first(self, given: Mapping[str, Shape]) -> Run:
        reason = "it has no inputs that could be made up"
        for run in first_runs(self.signature, given):
            feeds = run.feeds(self.signature)
            before = self.worker.run(BEFORE, feeds)
            if not isinstance(before, Rejection):
                self._judge(run, feeds, before)
                return run
            reason = f"{_text(run.shapes)}: {before.reason}"
        raise RuntimeFailure(f"the original model itself does not run with {reason}")

    def _judge(self, run: Run, feeds: dict[str, Feed], before: Outputs) -> None:
        after = self.worker.run(AFTER, feeds)
        if isinstance(after, Rejection):
            raise VerificationError(
                f"the optimized model does not run with {_text(run.shapes)}, "
                f"where the original does: {after.reason}"
            )
        self.runs += 1
        if run.shapes not in self.shapes:
            self.shapes.append(run.shapes)
        gaps = {name: gap(before[name], after[name]) for name in before}
        tolerances = {name: self._tolerances(name, found) for name, found in gaps.items()}
        suspects = {n for n in gaps if (gaps[n].relative > tolerances[n]).any()} - self._unsteady
        if suspects:
            self._drop_unsteady(suspects, feeds, before)
            for name, noise in self._noise(
                sorted(suspects - self._unsteady), feeds, before
            ).items():
                tolerances[name] = self._widened(name, gaps[name], tolerances[name], noise)
        for name in gaps.keys() - self._unsteady:
            self._record(run, name, gaps[name], tolerances[name])

    def _record(self, run: Run, name: str, gap: Gap, tolerances: Array) -> None:
        if np.isinf(tolerances[0]):
            self._note(f"the original's {name!r} hangs on a last bit with {_text(run.shapes)}")
            return
        if gap.finite:
            self._finite.add(name)
        worst = int(np.argmax(gap.relative / tolerances))
        found = OutputDifference(
            name,
            max_abs=float(gap.distances[worst]),
            scale=float(gap.scales[worst]),
            relative=float(gap.relative[worst]),
            tolerance=float(tolerances[worst]),
        )
        if found.relative > found.tolerance:
            self._note(
                f"output {name!r} {_difference(found, gap, worst)}, with {_text(run.shapes)}"
            )
        known = self.worst.get(name)
        if known is None or _excess(found) > _excess(known):
            self.worst[name] = found

    def _tolerances(self, name: str, gap: Gap) -> Array:
        """What the output's type allows the whole and each channel; or what the user does."""
        dtype = next(p.dtype for p in self.signature.outputs if p.name == name)
        tolerances = np.full(gap.distances.shape, base_tolerance(dtype))
        if self.tolerance is not None and tolerances[0] != EXACT:
            # The user's number is one for the whole.
            tolerances[0], tolerances[1:] = max(self.tolerance, EXACT), np.inf
        return tolerances

    def _drop_unsteady(self, suspects: set[str], feeds: dict[str, Feed], before: Outputs) -> None:
        """Leave out the outputs that the original does not reproduce: it draws random numbers."""
        again = self.worker.run(BEFORE, feeds)
        for name in sorted(suspects):
            same = not isinstance(again, Rejection) and _equal(before[name], again[name])
            if not same:
                self._unsteady.add(name)
                self.worst.pop(name, None)
                self._note(f"output {name!r}: the original itself gives another result each time")

    def _noise(self, names: list[str], feeds: dict[str, Feed], before: Outputs) -> dict[str, Array]:
        """How far the original itself moves on this feed, of each output, whole and by channel.

        Infinite where it moves by more than a number: a value overflows, a detection is gone.
        """
        if self.tolerance is not None:
            return {}
        noise = {name: np.zeros(1) for name in names}
        for seed, key in enumerate(self._noisy_models() if names else ()):
            moved = self.worker.run(key, perturb_feeds(feeds, seed))
            if isinstance(moved, Rejection):
                self._note(f"the noise could not be measured: {moved.reason}")
                continue
            for name in names:
                found = gap(before[name], moved[name])
                moves = np.full(1, np.inf) if found.reason else found.relative
                noise[name] = np.maximum(noise[name], moves)
        return noise

    def _widened(self, name: str, gap: Gap, tolerances: Array, noise: Array) -> Array:
        if tolerances[0] == EXACT:
            if np.isinf(noise[0]):
                self._note(f"a last bit decides about {name!r} in the original, too: maybe a tie")
            return tolerances
        if np.isinf(noise[0]):
            # Nothing can be said on this feed: `_record` leaves it out.
            return np.full(tolerances.shape, np.inf)
        if gap.reason:
            return tolerances
        allowed = np.broadcast_to(NOISE_MULTIPLE * noise, tolerances.shape)
        cap = self.caps[name]
        widened = np.maximum(tolerances, np.minimum(allowed, cap))
        # A channel that is nothing but noise is judged with the whole only.
        widened[1:][allowed[1:] > cap] = np.inf
        return widened

    def _noisy_models(self) -> list[str]:
        """Keys of the models that the noise is measured on; the original, if it is too large."""
        if self._noisy is None:
            keys = [f"noisy-{seed}" for seed in range(NOISE_DRAWS)]
            self._noisy = [k if self.load_noisy(k, seed) else BEFORE for seed, k in enumerate(keys)]
        return self._noisy

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def _equal(first: Sequence[Array], second: Sequence[Array]) -> bool:
    return not gap(first, second).relative.any()


def _excess(found: OutputDifference) -> float:
    return found.relative / found.tolerance


def _difference(found: OutputDifference, gap: Gap, index: int) -> str:
    return gap.reason or (
        f"is off by {found.max_abs:.3g}, {found.relative:.2g} of the largest magnitude "
        f"{found.scale:.3g}{_in(gap.place(index))}; the tolerance is {found.tolerance:.2g}"
    )


def _in(place: str) -> str:
    return f" in {place}" if place else ""


def _text(shapes: Mapping[str, Shape]) -> str:
    listed = ", ".join(f"{name}=({','.join(map(str, s))})" for name, s in shapes.items())
    return listed or "no inputs"
