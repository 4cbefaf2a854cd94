"""What a model weighs before and after: the same figures in every form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.text import Text

from onnxac.render import numbers
from onnxac.render.columns import Column, Columns
from onnxac.render.words import milliseconds, operator_type
from onnxac.report import GraphStats, Latency

# What the talk is about is told first; exporters surround it with dozens of other types.
_FIRST = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "Add")
OPERATORS_SHOWN = 10


@dataclass(frozen=True)
class Total:
    """One quantity before and after, as numbers and as text."""

    label: str
    before: float
    after: float
    before_text: str
    after_text: str
    change: str

    @property
    def trend(self) -> str:
        """Which way it went: same, less or more."""
        if self.before == self.after:
            return "same"
        return "less" if self.after < self.before else "more"


def totals(before: GraphStats, after: GraphStats, latency: Latency | None) -> list[Total]:
    """Nodes, parameters, bytes, and what is known of multiply-adds and latency."""
    found = [
        _total("Nodes", before.nodes, after.nodes, numbers.count),
        _total("Parameters", before.parameters, after.parameters, numbers.short),
        _total("Size", before.bytes, after.bytes, numbers.size),
    ]
    if before.macs is not None and after.macs is not None:
        # They depend on sizes that may be open; then it says which were assumed.
        size = before.nominal_size
        label = "Multiply-adds" if size is None else f"Multiply-adds (free sizes: {size})"
        found.append(_total(label, before.macs, after.macs, numbers.short))
    if latency is not None:
        texts = milliseconds(latency.before_ms), milliseconds(latency.after_ms)
        ratio = f"{latency.ratio:.2f}× as fast"
        found.append(Total("Latency", latency.before_ms, latency.after_ms, *texts, ratio))
    return found


def _total(label: str, before: int, after: int, text: Callable[[int], str]) -> Total:
    change = numbers.percent(before, after)
    return Total(label, before, after, text(before), text(after), change)


def operators(before: GraphStats, after: GraphStats) -> list[Total]:
    """Operator types: those that changed first, and of these the ones with weights."""
    names = before.ops.keys() | after.ops.keys()
    counts = [(op, before.ops.get(op, 0), after.ops.get(op, 0)) for op in sorted(names)]
    counts.sort(key=lambda c: (c[1] == c[2], c[0] not in _FIRST, -abs(c[1] - c[2]), -c[1]))
    return [
        Total(op, old, new, numbers.count(old), numbers.count(new), numbers.difference(old, new))
        for op, old, new in counts
    ]


def table(before: GraphStats, after: GraphStats, latency: Latency | None, details: bool) -> Columns:
    """The totals, and the operator types that changed, for the terminal."""
    first, *others = totals(before, after, latency)
    changed = [t for t in operators(before, after) if t.trend != "same"]
    shown = changed if details else changed[:OPERATORS_SHOWN]
    figures = Column("before", right=True, rank=1), Column("after", right=True, rank=1)
    columns = Columns(
        (Column("", names=True), *figures, Column("", right=True, rank=2, minor=True))
    )
    for total in (first, *_indented(shown), *_hidden(changed[len(shown) :]), *others):
        is_operator = total.label.startswith(" ")
        columns.add(
            total.label,
            Text(total.before_text, "dim" if is_operator else ""),
            Text(total.after_text, "dim" if is_operator else "bold"),
            Text(total.change, {"same": "dim", "less": "green", "more": "yellow"}[total.trend]),
        )
    return columns


def _indented(operators: list[Total]) -> Iterator[Total]:
    for t in operators:
        label = f"  {operator_type(t.label)}"
        yield Total(label, t.before, t.after, t.before_text, t.after_text, t.change)


def _hidden(operators: list[Total]) -> Iterator[Total]:
    if operators:
        old, new = int(sum(t.before for t in operators)), int(sum(t.after for t in operators))
        label = f"  {numbers.plural(len(operators), 'further type')}"
        texts = numbers.count(old), numbers.count(new), numbers.difference(old, new)
        yield Total(label, old, new, *texts)
