"""The whole job: read, look, plan, rewrite, prove, account."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from onnx import ModelProto

import onnxac
from onnxac.disk import scratch
from onnxac.graph.draft import Draft
from onnxac.graph.files import (
    check,
    external_tensors,
    is_single,
    read,
    read_lazily,
    require_valid,
)
from onnxac.graph.model import Model, Store, assemble, from_proto
from onnxac.planning.plan import make_plan
from onnxac.planning.statistics import digest_of, model_info
from onnxac.planning.survey import survey
from onnxac.report import Report
from onnxac.rewriting import changes as account
from onnxac.rewriting.rewrite import Rewriter

ModelOrPath = ModelProto | str | os.PathLike[str]


def _silent(_: str) -> None:
    """The `progress` of those who don't want to hear of it."""


@dataclass(frozen=True)
class Options:
    """What `optimize` may be told.

    verify               prove the result against the original in ONNX Runtime
    freeze_initializers  take initializers that are also graph inputs as constants
    keep                 name patterns of nodes to leave alone
    seeds                number of seeds of the proof's inputs
    shapes               input name → shape, where the proof is to use that one only
    tolerance            largest relative error, instead of the one derived from the dtype
    timeout              seconds that the proof may take
    latency              time both models, for the report
    command              the command line, for the report
    progress             is told what happens now, in a word or two
    notice               is told, in a sentence, what the user has to know beside the report
    """

    verify: bool = True
    freeze_initializers: bool = False
    keep: tuple[str, ...] = ()
    seeds: int = 3
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    tolerance: float | None = None
    timeout: float = 600.0
    latency: bool = False
    command: str | None = None
    progress: Callable[[str], object] = _silent
    notice: Callable[[str], object] = _silent


def optimize(model: ModelOrPath, options: Options | None = None) -> tuple[ModelProto, Report]:
    """Merge what is linear, prove it, and say what was done.

    model  a model, or the path of one; it is not changed. A model with external data has to
           be given as a path; in what comes back such data still lies beside the original.

    Raises ModelError where the input can't be used, VerificationError where the result
    does not compute what the original computes, RuntimeFailure where the proof can't run.
    """
    options = options or Options()
    original, path = _read(model)
    result, report = _fuse(original, path, options)
    report = _named(report, None, digest_of(result))
    before = path or original.proto
    if any(True for _ in external_tensors(result)):
        with scratch() as folder, Draft(folder.path / "model.onnx") as draft:
            draft.write(result, original.folder, single=False)
            return result, _tried(report, before, draft.path, options)
    require_valid(result, "the result")
    return result, _tried(report, before, result, options)


def optimize_file(source: Path, target: Path, options: Options | None = None) -> Report:
    """`optimize`, from file to file. The target appears whole and proven, or not at all.

    Source and target may be one file. Raises OutputError where the target can't be written,
    and what `optimize` raises.
    """
    options = options or Options()
    with Draft(target) as draft:
        original, single = _read_lazily(source)
        in_files = any(True for _ in external_tensors(original.proto))
        result, report = _fuse(original, source, options, draft.store if in_files else None)
        if draft.write(result, original.folder, single=single) != single:
            options.notice(f"{target}: larger than 2 GB in one file, so its data lies beside it")
        report = _named(report, target, digest_of(draft.path))
        report = _tried(report, source, draft.path, options)
        for left in draft.commit():
            options.notice(left_alone(left, target))
    return report


def left_alone(data: Path, target: Path) -> str:
    """What to tell of a data file that the model which was at `target` has read."""
    return f"{data} is left, since another model may read it; {target} does no longer"


def _named(report: Report, target: Path | None, digest: str) -> Report:
    """The report with where the result is, and what it hashes to."""
    path = None if target is None else str(target)
    return replace(report, after=replace(report.after, path=path, sha256=digest))


def inspect(model: ModelOrPath, options: Options | None = None) -> Report:
    """What `optimize` would do, without computing or proving it."""
    options = options or Options()
    if isinstance(model, ModelProto):
        original, path = _read(model)
    else:
        path = Path(model)
        original, _ = _read_lazily(path)
    result, report = _fuse(original, path, options)
    return _named(report, None, digest_of(result))


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


def _fuse(
    original: Model, path: Path | None, options: Options, store: Store | None = None
) -> tuple[ModelProto, Report]:
    options.progress("merging")
    with _no_collection():
        return _fused(original, path, options, store)


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
    original: Model, path: Path | None, options: Options, store: Store | None
) -> tuple[ModelProto, Report]:
    seen = survey(original, freeze=options.freeze_initializers, keep=options.keep)
    roll = account.Roll(original)
    plan = make_plan(seen.definitions, seen.costs, seen.pinned, seen.named, seen.facts)
    applied = Rewriter(original, seen.facts, seen.folding).apply(plan)
    result = assemble(original, freeze=options.freeze_initializers, store=store)
    fusions = account.fusions(roll, applied)
    return result, Report(
        before=model_info(
            original.proto,
            seen.facts,
            digest_of(original.proto if path is None else path),
            None if path is None else str(path),
        ),
        # Hashed when it is clear in which form it is handed on.
        after=model_info(result, seen.facts, digest="", added=applied.dims),
        fusions=fusions,
        refusals=account.refusals(roll, seen.definitions, [*seen.blocked, *applied.blocked]),
        folded=len(applied.removed) - sum(len(f.removed) for f in fusions),
        idle=len(seen.idle),
        repeated=len(seen.repeated),
        verification=None,
        tools=tools(),
        command=options.command,
    )


def _tried(
    report: Report, before: ModelProto | Path, after: ModelProto | Path, options: Options
) -> Report:
    """The report with what running both models showed, as far as that was asked for."""
    # onnxruntime is not loaded before something has to be run.
    if options.verify:
        from onnxac.proof import raise_if_failed, verify

        options.progress("proving")
        found = verify(
            before,
            after,
            seeds=options.seeds,
            shapes=options.shapes,
            tolerance=options.tolerance,
            timeout=options.timeout,
        )
        raise_if_failed(found)
        report = replace(report, verification=found)
    if options.latency:
        from onnxac.proof.latency import compare_latency

        options.progress("timing")
        report = replace(report, latency=compare_latency(before, after, shapes=options.shapes))
    return report


def tools() -> dict[str, str]:
    """Versions of onnxac and of the packages whose behaviour it depends on."""
    names = ("onnx", "onnxruntime", "onnx-graphsurgeon", "numpy")
    return {"onnxac": onnxac.__version__, **{n: version(n) for n in names}}
