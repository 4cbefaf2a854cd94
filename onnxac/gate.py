"""What `check` asks of a model: that nothing is left to merge, and that it keeps a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from onnx import ModelProto

from onnxac.errors import OnnxacError
from onnxac.pipeline import Options, inspect, optimize_file
from onnxac.report import GraphStats, Report

UNFUSED, OVER_BUDGET, UNREADABLE = "unfused", "over-budget", "unreadable"
UNFIXED = "not-fixed"


@dataclass(frozen=True)
class Budget:
    """The most that a model may have of each; None is any number."""

    nodes: int | None = None
    parameters: int | None = None
    macs: int | None = None
    bytes: int | None = None

    def exceeded(self, stats: GraphStats) -> Iterator[Problem]:
        """A problem for each limit that is not kept, or can't be told to be."""
        for name, value, limit in (
            ("nodes", stats.nodes, self.nodes),
            ("parameters", stats.parameters, self.parameters),
            ("multiply-adds", stats.macs, self.macs),
            ("bytes", stats.bytes, self.bytes),
        ):
            if limit is not None and (value is None or value > limit):
                yield Problem(OVER_BUDGET, name, value, limit)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a model.

    about    over budget: the quantity; unreadable, not fixed: why, in a sentence
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
        report = inspect(path if source is None else source(), options)
    except OnnxacError as error:
        # The message begins with the path, which a finding has already.
        message = str(error).removeprefix(f"{path}: ")
        return Finding(str(path), None, (Problem(UNREADABLE, message),))
    problems = list(budget.exceeded(report.before.stats))
    if report.fusions:
        problems.insert(0, Problem(UNFUSED))
    return Finding(str(path), report, tuple(problems))


def fix(finding: Finding, options: Options, budget: Budget) -> Finding:
    """Merge a model where it is. One that could not be is a finding, too, and stays as it was."""
    path = Path(finding.path)
    try:
        report = optimize_file(path, path, options)
    except OnnxacError as error:
        message = str(error).removeprefix(f"{path}: ")
        return replace(finding, problems=(*finding.problems, Problem(UNFIXED, message)))
    return Finding(finding.path, report, tuple(budget.exceeded(report.after.stats)), fixed=True)
