"""The report as Markdown, for the summary of a pipeline's run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath

from onnxac.render import numbers
from onnxac.render.proof import sentence
from onnxac.render.totals import changed_operators, macs_label
from onnxac.render.words import (
    branches,
    channels,
    kernel,
    milliseconds,
    node_name,
    one_line,
    pads,
    title,
)
from onnxac.report import Fusion, Report
from onnxac.report.refusals import grouped

FUSIONS_SHOWN, GROUPS_SHOWN = 100, 20

# What could start an element, a link, an emphasis or a cell of a table.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~@$&-])")


def to_markdown(report: Report, limit: int | None = None) -> str:
    """Totals, then the rest behind folds; cut between lines where it is over `limit` bytes."""
    lines = [*_head(report), *_totals(report), *_merged(report), *_left_alone(report)]
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
    if report.verification is None:
        yield "Not verified, as asked."
    else:
        mark = "✅" if report.verification.passed else "❌"
        yield f"{mark} {sentence(report.verification)} ({escape(report.verification.runtime)})"
    yield ""


def _totals(report: Report) -> Iterator[str]:
    before, after = report.before.stats, report.after.stats
    yield "| | Before | After | |"
    yield "|---|---:|---:|---:|"
    yield _row("**Nodes**", before.nodes, after.nodes, numbers.count)
    for op, old, new in changed_operators(before, after):
        yield f"| {escape(op)} | {old:,} | {new:,} | {numbers.difference(old, new)} |"
    yield _row("**Parameters**", before.parameters, after.parameters, numbers.short)
    yield _row("**Size**", before.bytes, after.bytes, numbers.size)
    if before.macs is not None and after.macs is not None:
        yield _row(f"**{macs_label(before)}**", before.macs, after.macs, numbers.short)
    if report.latency is not None:
        yield (
            f"| **Latency** | {milliseconds(report.latency.before_ms)} "
            f"| {milliseconds(report.latency.after_ms)} | {report.latency.ratio:.2f}× as fast |"
        )
    yield ""


def _merged(report: Report) -> Iterator[str]:
    if not report.fusions:
        return
    shown = report.fusions[:FUSIONS_SHOWN]
    lines = ["| Nodes | Became | From | Kernel | Channels | Pads | Group |", f"|{'---|' * 7}"]
    lines += [row for fusion in shown for row in _fusion(fusion)]
    hidden = len(report.fusions) - len(shown)
    lines += [f"\nand {hidden:,} more"] if hidden else []
    yield from _fold(f"Merged {numbers.plural(len(report.fusions), 'block')}", lines)


def _fusion(fusion: Fusion) -> Iterator[str]:
    count = f"{len(fusion.removed)} → {len(fusion.added)}"
    for o in fusion.operators:
        cells = (branches(o), kernel(o), channels(o), pads(o), str(o.group))
        yield f"| {count} | {_code(node_name(o.node))} | {' | '.join(map(escape, cells))} |"
        count = ""
    if not fusion.operators:
        yield f"| {count} | {_code(title(fusion))} | an identity | | | | |"


def _left_alone(report: Report) -> Iterator[str]:
    if report.refusals:
        groups = grouped(report.refusals)[:GROUPS_SHOWN]
        lines = ["| | Why | Rule |", "|---:|---|---|"]
        lines += [f"| {len(g.nodes):,} | {escape(g.reason)} | {g.rule} |" for g in groups]
        count = numbers.plural(len(report.refusals), "candidate")
        yield from _fold(f"Left alone: {count}", lines)


def _fold(summary: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"<details><summary>{summary}</summary>"
    yield ""
    yield from lines
    yield ""
    yield "</details>"
    yield ""


def _row(label: str, before: int, after: int, text: Callable[[int], str]) -> str:
    change = numbers.percent(before, after)
    return f"| {label} | {text(before)} | {text(after)} | {change} |"
