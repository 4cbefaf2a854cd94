"""What may be asked: that nothing is left to merge, that something was, that a budget is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from onnx import ModelProto

from onnxac.errors import LimitError, OnnxacError
from onnxac.pipeline import Options, inspect, optimize_file
from onnxac.report import DROPPED, GraphStats, ModelInfo, Ranges, Report

UNFUSED, OVER_BUDGET, UNREADABLE = "unfused", "over-budget", "unreadable"
UNFIXED, TOO_WIDE = "not-fixed", "too-wide"


@dataclass(frozen=True)
class Budget:
    """The most that a model may have of each; None is any number.

    range_ratio  largest magnitude of any weight, in terms of its root mean square
    """

    nodes: int | None = None
    parameters: int | None = None
    macs: int | None = None
    bytes: int | None = None
    range_ratio: float | None = None

    def exceeded(self, model: ModelInfo, ranges: Ranges | None) -> Iterator[Problem]:
        """A problem for each limit that is not kept, or can't be told to be."""
        stats = model.stats
        for name, value, limit in (
            ("nodes", stats.nodes, self.nodes),
            ("parameters", stats.parameters, self.parameters),
            ("multiply-adds", stats.macs, self.macs),
            ("bytes", stats.bytes, self.bytes),
        ):
            if limit is not None and (value is None or value > limit):
                yield Problem(OVER_BUDGET, name, value, limit)
        if self.range_ratio is not None and ranges is not None:
            wide = [w for w in ranges.weights if w.ratio > self.range_ratio]
            if wide:
                widest = max(wide, key=lambda w: w.ratio)
                told = f"{len(wide)} of {len(ranges.weights)} weights are wider than "
                told += f"{self.range_ratio:g} times their rms, that of {widest.node.name} "
                yield Problem(TOO_WIDE, f"{told}is {widest.ratio:.3g}")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a model.

    about    over budget: the quantity; all others: what is wrong, in a sentence
    value    over budget: how much there is, None where that is not known
    allowed  over budget: how much there may be
    """

    kind: str
    about: str = ""
    value: int | None = None
    allowed: int = 0


@dataclass(frozen=True)
class Finding:
    """What became of one model. `report` is None where it could not be read.

    fixed  it has been merged where it is, as `report` says
    """

    path: str
    report: Report | None
    problems: tuple[Problem, ...]
    fixed: bool = False

    @property
    def stats(self) -> GraphStats | None:
        """What the model weighs now."""
        if self.report is None:
            return None
        return (self.report.after if self.fixed else self.report.before).stats

    @property
    def can_be_fixed(self) -> bool:
        """Whether something in it could be merged."""
        return any(p.kind == UNFUSED for p in self.problems)

    @property
    def exit_code(self) -> int:
        """0 clean, 1 there is something to merge or a budget not kept, 2 unreadable."""
        return 2 if self.report is None else int(bool(self.problems))


def examine(
    path: Path,
    options: Options,
    budget: Budget,
    source: Callable[[], ModelProto] | None = None,
) -> Finding:
    """Look at one model. A model that can't be used is a finding, too, not an exception.

    source  where the model comes from, if it is not the file at `path`
    """
    try:
        if budget.range_ratio is not None:
            options = replace(options, ranges=True)
        report = inspect(path if source is None else source(), options)
    except OnnxacError as error:
        # The message begins with the path, which a finding has already.
        message = str(error).removeprefix(f"{path}: ")
        return Finding(str(path), None, (Problem(UNREADABLE, message),))
    found = report.quantization
    problems = list(budget.exceeded(report.before, found.before if found else None))
    if report.fusions:
        problems.insert(0, Problem(UNFUSED))
    return Finding(str(path), report, tuple(problems))


def fix(finding: Finding, options: Options, budget: Budget) -> Finding:
    """Merge a model where it is. One that could not be is a finding, too, and stays as it was."""
    path = Path(finding.path)
    try:
        if budget.range_ratio is not None:
            options = replace(options, ranges=True)
        report = optimize_file(path, path, options)
    except OnnxacError as error:
        message = str(error).removeprefix(f"{path}: ")
        return replace(finding, problems=(*finding.problems, Problem(UNFIXED, message)))
    found = report.quantization
    return Finding(
        finding.path,
        report,
        tuple(budget.exceeded(report.after, found.after if found else None)),
        fixed=True,
    )


def require_fusions(report: Report, source: str) -> None:
    """Raise LimitError where nothing was merged."""
    if report.fusions:
        return
    left = len(report.refusals)
    hint = f"{left} candidates were left alone, see `onnxac explain`" if left else "no candidates"
    raise LimitError(f"{source}: nothing was merged ({hint})")


def require_shown(report: Report, source: str) -> None:
    """Raise LimitError where something was left out, or is not shown to be right."""
    found = report.verification
    if found is not None and not found.passed:
        why = found.unrun or "; ".join(found.unseen)
        raise LimitError(f"{source}: the whole model is {found.verdict}, {why}")
    left = [r.node.name for r in report.refusals if r.rule == DROPPED]
    if left:
        raise LimitError(f"{source}: {left[0]!r} had to be left as it was, and --strict was given")
    judged = [f for f in report.changes if f.certificate is None or not f.certificate.holds]
    if judged and report.verification is not None:
        raise LimitError(f"{source}: {judged[0].key!r} has no certificate that holds")
