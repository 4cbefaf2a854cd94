"""The whole job: read, look, plan, rewrite, prove, account."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from onnx import ModelProto

import onnxac
from onnxac.disk import scratch
from onnxac.equalizing import Equalized, Request, equalize
from onnxac.errors import UsageError
from onnxac.graph.draft import Draft
from onnxac.graph.files import (
    check,
    external_tensors,
    is_single,
    read,
    read_lazily,
    require_valid,
)
from onnxac.graph.fixed import fixed, unmatched
from onnxac.graph.model import Model, Store, assemble, from_proto
from onnxac.inference.facts import Facts
from onnxac.kinds import unknown
from onnxac.planning.plan import make_plan
from onnxac.planning.reordering import reorder
from onnxac.planning.statistics import digest_of, model_info
from onnxac.planning.survey import survey, untouched
from onnxac.quantizing import quantization
from onnxac.report import (
    DIFFERENT,
    DROPPED,
    FAILS,
    Change,
    Equalization,
    Fusion,
    NodeRef,
    Quantization,
    Refusal,
    Report,
    Verification,
)
from onnxac.rewriting import changes as account
from onnxac.rewriting.rewrite import Rewriter
from onnxac.simplifying import join_reshapes, settle_operands, share_constants, simplify

ModelOrPath = ModelProto | str | os.PathLike[str]


# Runs of both models while changes are looked for that are to blame for a difference.
_MOST_RUNS = 64


class Progress(Protocol):
    """Is told what happens now, in a word or two, and how much of how much is done.

    `total` is 0 where that is not known.
    """

    def __call__(self, what: str, done: int = 0, total: int = 0, /) -> object:
        """Take note."""
        ...


def _silent(_: str, _done: int = 0, _total: int = 0, /) -> None:
    """The `progress` of those who don't want to hear of it."""


@dataclass(frozen=True)
class Options:
    """What `optimize` may be told.

    verify               prove the result against the original in ONNX Runtime
    freeze_initializers  take initializers that are also graph inputs as constants
    dequantize           merge branches of quantized weights too, as the floats that they stand for
    ranges               say how well both models quantize: ranges of weights, and on `inputs` those
                         of activations. So does `equalize`
    equalize             let the channels of each weight have ranges that are alike, by factors
                         that are powers of two: nothing is rounded
    exact_factors        by factors that are no powers of two: ranges are more alike, and weights
                         are rounded once more
    keep                 name patterns of nodes to leave alone
    without              kinds of rewrites (`onnxac.kinds`) to leave out
    seeds                number of seeds of the proof's inputs
    shapes               input name → shape, where the proof is to use that one only
    tolerance            largest relative error, instead of the one derived from the dtype
    timeout              seconds that the proof may take
    inputs               files of real inputs for the proof: .npz, or folders of .npy
    custom_ops           libraries of operators for ONNX Runtime
    latency              time both models, for the report
    command              the command line, for the report
    progress             is told what happens now
    notice               is told, in a sentence, what the user has to know beside the report
    """

    verify: bool = True
    freeze_initializers: bool = False
    dequantize: bool = False
    ranges: bool = False
    equalize: bool = False
    exact_factors: bool = False
    keep: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    seeds: int = 3
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    tolerance: float | None = None
    timeout: float = 600.0
    inputs: tuple[Path, ...] = ()
    custom_ops: tuple[Path, ...] = ()
    latency: bool = False
    command: str | None = None
    progress: Progress = _silent
    notice: Callable[[str], object] = _silent

    def __post_init__(self) -> None:
        # A string is a sequence, too, of patterns that nobody means.
        keep = (self.keep,) if isinstance(self.keep, str) else tuple(self.keep)
        object.__setattr__(self, "keep", keep)


def optimize(model: ModelOrPath, options: Options | None = None) -> tuple[ModelProto, Report]:
    """Merge what is linear, prove it, and say what was done.

    model  a model, or the path of one; it is not changed. A model with external data has to
           be given as a path; in what comes back such data still lies beside the original.

    A change that can't be shown to be right is left out, and named in the report. Raises
    ModelError where the input can't be used, VerificationError where nothing can be shown,
    RuntimeFailure where the proof can't run.
    """
    options = options or Options()
    original, path = _read(model)
    if any(True for _ in external_tensors(original.proto)):
        with scratch() as folder, Draft(folder.path / "model.onnx") as draft:
            job = _Job(original, path, options, draft, stored=False)
            job.settle()
            return job.result, _named(job.report, None, digest_of(job.result))
    job = _Job(original, path, options)
    job.settle()
    return job.result, _named(job.report, None, digest_of(job.result))


def optimize_file(source: Path, target: Path, options: Options | None = None) -> Report:
    """`optimize`, from file to file. The target appears whole and proven, or not at all.

    Source and target may be one file. Raises OutputError where the target can't be written,
    and what `optimize` raises.
    """
    options = options or Options()
    with Draft(target) as draft:
        original, single = _read_lazily(source)
        in_files = any(True for _ in external_tensors(original.proto))
        job = _Job(original, source, options, draft, single=single, stored=in_files)
        job.settle()
        if job.single != single:
            options.notice(f"{target}: larger than 2 GB in one file, so its data lies beside it")
        report = _named(job.report, target, digest_of(draft.path))
        for left in draft.commit():
            options.notice(left_alone(left, target))
    return report


class _Job:
    """One model, from attempt to attempt, until all that was done can be shown to be right.

    draft   where the result is written, if it is
    single  it is to be one file
    stored  fused weights go to the draft at once, and need no memory
    """

    def __init__(
        self,
        original: Model,
        path: Path | None,
        options: Options,
        draft: Draft | None = None,
        *,
        single: bool = False,
        stored: bool = False,
    ) -> None:
        self._original, self._path, self._options = original, path, options
        self._draft, self._single, self._stored = draft, single, stored
        self._fresh = True
        self.result: ModelProto
        self.report: Report
        self.single = single
        _tell_unmatched(original, options)

    def settle(self) -> None:
        """Leave `result` and `report` of the attempt that holds."""
        dropped: tuple[Change, ...] = ()
        if self._options.verify:
            dropped = self._proven(self._certified(frozenset()))
        else:
            self._attempt(frozenset())
        if self._draft is None:
            require_valid(self.result, "the result")
        refusals = (*self.report.refusals, *map(_dropped, dropped))
        self.report = replace(self.report, refusals=refusals)
        if self._options.ranges or self._options.equalize:
            self._options.progress("measuring")
            self.report = replace(self.report, quantization=self._measured())
        if self._options.latency:
            from onnxac.proof.latency import compare_latency

            self._options.progress("timing")
            found = compare_latency(*self._both(), shapes=self._options.shapes)
            self.report = replace(self.report, latency=found)

    def _attempt(self, without: frozenset[str]) -> tuple[ModelProto, Sequence[Change]]:
        """Rewrite without some changes; what comes back has its weights where `_folders` says."""
        options, draft = self._options, self._draft
        options.progress("merging")
        store = None
        if draft is not None:
            draft.restart()
            store = draft.store if self._stored else None
        if not self._fresh:
            # An attempt rewrites the graph that it is given.
            self._original = from_proto(self._original.proto, self._original.folder)
        self._fresh = False
        original = self._original
        with _no_collection():
            self.result, self.report = _fused(original, self._path, options, store, without)
        shown = self.result
        if draft is not None:
            self.single = draft.write(self.result, original.folder, single=self._single)
            if any(True for _ in external_tensors(self.result)):
                shown = read_lazily(draft.path)
        return shown, self.report.changes

    def _certified(self, gone: frozenset[str]) -> tuple[Change, ...]:
        """Rewrite without some changes and those whose certificates fail; the latter."""
        from onnxac.proof.isolation import keep_what_holds

        tick = partial(self._options.progress, "certifying")
        kept = keep_what_holds(
            self._original.proto,
            lambda failed: self._attempt(gone | failed),
            self._folders(),
            tick,
        )
        self.report = _telling(self.report, kept.changes)
        return kept.dropped

    def _folders(self) -> tuple[str, str]:
        before = "" if self._original.folder is None else str(self._original.folder)
        return before, before if self._draft is None else str(self._draft.path.parent)

    def _measured(self) -> Quantization:
        """How well what goes in and what comes out quantize."""
        before, after = (Path(f) for f in self._folders())
        options = self._options
        result = self.result if self._draft is None else read_lazily(self._draft.path)
        return quantization(
            (self._original.proto, before),
            (result, after),
            self.report.fusions,
            options.inputs,
            options.custom_ops,
        )

    def _both(self) -> tuple[ModelProto | Path, ModelProto | Path]:
        """What goes in and what comes out, as it can be run."""
        before = self._path or self._original.proto
        return before, self.result if self._draft is None else self._draft.path

    def _proven(self, dropped: tuple[Change, ...]) -> tuple[Change, ...]:
        """Run both models. Where they differ, look for the changes that are to blame.

        Raises VerificationError where leaving some of them out does not help.
        """
        from onnxac.proof import raise_if_failed
        from onnxac.proof.isolation import culprits

        found = self._verified()
        if found.verdict == DIFFERENT:
            told = {c.key: c for c in self.report.changes}
            gone = frozenset(c.key for c in dropped)
            runs = 0

            def passes(left: frozenset[str]) -> bool:
                nonlocal runs
                runs += 1
                if runs > _MOST_RUNS:
                    raise_if_failed(found)
                self._attempt(gone | left)
                return self._verified().verdict != DIFFERENT

            if not told or not passes(frozenset(told)):
                raise_if_failed(found)
            blamed = culprits(list(told), passes)
            if len(blamed) == len(told) and self._options.tolerance is not None:
                # It is the tolerance that asks for too much, not one of the changes that is wrong.
                raise_if_failed(found)
            # In place of what is gone, other changes may have become possible.
            dropped += tuple(told[b] for b in sorted(blamed)) + self._certified(gone | blamed)
            found = self._verified()
            raise_if_failed(found, strict=False)
        self.report = replace(self.report, verification=found)
        return dropped

    def _verified(self) -> Verification:
        # onnxruntime is not loaded before something has to be run.
        from onnxac.proof import Settings, verify

        options = self._options
        options.progress("proving")
        settings = Settings(
            seeds=options.seeds,
            shapes=options.shapes,
            inputs=options.inputs,
            custom_ops=options.custom_ops,
            tolerance=options.tolerance,
            timeout=options.timeout,
            tick=partial(options.progress, "proving"),
        )
        before, after = self._both()
        return verify(before, after, settings)


def _telling(report: Report, changes: Sequence[Change]) -> Report:
    """The report with these changes."""
    return replace(
        report,
        fusions=tuple(c for c in changes if isinstance(c, Fusion)),
        equalizations=tuple(c for c in changes if isinstance(c, Equalization)),
    )


def _dropped(change: Change) -> Refusal:
    """How it is told that a change was left out."""
    certificate = change.certificate
    why = certificate.reason if certificate is not None and certificate.verdict == FAILS else None
    if isinstance(change, Fusion):
        node = change.removed[-1] if change.removed else NodeRef(change.output, "")
    else:
        node = change.makers[0]
    return Refusal(
        node,
        DROPPED,
        f"{'merged' if isinstance(change, Fusion) else 'equalized'}, it did not compute the same "
        f"({why or 'the run of the whole models showed it'}), so it was left as it was; "
        "please report this",
    )


def left_alone(data: Path, target: Path) -> str:
    """What to tell of a data file that the model which was at `target` has read."""
    return f"{data} is left, since another model may read it; {target} does no longer"


def _named(report: Report, target: Path | None, digest: str) -> Report:
    """The report with where the result is, and what it hashes to."""
    path = None if target is None else str(target)
    return replace(report, after=replace(report.after, path=path, sha256=digest))


def inspect(
    model: ModelOrPath, options: Options | None = None, *, certified: bool = False
) -> Report:
    """What `optimize` would do, without running it.

    certified  give every change its certificate
    """
    options = options or Options()
    if isinstance(model, ModelProto):
        original, path = _read(model)
    else:
        path = Path(model)
        original, _ = _read_lazily(path)
    _tell_unmatched(original, options)
    options.progress("merging")
    with _no_collection():
        result, report = _fused(original, path, options, None, frozenset())
    if certified:
        from onnxac.proof.isolation import with_certificates

        folder = "" if original.folder is None else str(original.folder)
        tick = partial(options.progress, "certifying")
        changes = with_certificates(original.proto, result, report.changes, (folder, folder), tick)
        report = _telling(report, changes)
    if options.ranges or options.equalize:
        place = original.folder or Path()
        both = (original.proto, place), (result, place)
        found = quantization(*both, report.fusions, options.inputs, options.custom_ops)
        report = replace(report, quantization=found)
    return _named(report, None, digest_of(result))


def _tell_unmatched(original: Model, options: Options) -> None:
    for pattern in unmatched(original, options.keep):
        options.notice(f"no node has a name like {pattern!r}, which is to be kept")


def _read_lazily(path: Path) -> tuple[Model, bool]:
    """The model, and whether it is one file; weights of large ones are left in their file."""
    real = path.resolve()
    proto = read_lazily(path)
    return from_proto(proto, real.parent), is_single(proto, real)


def _read(model: ModelOrPath) -> tuple[Model, Path | None]:
    if isinstance(model, ModelProto):
        check(model, "model")
        return from_proto(model), None
    path = Path(model)
    return from_proto(read(path), path.resolve().parent), path


@contextmanager
def _no_collection() -> Iterator[None]:
    """A graph lives to the end of the job; looking for garbage in it takes a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _fused(
    original: Model,
    path: Path | None,
    options: Options,
    store: Store | None,
    without: frozenset[str],
) -> tuple[ModelProto, Report]:
    wrong = unknown(options.without)
    if wrong is not None:
        raise UsageError(wrong)
    facts = Facts(original, freeze=options.freeze_initializers, dequantize=options.dequantize)
    stay = fixed(original, options.keep)
    gone = simplify(original, facts, stay)
    left = untouched(original, facts, stay)
    moved = reorder(original, facts, stay, left, without, options.without)
    seen = survey(original, stay, left, moved, options.without)
    roll = account.Roll(original)
    plan = make_plan(seen.definitions, seen.costs, seen.pinned, seen.named, seen.prices)
    applied = Rewriter(original, seen.facts, seen.folding).apply(
        plan, without, partial(options.progress, "merging")
    )
    fusions = account.fusions(roll, applied, seen.kinds)
    settled = settle_operands(original, seen.facts, stay.named, stay.kept)
    joined = join_reshapes(original, seen.facts, stay.named, stay.kept)
    share_constants(original.graph, seen.facts)
    equalized = Equalized()
    if options.equalize:
        request = Request(options.exact_factors, stay.named, stay.kept, without)
        equalized = equalize(original, seen.facts, applied.dims, request)
    result = assemble(
        original,
        freeze=options.freeze_initializers,
        store=store,
        misstated=facts.misstated(),
    )
    return result, Report(
        before=model_info(
            original.proto,
            seen.facts,
            digest_of(original.proto if path is None else path),
            None if path is None else str(path),
        ),
        # Hashed when it is clear in which form it is handed on.
        after=model_info(result, seen.facts, digest="", added={**applied.dims, **equalized.shapes}),
        fusions=fusions,
        equalizations=tuple(equalized.changes),
        refusals=(
            *account.refusals(roll, seen.definitions, [*seen.blocked, *applied.blocked]),
            *equalized.refusals,
        ),
        folded=gone.inside + len(applied.removed) - sum(len(f.removed) for f in fusions),
        idle=len(gone.idle) + len(settled) + len(joined),
        repeated=len(gone.repeated),
        verification=None,
        tools=tools(),
        command=options.command,
    )


def tools() -> dict[str, str]:
    """Versions of onnxac and of the packages whose behaviour it depends on."""
    names = ("onnx", "onnxruntime", "onnx-graphsurgeon", "numpy")
    return {"onnxac": onnxac.__version__, **{n: version(n) for n in names}}
