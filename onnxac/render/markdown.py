"""The report as Markdown, for the summary of a pipeline's run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from onnxac.render import numbers
from onnxac.render.equalized import factors, headline, names, width
from onnxac.render.merged import others, timed
from onnxac.render.ranges import headline as widest_ranges
from onnxac.render.ranges import warning
from onnxac.render.refused import by_rule
from onnxac.render.safe import one_line
from onnxac.render.totals import Total, operators, totals
from onnxac.render.verdict import DIFFERS, UNKNOWN, verdict
from onnxac.render.words import (
    branches,
    changed,
    channels,
    kernel,
    node_name,
    operator_type,
    pads,
    title,
    within,
)
from onnxac.report import EQUAL, Fusion, Report

FUSIONS_SHOWN, GROUPS_SHOWN = 100, 20
_MARKS = {EQUAL: "✅", DIFFERS: "❌", UNKNOWN: "⚠️"}

# What could start an element, a link, an emphasis or a cell of a table.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~@$&-])")


def to_markdown(report: Report, limit: int | None = None) -> str:
    """Totals, then the rest behind folds; cut between lines where it is over `limit` bytes."""
    lines = [
        *_head(report),
        *_totals(report),
        *_merged(report),
        *_equalized(report),
        *_ranges(report),
        *_left_alone(report),
    ]
    text = "\n".join(lines) + "\n"
    if limit is None or len(text.encode()) <= limit:
        return text
    return "\n".join((*_head(report), *_totals(report), "The rest is too long for this place.", ""))


def escape(text: str) -> str:
    """A name from a model, as plain text."""
    return _SPECIAL.sub(r"\\\1", one_line(text))


def _code(text: str) -> str:
    """A name as code, which knows no escapes but the end of a cell."""
    return f"`{one_line(text).replace('`', 'ˋ').replace('|', '∣')}`"


def _head(report: Report) -> Iterator[str]:
    name = PurePath(report.before.path).name if report.before.path else "model"
    before, after = report.before.stats.nodes, report.after.stats.nodes
    what = f"{numbers.plural(before, 'node')} → {numbers.count(after)}"
    yield f"### onnxac: {_code(name)}, {what if report.changed else 'nothing to merge'}"
    yield ""
    found = verdict(report.verification)
    runtime = f" ({escape(report.verification.runtime)})" if report.verification else ""
    yield f"{_MARKS[found.state]} {escape(found.sentence)}{runtime}"
    yield ""


def _totals(report: Report) -> Iterator[str]:
    before, after = report.before.stats, report.after.stats
    first, *rest = totals(before, after, report.latency)
    yield "| | Before | After | |"
    yield "|---|---:|---:|---:|"
    yield _row(first, f"**{first.label}**")
    for operator in operators(before, after):
        if operator.trend != "same":
            yield _row(operator, escape(operator_type(operator.label)))
    for total in rest:
        yield _row(total, f"**{total.label}**")
    yield ""


def _merged(report: Report) -> Iterator[str]:
    yield from (f"{line}.\n" for line in (*timed(report.fusions), *others(report)))
    if not report.fusions:
        return
    shown = report.fusions[:FUSIONS_SHOWN]
    lines = ["| Nodes | Became | From | Kernel | Channels | Pads | Group |", f"|{'---|' * 7}"]
    lines += [row for fusion in shown for row in _fusion(fusion)]
    hidden = len(report.fusions) - len(shown)
    lines += [f"\nand {hidden:,} more"] if hidden else []
    yield from _fold(f"Merged {numbers.plural(len(report.fusions), 'block')}", lines)


def _fusion(fusion: Fusion) -> Iterator[str]:
    count, where = changed(fusion), escape(within([fusion.place]))
    for o in fusion.operators:
        cells = (branches(o), kernel(o), channels(o), pads(o), str(o.group))
        yield f"| {count} | {_code(node_name(o.node))}{where} | {' | '.join(map(escape, cells))} |"
        count = ""
    if not fusion.operators:
        yield f"| {count} | {_code(title(fusion))}{where} | an identity | | | | |"


def _equalized(report: Report) -> Iterator[str]:
    changes = report.equalizations
    if changes:
        lines = ["| Channels | Factors | Made by | Read by |", f"|{'---|' * 4}"]
        for change in changes[:FUSIONS_SHOWN]:
            ends = f"{_code(names(change.makers))} | {_code(names(change.readers))}"
            lines.append(f"| {width(change)} | {escape(factors(change))} | {ends} |")
        hidden = len(changes) - FUSIONS_SHOWN
        lines += [f"\nand {hidden:,} more"] if hidden > 0 else []
        yield from _fold(headline(report), lines)


def _ranges(report: Report) -> Iterator[str]:
    found = report.quantization
    if found is not None:
        lines = ["| max/rms | per channel | Weight of |", "|---:|---:|---|"]
        for weight in found.after.worst:
            widest = max(weight.channels, default=0.0)
            lines.append(f"| {weight.ratio:.3g} | {widest:.3g} | {_code(node_name(weight.node))} |")
        lines += [f"\n⚠️ {escape(warning(w))}" for w in found.widened]
        yield from _fold(escape(widest_ranges(found)), lines)


def _left_alone(report: Report) -> Iterator[str]:
    if report.refusals:
        groups = by_rule(report.refusals)[:GROUPS_SHOWN]
        lines = ["| | Why | Rule |", "|---:|---|---|"]
        lines += [f"| {len(g.nodes):,} | {escape(g.reason)} | {escape(g.rule)} |" for g in groups]
        count = numbers.plural(len(report.refusals), "candidate")
        yield from _fold(f"Left alone: {count}", lines)


def _fold(summary: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"<details><summary>{summary}</summary>"
    yield ""
    yield from lines
    yield ""
    yield "</details>"
    yield ""


def _row(total: Total, label: str) -> str:
    return f"| {label} | {total.before_text} | {total.after_text} | {total.change} |"
