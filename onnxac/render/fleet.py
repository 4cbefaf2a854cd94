"""What became of many models: a table for the terminal and for Markdown, and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from onnxac.render import numbers, safe
from onnxac.render.columns import Column, Columns, Entry, item
from onnxac.render.markdown import escape
from onnxac.render.safe import one_line
from onnxac.report.fleet import FAILED, OPTIMIZED, SKIPPED, UNCHANGED, FleetReport, Outcome

ROWS_SHOWN = 40
_MARKS = {
    OPTIMIZED: ("✓", "bold green"),
    UNCHANGED: ("·", "dim"),
    SKIPPED: ("·", "dim"),
    FAILED: ("✗", "bold red"),
}
_WORDS = {UNCHANGED: "nothing to merge", SKIPPED: "done before", OPTIMIZED: "", FAILED: "failed"}


def to_json(report: FleetReport) -> str:
    """The report as `fleet.schema.json` describes it."""
    return safe.to_json(report.to_dict()) + "\n"


def told(report: FleetReport, details: bool) -> Iterator[RenderableType]:
    """A table of all models, what failed and why, and a line for all of them."""
    shown = _shown(report, details)
    table = Columns(
        (
            Column(""),
            Column("model", names=True),
            Column("nodes", right=True, rank=1),
            Column("", right=True, rank=2),
            Column("size", right=True, rank=3),
            Column("", style="dim", rank=2),
        )
    )
    for outcome in shown:
        mark, style = _MARKS[outcome.state]
        table.add(Text(mark, style), one_line(outcome.source), *_cells(outcome))
    yield table
    if len(shown) < len(report.outcomes):
        yield item(f"and {len(report.outcomes) - len(shown):,} more; -v shows them", "dim")
    yield from _remarks(report)
    yield Text()
    yield Text(sentence(report), "bold")


def _shown(report: FleetReport, details: bool) -> list[Outcome]:
    """All rows, or the failed ones and as many others as there is room for."""
    if details or len(report.outcomes) <= ROWS_SHOWN:
        return list(report.outcomes)
    room = ROWS_SHOWN - sum(o.state == FAILED for o in report.outcomes)
    others = [o for o in report.outcomes if o.state != FAILED][: max(0, room)]
    return [o for o in report.outcomes if o.state == FAILED or o in others]


def _cells(outcome: Outcome) -> tuple[str, str, str, str]:
    if outcome.report is None:
        return "", "", "", _WORDS[outcome.state]
    before, after = outcome.report.before.stats, outcome.report.after.stats
    return (
        f"{numbers.count(before.nodes)} → {numbers.count(after.nodes)}",
        numbers.percent(before.nodes, after.nodes),
        numbers.size(after.bytes),
        _WORDS[outcome.state],
    )


def _remarks(report: FleetReport) -> Iterator[RenderableType]:
    failed = [o for o in report.outcomes if o.state == FAILED]
    noted = [(o, n) for o in report.outcomes for n in o.notices]
    if failed or noted:
        yield Text()
    for outcome in failed:
        said = f"{one_line(outcome.source)}: {one_line(outcome.message)}"
        yield Entry(Text("✗ ", "bold red"), Text(said))
    # What is true of many models is told once.
    for notice, number in Counter(n for _, n in noted).items():
        times = f" ({numbers.plural(number, 'model')})" if number > 1 else ""
        yield Entry(Text("! ", "bold yellow"), Text(f"{one_line(notice)}{times}"))


def sentence(report: FleetReport) -> str:
    """All of them in a line: 12 models: 9 optimized, 2 unchanged, 1 failed, in 14.2 s."""
    states = Counter(o.state for o in report.outcomes)
    parts = [f"{states[s]:,} {s}" for s in (OPTIMIZED, UNCHANGED, SKIPPED, FAILED) if states[s]]
    models = numbers.plural(len(report.outcomes), "model")
    return f"{models}: {', '.join(parts) or 'none'}, in {report.seconds:.1f} s"


def to_markdown(report: FleetReport, limit: int | None = None) -> str:
    """The table, for the summary of a pipeline's run; the line alone where it is too long."""
    rows = ["| | Model | Nodes | | Size | |", "|---|---|---:|---:|---:|---|"]
    for outcome in report.outcomes:
        cells = (*_cells(outcome)[:3], outcome.message or _WORDS[outcome.state])
        mark = "❌" if outcome.state == FAILED else "✅" if outcome.state == OPTIMIZED else ""
        rows.append(f"| {mark} | {escape(outcome.source)} | {' | '.join(map(escape, cells))} |")
    head = f"### onnxac: {sentence(report)}\n"
    text = "\n".join((head, *rows, ""))
    return text if limit is None or len(text.encode()) <= limit else f"{head}\n"
