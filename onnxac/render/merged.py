"""What was merged, for the terminal: one line per operator that a fusion left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from onnxac.render import numbers
from onnxac.render.columns import Column, Columns, item
from onnxac.render.kernels import pictures
from onnxac.render.safe import one_line
from onnxac.render.words import (
    branches,
    changed,
    channels,
    kernel,
    milliseconds,
    node_name,
    pads,
    title,
    within,
)
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
        yield item(f"and {len(fusions) - FUSIONS_SHOWN:,} more; -v shows them", "dim")
    for place, count in Counter(f.place for f in fusions if f.place).items():
        yield item(f"{numbers.plural(count, 'block')}{within([place])}", "dim")
    yield from (item(line, "dim") for line in timed(fusions))
    yield from (item(f"and {line}", "dim") for line in others(report))


def timed(fusions: Sequence[Fusion]) -> Iterator[str]:
    """What was measured of them, added up: timed 3 blocks: 1.2 ms → 0.8 ms."""
    times = [f.timing for f in fusions if f.timing is not None]
    if times:
        before, after = sum(t.before_ms for t in times), sum(t.after_ms for t in times)
        blocks = numbers.plural(len(times), "block")
        yield f"timed {blocks}: {milliseconds(before)} → {milliseconds(after)}"


def others(report: Report) -> Iterator[str]:
    """What changed beside the fusions: 3 nodes that computed constants, folded."""
    for what, count in {
        "that computed constants, folded": report.folded,
        "that computed what another one computes, removed": report.repeated,
        "that did nothing, removed": report.idle,
    }.items():
        if count:
            yield f"{numbers.plural(count, 'node')} {what}"
    if report.precision:
        yield f"converted to {one_line(report.precision)}; inputs and outputs keep their types"


def _table(fusions: Sequence[Fusion], details: bool) -> Columns:
    table = Columns(
        (
            Column("  nodes", right=True),
            Column("became", names=True),
            Column("from", rank=1),
            Column("kernel", style="bold", rank=2),
            Column("channels", right=True, style="dim", rank=3),
            Column("pads", right=True, style="dim", rank=4, minor=True),
            Column("group", right=True, style="dim", rank=5, minor=True),
        )
    )
    for fusion in fusions:
        count = f"  {changed(fusion)}"
        for operator in fusion.operators:
            table.add(count, *_cells(operator))
            # No line begins with a name.
            count = "+"
        if not fusion.operators:
            table.add(count, one_line(title(fusion)), "an identity", "", "", "", "")
        if details:
            names = ", ".join(map(node_name, fusion.removed))
            table.rows[-1] = (table.rows[-1][0], Text(f"was {names}", "dim"))
    return table


def _cells(operator: FusedOperator) -> tuple[str, ...]:
    return (
        node_name(operator.node),
        branches(operator),
        kernel(operator),
        channels(operator),
        pads(operator),
        str(operator.group),
    )
