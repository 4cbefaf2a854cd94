"""`optimize` between any two of files, standard input and standard output."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from onnx import ModelProto

from onnxac.cli.options import STDIO
from onnxac.cli.streams import model_from_stdin
from onnxac.errors import UsageError
from onnxac.pipeline import Options, left_alone, optimize, optimize_file
from onnxac.report import Report
from onnxac.storage.draft import Draft
from onnxac.storage.files import external_tensors, read


@dataclass(frozen=True)
class Result:
    """The report, and both models where they were asked for."""

    report: Report
    before: ModelProto | None = None
    after: ModelProto | None = None


def transform(source: str, target: str | None, options: Options, *, models: bool) -> Result:
    """Read, optimize, write. `-` is a standard stream; `models` asks for both models back.

    target  None where nothing is to be written
    """
    if target is None:
        return _without_writing(source, options)
    if STDIO in (source, target):
        return _through_memory(source, target, options)
    # With --in-place there is no original to be read later.
    before = read(Path(source)) if models else None
    report = optimize_file(Path(source), Path(target), options)
    return Result(report, before, read(Path(target)) if models else None)


def _without_writing(source: str, options: Options) -> Result:
    before = model_from_stdin() if source == STDIO else read(Path(source))
    after, report = optimize(before if source == STDIO else Path(source), options)
    return Result(report, before, after)


def _through_memory(source: str, target: str, options: Options) -> Result:
    before = model_from_stdin() if source == STDIO else read(Path(source))
    if target == STDIO and any(True for _ in external_tensors(before)):
        raise UsageError(f"{source}: has external data, which standard output can't take along")
    if target != STDIO:
        with Draft(Path(target)) as draft:
            after, report = optimize(before, options)
            draft.write(after, None, single=True)
            for left in draft.commit():
                options.notice(left_alone(left, Path(target)))
        report = replace(report, after=replace(report.after, path=target))
        return Result(report, before, after)
    after, report = optimize(before if source == STDIO else Path(source), options)
    sys.stdout.buffer.write(after.SerializeToString())
    sys.stdout.buffer.flush()
    return Result(report, before, after)
