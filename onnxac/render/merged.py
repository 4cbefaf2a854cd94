"""What was merged, for the terminal: one line per operator that a fusion left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from onnxac.diff import numbers
from onnxac.render.kernels import pictures
from onnxac.render.words import branches, geometry, kernel, node_name, one_line, title
from onnxac.report import FusedOperator, Fusion, Report

FUSIONS_SHOWN = 20


def merged(report: Report, details: bool, verb: str = "Merged") -> Iterator[RenderableType]:
    """Pictures of the commonest kernels, and a line for each fusion."""
    fusions = report.fusions
    if not fusions and not report.folded:
        yield Text("Nothing to merge.", "bold")
        return
    what = numbers.plural(len(fusions), "block") if fusions else "no blocks"
    yield Text(f"{verb} {what}", "bold")
    for picture in pictures(fusions):
        yield Text()
        yield picture
    if fusions:
        yield Text()
        yield _table(fusions if details else fusions[:FUSIONS_SHOWN], details)
    if len(fusions) > FUSIONS_SHOWN and not details:
        yield Text(f"  and {len(fusions) - FUSIONS_SHOWN:,} more; -v shows them", "dim")
    if report.folded:
        nodes = numbers.plural(report.folded, "node")
        yield Text(f"  and {nodes} that computed constants, folded", "dim")


def _table(fusions: Sequence[Fusion], details: bool) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for fusion in fusions:
        count = Text.assemble(
            f"  {len(fusion.removed)} → ", (str(len(fusion.added)), "bold green")
        )
        rows = [(title(fusion), Text("gone: it computed nothing", "dim"))]
        if fusion.operators:
            rows = [(node_name(o.node), _operator(o)) for o in fusion.operators]
        for name, what in rows:
            table.add_row(count, name, what)
            count = Text()
        if details:
            table.add_row("", Text(_names(fusion), "dim"), "")
    return table


def _operator(operator: FusedOperator) -> Text:
    return Text.assemble(
        f"{branches(operator)} = ",
        (kernel(operator), "bold"),
        (f", {geometry(operator)}", "dim"),
    )


def _names(fusion: Fusion) -> str:
    return ", ".join(f"{node_name(n)} ({one_line(n.op, 30)})" for n in fusion.removed)
