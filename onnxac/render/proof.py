"""How far the results of two models are apart, for the terminal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from onnxac.render.columns import Entry, item
from onnxac.render.safe import one_line
from onnxac.render.verdict import difference, verdict
from onnxac.report import Verification

# What was not compared: of an ill-conditioned network hundreds of tensors, one line each.
NOTES_SHOWN = 5

STYLES = {"equal": "bold green", "differs": "bold red", "unknown": "bold yellow"}


def proof(verification: Verification | None, details: bool) -> list[RenderableType]:
    """The verdict, what was not compared, and with `details` each output and each size."""
    found = verdict(verification)
    mark = Text(f"{found.mark} ", STYLES[found.state])
    lines: list[RenderableType] = [Entry(mark, Text(found.sentence, "bold"))]
    if verification is None:
        return lines
    notes = verification.skipped
    shown = notes if details or len(notes) <= NOTES_SHOWN else notes[: NOTES_SHOWN - 1]
    lines += [item(one_line(note), "yellow") for note in shown]
    if len(shown) < len(notes):
        lines.append(item(f"and {len(notes) - len(shown):,} more notes; -v shows them", "dim"))
    if details:
        lines.append(item(f"in {one_line(verification.runtime)}", "dim"))
        for output in verification.outputs:
            lines.append(item(f"output {one_line(output.name)}: off by {difference(output)}"))
        for shapes in verification.shapes:
            sizes = ", ".join(f"{one_line(n)} {list(s)}" for n, s in shapes.items())
            lines.append(item(f"at {sizes}", "dim"))
    return lines
