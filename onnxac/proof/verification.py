"""Proof by running: two models, the same feeds, ONNX Runtime, and how far the results are apart.

The oracle is independent: it shares no code with the optimizer. Models run as they are written
(graph optimizations off), in a process of their own, so that a crash, a hang or a huge
allocation is an error message here.

**What needs no run.** Where every node that the outputs hang on is the same in both models,
down to the bytes of the weights, the models are equal, and nothing is run.

**Feeds.** For each seed, normal values of both signs; all zeros (biases and borders); sparse
spikes (single taps); images, from 0 to 1 and from 0 to 255; real inputs, where they are given.
Integers span what the tables and clips behind them tell; booleans are both. Free extents take
several sizes, batch and odd and even heights and widths, two of them long and narrow; channels
are what the weights say. The same arrays on each call. A size that the original itself rejects
is skipped, with a sentence.

**What is compared.** The outputs. Tensors inside that keep their name and their readers, and
that another node makes now: what an optimizer merged, wherever the outputs hide it. And what
the last operators before the outputs read, as far as they are the same operators: behind an
ArgMax or a saturated Sigmoid much looks equal that is not.

**Distance.** max |after − before| / max |before|, over one tensor of one run, and again over
each of its channels (slices along axis 1, axis 2 of five, or the last axis), so that an error
in scores is seen beside coordinates in the hundreds. Channels of fewer than 64 values are
judged over all runs together. NaN and the two infinities must be at the same places.
Integers, booleans and strings must be equal. A tensor whose values a bounded operator makes
(Sigmoid, Softmax, Tanh) has that range for its magnitude, however small all of its values are:
it is computed to so many digits of its range.

**Tolerance**, of each tensor, channel and run:

    max(m·ε, min(8·noise, ∛ε'))

ε is the spacing of the tensor's type (2⁻²³ for float32); m is 8, and 2 for the half
precisions, whose sums are formed in single. A fused block is under 5 ε off, so that is
all a healthy network gets: 9.5e-7 in float32, where one weight ×1.001 makes 3e-5. Only
a tensor further off has its noise measured: how far the *original* moves, on this very
feed, when its weights and inputs are off by one rounding, and what saturates (Sigmoid, Tanh,
Erf) by one of its range; the largest of as many draws as it takes, sixteen at most. In
over 3,000 runs of exports, fused against original was up to 4 times that noise, half of
the time less than 1.6 times. ε' is the largest ε of the tensor and the weights: where
rounding eats more than two thirds of the digits, a channel is judged with the whole only. A
tolerance that the user gives is for the whole, and is not widened.

**Against float64.** What is still too far apart is judged by the exact result: the original's
weights, in float64, in onnx's reference evaluator. The second model may be 4 times as far from
it as the first one is, or as its noise. Where the first one has no digits in common with it
either, the network is called too ill-conditioned to judge.

**Ties.** Where an operator that orders or decides (TopK, ArgMax, a comparison) decides
differently, though what it reads agrees, a tie is all there is to it: what hangs on it is left
out in that run.

**Not shown.** An output that was empty, constant, nowhere finite or left out in every run shows
nothing by being equal, unless all that it is computed from was seen to be equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from onnxac.errors import RuntimeFailure, VerificationError
from onnxac.proof.case import Case
from onnxac.proof.judging.diagnosis import Diagnosis
from onnxac.proof.judging.identity import dependent
from onnxac.proof.judging.judge import AFTER, BEFORE, Judge
from onnxac.proof.judging.noise import coarsest_epsilon, may_draw
from onnxac.proof.running.loader import Loader
from onnxac.proof.running.process import Worker
from onnxac.proof.running.signature import Model, check_shapes, require_ranks
from onnxac.proof.running.sizes import refine
from onnxac.proof.settings import Settings
from onnxac.proof.trial import Record, Trial, shape_hint
from onnxac.report import DIFFERENT, NOT_RUN, NOT_SHOWN, Verification
from onnxac.storage.disk import scratch

UNRUN = "nothing was run: all that the outputs hang on is the same in both models"


def verify(before: Model, after: Model, settings: Settings | None = None) -> Verification:
    """Compare two models: by what they share, and by running both on the same feeds.

    before, after  protobufs, or paths (for external data and models over 2 GB)

    The result has a verdict; `raise_if_failed` turns it into an error.

    Raises
    ------
    UsageError         a setting out of range, an unknown input, a model that needs its path
    ModelError         a file that can't be read as ONNX
    RuntimeFailure     the first model does not run, or the process crashed or ran out of
                       its time or memory
    VerificationError  inputs or outputs differ in number or type
    """
    settings = settings or Settings()
    settings.check()
    case = Case.of(before, after, settings)
    given = check_shapes(case.signature, settings.shapes)
    if case.keeps_names and case.outputs.keys() <= case.likeness.equal():
        return Verification((), 0, (), UNRUN)
    return run_both(case, given, settings)


def run_both(case: Case, given: Mapping[str, tuple[int, ...]], settings: Settings) -> Verification:
    """The part of `verify` that runs the models."""
    signature = refine(case.signature, case.a.model.graph)
    require_ranks(signature, given)
    called = dict(zip((BEFORE, AFTER), settings.names, strict=True))
    with (
        scratch() as workspace,
        Worker(
            settings.timeout,
            settings.memory_limit,
            shape_hint(signature),
            called,
            settings.spacing,
        ) as worker,
    ):
        loader = Loader(worker, case, workspace.path, settings)
        coarsest = max(coarsest_epsilon(case.a.model), settings.spacing)
        judge = Judge(worker, settings, loader.further, coarsest, may_draw(case.a.model))
        diagnosis = Diagnosis(worker, case.likeness, loader.probed)
        trial = Trial(worker, signature, loader.subjects, judge, diagnosis, settings)
        try:
            unknown = loader.load_both()
            if unknown:
                return Verification((), 0, (), loader.runtime, case.notes, unrun=unknown)
            trial.compare(given)
        except VerificationError as error:
            # The second model does not even run where the first one does.
            return Verification((), 0, (), loader.runtime, case.notes, difference=str(error))
        return replace(_verification(case, trial, loader.runtime), precision=settings.precision)


def raise_if_failed(
    verification: Verification, names: tuple[str, str] = Settings.names, *, strict: bool = True
) -> None:
    """Raise in one line what keeps two models from being called equal.

    strict  also where nothing speaks against it: nothing was shown, or nothing could be run

    Raises VerificationError where they differ or nothing was shown, RuntimeFailure where
    the first model could not be run.
    """
    verdict = verification.verdict
    if verdict == DIFFERENT:
        raise VerificationError(verification.difference or f"{names[1]} differs from {names[0]}")
    if verdict == NOT_SHOWN and strict:
        raise VerificationError(f"not shown to be equal: {'; '.join(verification.unseen)}")
    if verdict == NOT_RUN and strict:
        raise RuntimeFailure(f"{names[0]} can't be run: {verification.unrun}")


def _verification(case: Case, trial: Trial, runtime: str) -> Verification:
    records = list(trial.records.values())
    outputs = [r for r in records if not r.subject.inside and r.worst is not None]
    inner = [r for r in records if r.subject.inside and r.worst is not None]
    notes = [*case.notes, *trial.notes, *trial.unjudged]
    different = any(r.differs for r in (*outputs, *inner))
    return Verification(
        outputs=tuple(r.worst for r in outputs if r.worst is not None),
        runs=len(trial.runs),
        shapes=tuple(trial.shapes),
        runtime=runtime,
        skipped=tuple(dict.fromkeys(notes)),
        inner=tuple(r.worst for r in inner if r.worst is not None),
        unseen=() if different else tuple(_unseen(case, trial)),
        difference=_difference(records, trial),
    )


def _difference(records: Sequence[Record], trial: Trial) -> str:
    """What differs, in a line; empty where nothing does."""
    differing = [r for r in records if r.differs and not r.subject.inside]
    inside = [r for r in records if r.differs and r.subject.inside]
    if not differing and not inside:
        return ""
    if differing:
        worst = max(differing, key=_excess)
        said = f"output {worst.subject.name!r} {worst.difference}"
    else:
        first = inside[0]
        said = (
            f"the outputs agree, but the tensor {first.subject.name!r} inside {first.difference} "
            "(--outputs-only compares no tensors inside)"
        )
    if trial.first_differing:
        said += f"; the first to differ: {', '.join(trial.first_differing)}"
    return said


def _excess(record: Record) -> float:
    assert record.worst is not None
    return record.worst.relative / record.worst.tolerance


def _unseen(case: Case, trial: Trial) -> list[str]:
    """A sentence for each output that nothing was shown about."""
    records = trial.records
    hanging = dependent(case.a)
    seen = [
        r.subject.pair.first
        for r in records.values()
        if not r.blind and r.subject.pair.first == r.subject.pair.second
    ]
    equal = case.likeness.equal(seen)
    sentences = []
    for a, b in case.outputs.items():
        record = records.get(a)
        if record is None:
            why = "the original itself gives another result each time"
        elif record.judged and a not in hanging:
            continue
        else:
            why = record.blind
        if why and not (a == b and a in equal):
            sentences.append(f"output {a!r}: {why}")
    return sentences or ([] if case.outputs else ["the model has no outputs"])
