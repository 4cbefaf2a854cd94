"""One model of many: what is to be done, as a value that can travel, and doing it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from onnxac.errors import ModelError, OnnxacError, OutputError
from onnxac.gate import require_fusions, require_shown
from onnxac.pipeline import Options, optimize, optimize_file
from onnxac.report import Report
from onnxac.report.fleet import FAILED, OPTIMIZED, UNCHANGED, Outcome

BUG = 2


@dataclass(frozen=True)
class Task:
    """What is to be done with one model.

    source, target   as they are named in the report; the target is None for a dry run
    folder           that both are relative to
    fail_if_unfused  a model with nothing to merge is written, and counts as failed
    strict           as does one of which something is not shown to be right
    key              see `Outcome`
    """

    source: str
    target: str | None
    folder: str
    options: Options
    fail_if_unfused: bool = False
    strict: bool = False
    key: str = ""


def perform(task: Task) -> Outcome:
    """Do it, wherever this runs. Whatever goes wrong with a model is a value, too."""
    began = time.perf_counter()
    notices: list[str] = []
    report: Report | None = None
    message, code = "", 0
    try:
        report = _optimized(task, replace(task.options, notice=notices.append))
        if task.fail_if_unfused:
            require_fusions(report, task.source)
        if task.strict:
            require_shown(report, task.source)
    except OnnxacError as error:
        message, code = _without_place(str(error), task), error.exit_code
    except MemoryError:
        message, code = "out of memory; the model needs several times its size", BUG
    except Exception as error:
        # One model that meets a bug of ours is no reason to leave out all others.
        message = f"a bug in onnxac, please report it: {type(error).__name__}: {error}"
        code = BUG
    state = FAILED if code else OPTIMIZED if report and report.changed else UNCHANGED
    target = task.target if report else None
    seconds = time.perf_counter() - began
    return Outcome(
        task.source, target, state, code, message, tuple(notices), report, seconds, task.key
    )


def failed(task: Task, message: str) -> Outcome:
    """What became of a model that nothing could be done with."""
    return Outcome(task.source, None, FAILED, BUG, message, (), None, 0.0, "")


def _optimized(task: Task, options: Options) -> Report:
    """The report, with both files as they were named."""
    source = Path(task.folder, task.source)
    if not source.exists():
        raise ModelError(
            f"{source}: no such file here; all workers have to see the models and the folder "
            "of the results under the same path"
        )
    if task.target is None:
        report = optimize(source, options)[1]
    else:
        target = Path(task.folder, task.target)
        _make_folder(target.parent)
        report = optimize_file(source, target, options)
        report = replace(report, after=replace(report.after, path=task.target))
    return replace(report, before=replace(report.before, path=task.source))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: can't be made: {error.strerror}") from error


def _without_place(message: str, task: Task) -> str:
    """An outcome names its model; it is not said twice, nor where the tree lies."""
    for name in (str(Path(task.folder, task.source)), task.source):
        message = message.removeprefix(f"{name}: ")
    return message
