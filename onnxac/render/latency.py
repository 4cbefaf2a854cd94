"""The latency of two models, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from onnxac.render import numbers
from onnxac.render.words import milliseconds, one_line
from onnxac.report import Latency

BAR = 30


def latency(found: Latency, before: str, after: str) -> Iterator[RenderableType]:
    """Medians with their spread and as bars, and the ratio in a sentence."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("", overflow="fold")
    table.add_column("median", justify="right", no_wrap=True)
    table.add_column("spread", justify="right", no_wrap=True)
    table.add_column("")
    longest = max(found.before_ms, found.after_ms)
    for path, median, spread, style in (
        (before, found.before_ms, found.before_spread_ms, "yellow"),
        (after, found.after_ms, found.after_spread_ms, "green"),
    ):
        bar = Text("━" * max(1, round(BAR * median / longest)), style)
        table.add_row(one_line(path, 50), milliseconds(median), milliseconds(spread), bar)
    yield table
    yield Text()
    threads = numbers.plural(found.threads, "thread") if found.threads else "threads as it likes"
    yield Text.assemble(
        (f"{verdict(found)} ", "bold"),
        (f"({numbers.plural(found.runs, 'run')} each, {threads}, {found.provider})", "dim"),
    )


def verdict(found: Latency) -> str:
    """Which is faster, or that the spread does not tell."""
    apart = abs(found.before_ms - found.after_ms)
    if apart <= max(found.before_spread_ms, found.after_spread_ms) / 2:
        return f"No difference that the spread leaves room for: {found.ratio:.2f}×."
    if found.ratio >= 1:
        return f"{found.ratio:.2f}× as fast."
    return f"{1 / found.ratio:.2f}× as slow."
