"""The latency of two models, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from onnxac.render import numbers
from onnxac.render.columns import Column, Columns
from onnxac.render.safe import one_line
from onnxac.render.words import milliseconds
from onnxac.report import Latency

BAR = 30


def latency(found: Latency, before: str, after: str) -> Iterator[RenderableType]:
    """Medians with their spread and as bars, and the ratio in a sentence."""
    table = Columns(
        (
            Column(""),
            Column("", names=True),
            Column("median", right=True, rank=1),
            Column("spread", right=True, rank=2),
            Column("", rank=3, minor=True),
        )
    )
    longest = max(found.before_ms, found.after_ms)
    for side, path, median, spread, style in (
        ("before", before, found.before_ms, found.before_spread_ms, "yellow"),
        ("after", after, found.after_ms, found.after_spread_ms, "green"),
    ):
        bar = Text("━" * max(1, round(BAR * median / longest)), style)
        times = Text(milliseconds(median)), Text(milliseconds(spread))
        table.add(Text(side, "dim"), one_line(path), *times, bar)
    yield table
    yield Text()
    threads = numbers.plural(found.threads, "thread") if found.threads else "threads as it likes"
    yield Text.assemble(
        (f"{comparison(found)} ", "bold"),
        (f"({numbers.plural(found.runs, 'run')} each, {threads}, {found.provider})", "dim"),
    )


def comparison(found: Latency) -> str:
    """Which is faster, or that the spread does not tell."""
    apart = abs(found.before_ms - found.after_ms)
    if apart <= max(found.before_spread_ms, found.after_spread_ms) / 2:
        return f"No difference that the spread leaves room for: {found.ratio:.2f}×."
    if found.ratio >= 1:
        return f"{found.ratio:.2f}× as fast."
    return f"{1 / found.ratio:.2f}× as slow."
