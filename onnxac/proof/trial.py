"""The comparison itself: run after run, the worst case of each tensor, and what was left out."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxac.errors import RuntimeFailure, UsageError, VerificationError
from onnxac.proof.judging.compare import EXACT, FIRST, Array, place_in
from onnxac.proof.judging.diagnosis import Diagnosis
from onnxac.proof.judging.few import FewValues, Key, few_tolerance, shares, slices
from onnxac.proof.judging.judge import (
    AFTER,
    BEFORE,
    MOST_DRAWS,
    NOISE_MULTIPLE,
    Finding,
    Judge,
    Subject,
)
from onnxac.proof.running.feeds import Fill, Shape
from onnxac.proof.running.process import Rejection, Worker
from onnxac.proof.running.signature import Signature
from onnxac.proof.schedule import Run, first_runs, further_runs
from onnxac.proof.settings import Settings
from onnxac.report import OutputDifference

# Seconds of running after which a slow model gets no further runs, but for the first
# `MINIMUM` (its own size, and one other where it has others).
PATIENCE = 5.0
MINIMUM = 2
# Seconds of looking for a size that the original runs at.
SEARCH_SECONDS = 60.0


@dataclass
class Record:
    """What all runs showed of one subject."""

    subject: Subject
    worst: OutputDifference | None = None
    difference: str = ""
    judged: int = 0
    low: float = math.inf
    high: float = -math.inf
    size: int = 0
    epsilon: float | None = None
    cap: float = 0.0
    unjudged: list[str] = field(default_factory=list)
    few: FewValues = field(default_factory=FewValues)

    @property
    def differs(self) -> bool:
        """Whether it was further off than it may be, in any run."""
        return self.worst is not None and self.worst.relative > self.worst.tolerance

    @property
    def blind(self) -> str:
        """Why agreeing shows nothing; empty where it shows something."""
        why = ""
        if not self.judged:
            why = "it was never compared"
        elif not self.size:
            why = "it was empty in every run"
        elif self.low > self.high:
            why = "it was nowhere finite"
        elif self.low == self.high:
            why = f"it was {self.low:g} throughout, in every run"
        # Where it could have shown something, that it could not be judged there is why.
        return self.unjudged[0] if why and self.unjudged else why


@dataclass
class Trial:
    """Compares the two models that a worker has loaded as `BEFORE` and `AFTER`."""

    worker: Worker
    signature: Signature
    subjects: Sequence[Subject]
    judge: Judge
    diagnosis: Diagnosis
    settings: Settings
    notes: list[str] = field(default_factory=list)
    unjudged: dict[str, None] = field(default_factory=dict)
    shapes: list[dict[str, Shape]] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    first_differing: tuple[str, ...] = ()

    def compare(self, given: Mapping[str, Shape]) -> None:
        """Make all runs. Raises RuntimeFailure and VerificationError as `verify` does."""
        self.records = {s.name: Record(s) for s in self.subjects}
        started = time.monotonic()
        for path in self.settings.inputs:
            self._real(Run({}, Fill(), file=path))
        first = self._first(given)
        if first is None:
            return
        plan = further_runs(self.signature, given, first, self.settings.seeds)
        for done, run in enumerate(plan, start=1):
            self.settings.tick(done, len(plan) + 1)
            if done >= MINIMUM and time.monotonic() - started > PATIENCE:
                self._note(f"{len(plan) + 1 - done} of {len(plan) + 1} runs: the model is slow")
                break
            self._further(run)
        for record in self.records.values():
            self._judge_few(record)
        for name in sorted(self.judge.unsteady):
            self._note(f"output {name!r}: the original itself gives another result each time")
            self.records.pop(name, None)

    def _real(self, run: Run) -> None:
        rejected = self._attempt(run)
        if rejected is not None:
            raise UsageError(f"{run.file}: these inputs can't be run: {rejected.reason}")

    def _first(self, given: Mapping[str, Shape]) -> Run | None:
        reason = "it has no inputs that could be made up"
        deadline = time.monotonic() + SEARCH_SECONDS
        for run in first_runs(self.signature, given):
            rejected = self._attempt(run)
            if rejected is None:
                return run
            reason = f"with {text(run.shapes)}: {rejected.reason}"
            if time.monotonic() > deadline:
                break
        if self.runs:
            # The real inputs that were given did run.
            self._note(f"no made-up inputs: {self.settings.names[0]} rejects them {reason}")
            return None
        raise RuntimeFailure(
            f"{self.settings.names[0]} itself does not run {reason}{shape_hint(self.signature)}"
        )

    def _further(self, run: Run) -> None:
        reason = ""
        for candidate in run.alternatives():
            rejected = self._attempt(candidate)
            if rejected is None:
                return
            reason = rejected.reason
        what = text(run.shapes) + (" of zeros" if run.fill.kind == "zeros" else "")
        self._note(f"{self.settings.names[0]} rejects {what}: {reason}")

    def _attempt(self, run: Run) -> Rejection | None:
        """Run both models, and judge; or why the first model rejects these inputs."""
        shapes = self._feed(run)
        if isinstance(shapes, Rejection):
            return shapes
        rejected = self.worker.run(BEFORE)
        if rejected is not None:
            return rejected
        rejected = self.worker.run(AFTER)
        if rejected is not None:
            first, second = self.settings.names
            raise VerificationError(
                f"{second} does not run with {text(shapes)}, where {first} does: {rejected.reason}"
            )
        self.runs.append(run)
        if shapes not in self.shapes:
            self.shapes.append(shapes)
        findings = self.judge.judge(self.subjects)
        if any(f.differs for f in findings):
            findings = self.diagnosis.excuse(findings)
            if not self.first_differing and any(f.differs for f in findings):
                self.first_differing = self.diagnosis.first_differing()
        for found in findings:
            self._record(found, shapes)
        return None

    def _record(self, found: Finding, shapes: Mapping[str, Shape]) -> None:
        record = self.records[found.subject.name]
        if found.unjudged:
            record.unjudged.append(found.unjudged)
            where = f"{found.subject.name!r} is left out with {text(shapes)}"
            self.unjudged[f"{where}: {found.unjudged}"] = None
            return
        gap = found.gap
        record.judged += 1
        record.low, record.high = min(record.low, gap.low), max(record.high, gap.high)
        record.size, record.epsilon = max(record.size, gap.size), gap.epsilon
        record.cap = self.judge.cap(gap)
        worst = int(np.argmax(gap.relative / found.tolerances))
        self._keep(record, _entry(found, worst), self._difference(found, worst), shapes)
        if self.settings.derives and not gap.reason:
            record.few.gather(gap, len(self.runs) - 1)

    def _keep(
        self, record: Record, entry: OutputDifference, difference: str, shapes: Mapping[str, Shape]
    ) -> None:
        if entry.relative > entry.tolerance and not record.differs:
            record.difference = f"{difference}, with {text(shapes)}"
        if record.worst is None or _excess(entry) > _excess(record.worst):
            record.worst = entry

    def _difference(self, found: Finding, index: int) -> str:
        gap, entry = found.gap, _entry(found, index)
        if gap.reason:
            return gap.reason.replace(FIRST, self.settings.names[0])
        if self.settings.elementwise:
            return f"is off by {entry.max_abs:.3g} where rtol and atol allow {entry.scale:.3g}"
        return difference(entry, gap.place(index))

    def _judge_few(self, record: Record) -> None:
        """Judge the channels that have few values, by their extremes over all runs."""
        if record.epsilon is None or record.subject.name in self.judge.unsteady:
            return
        for key, found in record.few.suspects(record.epsilon).items():
            channels, suspects = record.few.known[key], found.copy()
            distances, usual = np.stack(channels.distances), channels.usual()
            for row in np.flatnonzero(suspects.any(axis=1)):
                suspects[row] &= self._is_beyond_noise(
                    record, key, self.runs[channels.runs[row]], distances[row], usual[row]
                )
            if not suspects.any():
                continue
            usual = np.maximum(usual, EXACT)
            ratios = np.where(suspects, distances / usual, 0.0)
            run, index = np.unravel_index(int(np.argmax(ratios)), ratios.shape)
            entry = OutputDifference(
                record.subject.name,
                max_abs=float(distances[run, index]) * channels.wholes[run],
                scale=float(usual[run, index]) * channels.wholes[run],
                relative=float(ratios[run, index]),
                tolerance=few_tolerance(record.epsilon),
            )
            shapes = self.runs[channels.runs[run]].shapes
            self._keep(record, entry, difference(entry, place_in(key[0], int(index))), shapes)

    def _is_beyond_noise(
        self, record: Record, key: Key, run: Run, distances: Array, usual: Array
    ) -> Array:
        """Which channels of an axis rounding does not explain in one run.

        It is drawn until it explains all, for of hundreds of single values some hardly move twice.
        What is nothing but noise is judged with the whole only.
        """
        beyond, moved = distances > 0, np.zeros(key[1])
        if isinstance(self._feed(run), Rejection) or self.worker.run(BEFORE) is not None:
            return beyond
        for (gap,) in self.judge.moves([record.subject], range(MOST_DRAWS), anew=True):
            for found, start, stop in slices(gap):
                if found == key:
                    moved = np.maximum(moved, shares(gap, start, stop)[0])
            allowed = NOISE_MULTIPLE * moved
            beyond = (distances > allowed) & (allowed <= record.cap * usual)
            if not beyond.any():
                break
        return beyond

    def _feed(self, run: Run) -> dict[str, Shape] | Rejection:
        shapes = run.shapes or {p.name: () for p in self.signature.inputs}
        return self.worker.feed(self.signature.specs(shapes), run.fill, run.file)

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def _entry(found: Finding, index: int) -> OutputDifference:
    gap = found.gap
    return OutputDifference(
        found.subject.name,
        max_abs=float(gap.distances[index]),
        scale=max(float(gap.scales[index]), gap.floor),
        relative=float(gap.relative[index]),
        tolerance=float(found.tolerances[index]),
    )


def _excess(found: OutputDifference) -> float:
    return found.relative / found.tolerance


def difference(found: OutputDifference, place: str) -> str:
    """How far an output is off, with so many digits that the number is above its tolerance."""
    off, allowed = found.texts()
    where = f" in {place}" if place else ""
    return (
        f"is off by {off} of the largest magnitude {found.scale:.3g}{where}, of which {allowed} is "
        "allowed"
    )


def text(shapes: Mapping[str, Shape]) -> str:
    """Shapes as a user reads them: x=(1,3,32,32)."""
    listed = ", ".join(f"{name}=({','.join(map(str, s))})" for name, s in shapes.items())
    return listed or "no inputs"


def shape_hint(signature: Signature) -> str:
    """What to do where made-up sizes are no good; nothing where there is no input to give."""
    if not signature.inputs:
        return ""
    return f"; give the sizes it is made for with --shape {signature.inputs[0].name}:..."
