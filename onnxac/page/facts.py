"""What page and text tell, worked out once: totals, operators, verdict, refusals."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto

from onnxac.render import numbers
from onnxac.render.refused import by_rule
from onnxac.render.totals import Total, operators, totals
from onnxac.render.verdict import Verdict, verdict
from onnxac.report import ModelInfo, Report, Verification
from onnxac.report.refusals import Group

from .matching import match
from .pairing import Matching


@dataclass(frozen=True)
class Known:
    """What is known beside the two models. The report's own entries yield to the others."""

    report: Report | None = None
    verification: Verification | None = None
    command: str | None = None
    before: ModelInfo | None = None
    after: ModelInfo | None = None


@dataclass(frozen=True)
class Facts:
    """Everything that is shown, in the order in which it is shown."""

    report: Report | None
    before: ModelInfo
    after: ModelInfo
    matching: Matching
    headline: str
    verdict: Verdict
    totals: list[Total]
    operators: list[Total]
    refused: list[Group]
    verification: Verification | None
    command: str | None


def gather(before: ModelProto, after: ModelProto, known: Known) -> Facts:
    """The facts about two models; whatever is not known is left out."""
    report = known.report
    b = known.before or (report.before if report else _weigh(before))
    a = known.after or (report.after if report else _weigh(after))
    verification = known.verification or (report.verification if report else None)
    return Facts(
        report=report,
        before=b,
        after=a,
        matching=match(before, after, report),
        headline=_headline(b.stats.nodes, a.stats.nodes, report),
        verdict=verdict(verification),
        totals=totals(b.stats, a.stats, report.latency if report else None),
        operators=operators(b.stats, a.stats),
        refused=by_rule(report.refusals if report else ()),
        verification=verification,
        command=known.command,
    )


def _weigh(model: ModelProto) -> ModelInfo:
    # To show a report needs nothing of the optimizer; this does.
    from onnxac.planning.statistics import foreign_info

    return foreign_info(model)


def _headline(before: int, after: int, report: Report | None) -> str:
    if report is not None and not report.changed:
        return f"{numbers.plural(before, 'node')}, nothing to merge."
    if before == after:
        return f"{numbers.plural(before, 'node')} before and after."
    return f"{numbers.plural(before, 'node')} → {numbers.count(after)}."
