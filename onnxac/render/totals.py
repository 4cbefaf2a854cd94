"""The table before/after, for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.table import Table
from rich.text import Text

from onnxac.render import numbers
from onnxac.render.words import milliseconds, one_line
from onnxac.report import GraphStats, Latency, Report

# What the talk is about is told first; exporters surround it with dozens of other types.
_FIRST = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "Add")
OPERATORS_SHOWN = 10


def totals(report: Report, details: bool) -> Table:
    """Nodes, operator types that changed, parameters, bytes, multiply-adds, latency."""
    before, after = report.before.stats, report.after.stats
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("")
    for heading in ("before", "after", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    row(table, "Nodes", before.nodes, after.nodes, numbers.count)
    changed = list(changed_operators(before, after))
    shown = changed if details else changed[:OPERATORS_SHOWN]
    for op, old, new in shown:
        _operator_row(table, one_line(op, 40), old, new)
    hidden = changed[len(shown) :]
    if hidden:
        old, new = sum(c[1] for c in hidden), sum(c[2] for c in hidden)
        _operator_row(table, numbers.plural(len(hidden), "further type"), old, new)
    row(table, "Parameters", before.parameters, after.parameters, numbers.short)
    row(table, "Size", before.bytes, after.bytes, numbers.size)
    if before.macs is not None and after.macs is not None:
        row(table, macs_label(before), before.macs, after.macs, numbers.short)
    if report.latency is not None:
        latency_row(table, report.latency)
    return table


def changed_operators(before: GraphStats, after: GraphStats) -> Iterator[tuple[str, int, int]]:
    """Operator types whose number changed: those with weights, then the largest change first."""
    names = sorted(before.ops.keys() | after.ops.keys())
    counts = ((op, before.ops.get(op, 0), after.ops.get(op, 0)) for op in names)
    changed = (c for c in counts if c[1] != c[2])
    yield from sorted(changed, key=lambda c: (c[0] not in _FIRST, -abs(c[1] - c[2])))


def macs_label(stats: GraphStats) -> str:
    """Multiply-adds depend on sizes that may be open; then it says which were assumed."""
    size = stats.nominal_size
    return "Multiply-adds" if size is None else f"Multiply-adds (free sizes: {size})"


def row(table: Table, label: str, before: int, after: int, text: Callable[[int], str]) -> None:
    """One quantity."""
    change = Text(numbers.percent(before, after), _style(before, after))
    table.add_row(label, text(before), Text(text(after), "bold"), change)


def latency_row(table: Table, latency: Latency) -> None:
    """The medians; ratios above 1 are a speedup."""
    style = _style(latency.before_ms, latency.after_ms)
    table.add_row(
        "Latency",
        milliseconds(latency.before_ms),
        Text(milliseconds(latency.after_ms), "bold"),
        Text(f"{latency.ratio:.2f}× as fast", style),
    )


def _operator_row(table: Table, label: str, before: int, after: int) -> None:
    counts = (Text(numbers.count(n), "dim") for n in (before, after))
    change = Text(numbers.difference(before, after), _style(before, after))
    table.add_row(Text(f"  {label}", "dim"), *counts, change)


def _style(before: float, after: float) -> str:
    return "dim" if before == after else "green" if after < before else "yellow"
