"""What both renderings tell, worked out once: totals, operators, verdict, refusals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from onnx import ModelProto

from onnxac.render import numbers
from onnxac.report import GraphStats, Latency, ModelInfo, Report, Verification
from onnxac.report.refusals import Group, grouped

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
class Total:
    """One quantity before and after, as text and as numbers."""

    label: str
    before: float
    after: float
    before_text: str
    after_text: str

    @property
    def delta(self) -> str:
        """The change in percent."""
        return numbers.percent(self.before, self.after)


@dataclass(frozen=True)
class Verdict:
    """Whether the models compute the same. `state` is "equal", "differs" or "unknown"."""

    state: str
    headline: str
    detail: str


@dataclass(frozen=True)
class Facts:
    """Everything that is shown, in the order in which it is shown."""

    report: Report | None
    before: ModelInfo
    after: ModelInfo
    matching: Matching
    nodes: tuple[int, int]
    headline: str
    verdict: Verdict
    totals: tuple[Total, ...]
    operators: tuple[tuple[str, int, int], ...]
    refused: tuple[Group, ...]
    verification: Verification | None
    command: str | None


def gather(before: ModelProto, after: ModelProto, known: Known) -> Facts:
    """The facts about two models; whatever is not known is left out."""
    report = known.report
    before_info = known.before or (report.before if report else _weigh(before))
    after_info = known.after or (report.after if report else _weigh(after))
    verification = known.verification or (report.verification if report else None)
    counts = len(before.graph.node), len(after.graph.node)
    return Facts(
        report=report,
        before=before_info,
        after=after_info,
        matching=match(before, after, report),
        nodes=counts,
        headline=_headline(counts, report),
        verdict=_verdict(verification),
        totals=_totals(
            counts, before_info.stats, after_info.stats, report.latency if report else None
        ),
        operators=_operators(before, after),
        refused=tuple(grouped(report.refusals if report else ())),
        verification=verification,
        command=known.command,
    )


def _weigh(model: ModelProto) -> ModelInfo:
    # To show a report needs nothing of the optimizer; this does.
    from onnxac.planning.statistics import foreign_info

    return foreign_info(model)


def _headline(counts: tuple[int, int], report: Report | None) -> str:
    b, a = counts
    if report is not None and not report.changed:
        return f"{numbers.plural(b, 'node')}, nothing to merge."
    if b == a:
        return f"{numbers.plural(b, 'node')} before and after."
    return f"{numbers.plural(b, 'node')} → {numbers.count(a)}."


def _verdict(verification: Verification | None) -> Verdict:
    worst = verification.worst if verification else None
    if verification is None or worst is None:
        return Verdict(
            "unknown", "Not verified.", "The two models were not run against each other."
        )
    runs = numbers.plural(verification.runs, "run")
    how = f"{verification.runtime}; {runs}."
    if not verification.passed:
        off = numbers.magnitude(worst.relative)
        allowed = numbers.magnitude(worst.tolerance)
        return Verdict("differs", f"The result differs by {off}, {allowed} is allowed.", how)
    if all(o.max_abs == 0 for o in verification.outputs):
        return Verdict("equal", "Same result, to the bit.", how)
    largest = max(o.relative for o in verification.outputs)
    detail = f"{how} Relative to the largest value of each output."
    return Verdict("equal", f"Same result within {numbers.magnitude(largest)}.", detail)


def _totals(
    nodes: tuple[int, int], b: GraphStats, a: GraphStats, latency: Latency | None
) -> tuple[Total, ...]:
    totals = [
        _total("Nodes", *nodes, numbers.count),
        _total("Parameters", b.parameters, a.parameters, numbers.short),
        _total("Size", b.bytes, a.bytes, numbers.size),
    ]
    if b.macs is not None and a.macs is not None:
        at = f" at size {b.nominal_size}" if b.nominal_size is not None else ""
        totals.append(_total(f"Multiply-adds{at}", b.macs, a.macs, numbers.short))
    if latency is not None:
        b_ms, a_ms = latency.before_ms, latency.after_ms
        totals.append(Total("Latency", b_ms, a_ms, f"{b_ms:.3g} ms", f"{a_ms:.3g} ms"))
    return tuple(totals)


def _total(label: str, before: int, after: int, text: Callable[[int], str]) -> Total:
    return Total(label, before, after, text(before), text(after))


def _operators(before: ModelProto, after: ModelProto) -> tuple[tuple[str, int, int], ...]:
    b = Counter(_operator(n.domain, n.op_type) for n in before.graph.node)
    a = Counter(_operator(n.domain, n.op_type) for n in after.graph.node)
    rows = ((op, b[op], a[op]) for op in b.keys() | a.keys())
    return tuple(sorted(rows, key=lambda r: (-abs(r[1] - r[2]), -max(r[1:]), r[0])))


def _operator(domain: str, op_type: str) -> str:
    return op_type if domain in ("", "ai.onnx") else f"{domain}.{op_type}"
