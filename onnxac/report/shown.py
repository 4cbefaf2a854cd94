"""How a report shows itself: printed, in a notebook, as a file, as a table.

The forms are made by the rooms that make them for the command, which import this one; so they are
loaded when a report is shown, and by nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxac.errors import MissingExtraError, UsageError
from onnxac.report.fleet import FleetReport

if TYPE_CHECKING:
    from onnxac.report import Report, Verification

Place = str | os.PathLike[str]


def text_of(report: Report | Verification | FleetReport) -> str:
    """What the command shows of it."""
    from onnxac.render import fleet, proof, terminal
    from onnxac.render.plain import as_text
    from onnxac.report import Verification

    if isinstance(report, FleetReport):
        return as_text(fleet.told(report, details=False))
    if isinstance(report, Verification):
        return as_text(proof.proof(report, details=False))
    source = report.before.path or "a model"
    return as_text(terminal.told(report, source, report.after.path, details=False))


def line_of(report: Report) -> str:
    """Nodes, blocks and the verdict."""
    from onnxac.render.numbers import plural
    from onnxac.render.verdict import verdict

    before, after = report.before.stats.nodes, report.after.stats.nodes
    blocks = plural(len(report.fusions), "block")
    return f"{before} → {after} nodes, {blocks} merged, {verdict(report.verification).short}"


def html_of(report: Report) -> str:
    """The page without graphs, in a frame."""
    from onnxac.page.static import framed_report

    return framed_report(report)


def save(report: Report, place: Place) -> None:
    """Write the report in the form that the name ends with.

    .json is described by `report.schema.json`, .md is Markdown, .html the page without graphs,
    .txt what the command shows. Raises UsageError for another, OutputError where it can't be
    written.
    """
    from onnxac.page.static import static_page
    from onnxac.render.document import to_json
    from onnxac.render.markdown import to_markdown
    from onnxac.storage.disk import write_text

    forms: dict[str, Callable[[Report], str]] = {
        ".json": to_json,
        ".md": to_markdown,
        ".html": static_page,
        ".txt": lambda shown: f"{text_of(shown)}\n",
    }
    path = Path(place)
    if path.suffix not in forms:
        raise UsageError(f"{path}: a report is saved as {', '.join(forms)}")
    write_text(path, forms[path.suffix](report))


def frame_of(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Any:
    """The rows as a pandas.DataFrame. Raises MissingExtraError where pandas is not installed."""
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise MissingExtraError("pandas is not installed; pip install pandas") from error
    return pandas.DataFrame(rows, columns=list(columns))


FUSION_COLUMNS = (
    "output",
    "nodes_before",
    "nodes_after",
    "became",
    "macs_before",
    "macs_after",
    "certificate",
)
MODEL_COLUMNS = (
    "source",
    "target",
    "state",
    "message",
    "nodes_before",
    "nodes_after",
    "bytes_before",
    "bytes_after",
    "seconds",
)


def fusion_rows(report: Report) -> list[dict[str, Any]]:
    """A row for each fusion."""
    return [
        {
            "output": f.output,
            "nodes_before": len(f.removed),
            "nodes_after": len(f.added),
            "became": ", ".join(n.op for n in f.added),
            "macs_before": f.macs_before,
            "macs_after": f.macs_after,
            "certificate": None if f.certificate is None else f.certificate.verdict,
        }
        for f in report.fusions
    ]


def model_rows(report: FleetReport) -> list[dict[str, Any]]:
    """A row for each model."""
    rows = []
    for o in report.outcomes:
        row: dict[str, Any] = {name: getattr(o, name, None) for name in MODEL_COLUMNS}
        if o.report is not None:
            before, after = o.report.before.stats, o.report.after.stats
            row |= {"nodes_before": before.nodes, "nodes_after": after.nodes}
            row |= {"bytes_before": before.bytes, "bytes_after": after.bytes}
        rows.append(row)
    return rows
