"""The comparison itself: run after run, the worst case of each output, and what was left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from onnxac.errors import RuntimeFailure, VerificationError
from onnxac.inputs import Feed, Shape, Signature
from onnxac.report import OutputDifference
from onnxac.verify.compare import EXACT, Gap, base_tolerance, gap
from onnxac.verify.noise import perturb_feeds
from onnxac.verify.process import Outputs, Rejection, Worker
from onnxac.verify.schedule import Run, first_runs, further_runs

# Seconds of running after which a slow model gets no further runs, but for the first
# `MINIMUM` (its own size, and one other where it has others).
PATIENCE = 5.0
MINIMUM = 2

# Measured: fused against original is up to 2.1 times one draw of the noise.
NOISE_MULTIPLE = 4.0
NOISE_DRAWS = 2

BEFORE, AFTER = "original", "optimized"


@dataclass
class Trial:
    """Compares the two models that a worker has loaded as `BEFORE` and `AFTER`.

    `load_noisy` loads the original with noisy weights under a key, and says whether it
    could; it is called only if an output is further off than its type allows. `cap` is
    the widest tolerance that noise may lead to, and `tolerance` the user's own, if any.
    """

    worker: Worker
    signature: Signature
    load_noisy: Callable[[str, int], bool]
    cap: Callable[[str], float]
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
        tolerances = {name: self._tolerance(name) for name in before}
        suspects = {n for n in gaps if gaps[n].relative > tolerances[n]} - self._unsteady
        if suspects:
            self._drop_unsteady(suspects, feeds, before)
            tolerances |= self._widened(suspects, feeds, before)
        for name in gaps.keys() - self._unsteady:
            self._record(run, name, gaps[name], tolerances[name])

    def _record(self, run: Run, name: str, gap: Gap, tolerance: float) -> None:
        if gap.finite:
            self._finite.add(name)
        if gap.reason and gap.relative > tolerance:
            self._note(f"output {name!r} {gap.reason}, with {_text(run.shapes)}")
        found = OutputDifference(name, gap.max_abs, gap.scale, gap.relative, tolerance)
        known = self.worst.get(name)
        if known is None or found.relative / tolerance > known.relative / known.tolerance:
            self.worst[name] = found

    def _tolerance(self, name: str) -> float:
        dtype = next(p.dtype for p in self.signature.outputs if p.name == name)
        base = base_tolerance(dtype)
        if self.tolerance is None or base == EXACT:
            return base
        return max(self.tolerance, EXACT)

    def _drop_unsteady(self, suspects: set[str], feeds: dict[str, Feed], before: Outputs) -> None:
        """Leave out the outputs that the original does not reproduce: it draws random numbers."""
        again = self.worker.run(BEFORE, feeds)
        for name in sorted(suspects):
            same = not isinstance(again, Rejection) and not gap(before[name], again[name]).relative
            if not same:
                self._unsteady.add(name)
                self.worst.pop(name, None)
                self._note(f"output {name!r}: the original itself gives another result each time")

    def _widened(
        self, suspects: set[str], feeds: dict[str, Feed], before: Outputs
    ) -> dict[str, float]:
        """Tolerances of the suspects, as wide as the original's own noise on this feed."""
        steady = sorted(suspects - self._unsteady)
        if self.tolerance is not None or not steady:
            return {}
        noise = dict.fromkeys(steady, 0.0)
        for seed, key in enumerate(self._noisy_models()):
            moved = self.worker.run(key, perturb_feeds(feeds, seed))
            if not isinstance(moved, Rejection):
                for name in steady:
                    noise[name] = max(noise[name], self._noise(name, before, moved))
        return {
            name: max(self._tolerance(name), min(NOISE_MULTIPLE * noise[name], self.cap(name)))
            for name in steady
        }

    def _noise(self, name: str, before: Outputs, moved: Outputs) -> float:
        found = gap(before[name], moved[name])
        if not found.reason:
            return found.relative
        self._note(f"the original is unstable: off in the last bit, its {name!r} {found.reason}")
        return 0.0

    def _noisy_models(self) -> list[str]:
        """Keys of the models that the noise is measured on; the original, if it is too large."""
        if self._noisy is None:
            keys = [f"noisy-{seed}" for seed in range(NOISE_DRAWS)]
            self._noisy = [k if self.load_noisy(k, seed) else BEFORE for seed, k in enumerate(keys)]
        return self._noisy

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def _text(shapes: Mapping[str, Shape]) -> str:
    listed = ", ".join(f"{name}=({','.join(map(str, s))})" for name, s in shapes.items())
    return listed or "no inputs"
