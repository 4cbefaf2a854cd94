"""The whole job: read, fuse, prove, write, account."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from onnx import ModelProto

from onnxac.forms import Forms
from onnxac.graph.model import Model, from_proto
from onnxac.job import Job, tell_unmatched, telling
from onnxac.options import Options
from onnxac.planning.statistics import digest_of
from onnxac.report import Report
from onnxac.rounds import fused
from onnxac.simplifying.extents import fix_shapes
from onnxac.storage.disk import scratch
from onnxac.storage.draft import Draft
from onnxac.storage.files import check, external_tensors, is_single, read, read_lazily

__all__ = ["ModelOrPath", "Options", "inspect", "left_alone", "optimize", "optimize_file"]

ModelOrPath = ModelProto | str | os.PathLike[str]


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
            job = Job(original, path, options, draft, stored=False)
            job.settle()
            return job.result, _named(job.report, None, digest_of(job.result))
    job = Job(original, path, options)
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
        job = Job(original, source, options, draft, single=single, stored=in_files)
        job.settle()
        if job.single != single:
            options.notice(f"{target}: larger than 2 GB in one file, so its data lies beside it")
        report = _named(job.report, target, digest_of(draft.path))
        for left in draft.commit():
            options.notice(left_alone(left, target))
    return report


def inspect(
    model: ModelOrPath, options: Options | None = None, *, certified: bool = False
) -> Report:
    """What `optimize` would do, without proving it.

    certified  give every change its certificate
    """
    options = options or Options()
    if isinstance(model, ModelProto):
        original, path = _read(model)
    else:
        path = Path(model)
        original, _ = _read_lazily(path)
    original = fix_shapes(original, options.fix_shapes)
    tell_unmatched(original, options)
    options.progress("merging")
    result, report = fused(original, path, options, None, Forms())
    if certified:
        from onnxac.proof.isolation import with_certificates

        folder = "" if original.folder is None else str(original.folder)
        tick = partial(options.progress, "certifying")
        changes = with_certificates(original.proto, result, report.changes, (folder, folder), tick)
        report = telling(report, changes)
    if options.ranges or options.equalize:
        place = original.folder or Path()
        both = (original.proto, place), (result, place)
        from onnxac.quantizing import quantization

        found = quantization(*both, report.fusions, options.inputs, options.custom_ops)
        report = replace(report, quantization=found)
    return _named(report, None, digest_of(result))


def left_alone(data: Path, target: Path) -> str:
    """What to tell of a data file that the model which was at `target` has read."""
    return f"{data} is left, since another model may read it; {target} does no longer"


def _named(report: Report, target: Path | None, digest: str) -> Report:
    """The report with where the result is, and what it hashes to."""
    path = None if target is None else str(target)
    return replace(report, after=replace(report.after, path=path, sha256=digest))


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
