"""The whole of a report for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from onnxac.render.equalized import equalized
from onnxac.render.merged import merged
from onnxac.render.proof import proof
from onnxac.render.ranges import ranges
from onnxac.render.refused import refused
from onnxac.render.safe import one_line
from onnxac.render.totals import table
from onnxac.report import Report

STDIO = "-"


def told(
    report: Report, source: str, target: str | None, details: bool, verb: str = "Optimized"
) -> Iterator[RenderableType]:
    """What `optimize` did: totals, what was merged, what was left alone, the proof."""
    line = Text.assemble((f"{verb} ", "dim"), _file(source, "standard input"))
    if target is not None:
        line.append(" → ", "dim").append(_file(target, "standard output"), "bold")
    yield line
    yield Text()
    yield table(report.before.stats, report.after.stats, report.latency, details)
    yield Text()
    yield from merged(report, details)
    yield from equalized(report, details)
    yield from ranges(report)
    yield Text()
    left = list(refused(report.refusals, details))
    if left:
        yield from left
        yield Text()
    yield from proof(report.verification, details)


def _file(path: str, standard: str) -> str:
    return standard if path == STDIO else one_line(path)
