"""The same content as the page, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import ModelProto
from rich.console import RenderableType
from rich.text import Text

from onnxac.render import numbers
from onnxac.render.columns import Column, Columns, item
from onnxac.render.merged import merged
from onnxac.render.proof import proof
from onnxac.render.refused import refused
from onnxac.render.safe import one_line
from onnxac.render.totals import table

from .facts import Facts
from .regions import Region, regions

REGIONS_SHOWN = 20


def draw_text(
    before: ModelProto, after: ModelProto, facts: Facts, details: bool = False
) -> Iterator[RenderableType]:
    """What became of a model: totals, what was merged or changed, the proof, the files."""
    yield Text(f"{facts.headline} {facts.verdict.headline}", "bold")
    if facts.report is None:
        yield Text(f"Nodes were matched by {facts.matching.method}.", "dim")
    yield Text()
    latency = facts.report.latency if facts.report else None
    yield table(facts.before.stats, facts.after.stats, latency, details)
    yield Text()
    if facts.report is not None:
        yield from merged(facts.report, details)
        yield Text()
        left = list(refused(facts.report.refusals, details))
        yield from [*left, Text()] if left else []
    else:
        yield from _changed(regions(facts.matching, before, after), details)
        yield Text()
    if facts.verification is not None:
        yield from [*proof(facts.verification, details), Text()]
    for side, info in (("before", facts.before), ("after", facts.after)):
        path = one_line(info.path) if info.path else "in memory"
        yield Text(f"{side} {path}, SHA-256 {info.sha256[:16]}", "dim")


def _changed(found: list[Region], details: bool) -> Iterator[RenderableType]:
    yield Text(f"Changed {numbers.count(len(found))}", "bold")
    shown = found if details else found[:REGIONS_SHOWN]
    rows = Columns((Column(""), Column("", names=True), Column("", style="dim", rank=1)))
    for region in shown:
        rows.add("  ·", one_line(region.title), f"{region.before} → {region.after}")
    if shown:
        yield rows
    if len(found) > len(shown):
        yield item(f"and {len(found) - len(shown):,} more; -v shows them", "dim")
