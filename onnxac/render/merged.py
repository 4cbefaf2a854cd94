"""What was merged, for the terminal: one line per operator that a fusion left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from onnxac.render import numbers
from onnxac.render.kernels import pictures
from onnxac.render.words import branches, channels, kernel, node_name, pads, title
from onnxac.report import FusedOperator, Fusion, Report

FUSIONS_SHOWN = 20


def merged(report: Report, details: bool, verb: str = "Merged") -> Iterator[RenderableType]:
    """Pictures of the commonest kernels, and a line for each fusion."""
    fusions = report.fusions
    if not report.changed:
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
    others = {
        "that computed constants, folded": report.folded,
        "that computed what another one computes, removed": report.repeated,
        "that did nothing, removed": report.idle,
    }
    for what, count in others.items():
        if count:
            yield Text(f"  and {numbers.plural(count, 'node')} {what}", "dim")


def _table(fusions: Sequence[Fusion], details: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("  nodes", justify="right", no_wrap=True)
    table.add_column("became", overflow="fold")
    table.add_column("from", overflow="fold")
    table.add_column("kernel", style="bold")
    for heading in ("channels", "pads", "group"):
        table.add_column(heading, justify="right", style="dim", no_wrap=True)
    for fusion in fusions:
        count = Text(f"  {len(fusion.removed)} → {len(fusion.added)}")
        for operator in fusion.operators:
            table.add_row(count, *_cells(operator))
            count = Text()
        if not fusion.operators:
            table.add_row(count, title(fusion), "an identity")
        if details:
            names = ", ".join(node_name(n) for n in fusion.removed)
            table.add_row("", Text(names, "dim"))
    return table


def _cells(operator: FusedOperator) -> tuple[str, ...]:
    return (
        node_name(operator.node, 44),
        branches(operator),
        kernel(operator),
        channels(operator),
        pads(operator),
        str(operator.group),
    )
