"""What was equalized, for the terminal: one line per group of channels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from onnxac.render import numbers
from onnxac.render.columns import Column, Columns, item
from onnxac.render.words import node_name
from onnxac.report import Equalization, NodeRef, Report

SHOWN = 20


def headline(report: Report, verb: str = "Equalized") -> str:
    """How much was equalized, and by what: Equalized 3 groups of channels, by powers of two."""
    changes = report.equalizations
    powers = all(c.powers for c in changes)
    how = "by powers of two: equal to the bit" if powers else "by exact factors"
    return f"{verb} {numbers.plural(len(changes), 'group')} of channels, {how}"


def equalized(report: Report, details: bool, verb: str = "Equalized") -> Iterator[RenderableType]:
    """A line for each group: its channels, the factors, and between which nodes."""
    changes = report.equalizations
    if not changes:
        return
    yield Text()
    yield Text(headline(report, verb), "bold")
    yield Text()
    table = Columns(
        (
            Column("  channels", right=True),
            Column("factors", style="bold"),
            Column("made by", names=True),
            Column("read by", names=True, rank=1),
        )
    )
    for change in changes if details else changes[:SHOWN]:
        table.add(
            f"  {width(change)}", factors(change), names(change.makers), names(change.readers)
        )
    yield table
    if len(changes) > SHOWN and not details:
        yield item(f"and {len(changes) - SHOWN:,} more; -v shows them", "dim")


def width(change: Equalization) -> int:
    """How many channels the widest of its tensors has."""
    return max(len(t.factors) for t in change.tensors)


def factors(change: Equalization) -> str:
    """The smallest and the largest factor: 2^-3 to 2^2."""
    all_of_them = [f for t in change.tensors for f in t.factors]
    ends = min(all_of_them), max(all_of_them)
    if change.powers and all(f > 0 and math.isfinite(f) for f in ends):
        return " to ".join(f"2^{round(math.log2(f))}" for f in ends)
    return " to ".join(f"{f:.2g}" for f in ends)


def names(nodes: Sequence[NodeRef]) -> str:
    """The first of some nodes, and how many more there are."""
    more = f" and {len(nodes) - 1}" if len(nodes) > 1 else ""
    return f"{node_name(nodes[0])}{more}" if nodes else ""
