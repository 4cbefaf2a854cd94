"""How far the results of two models are apart, for the terminal."""

from __future__ import annotations

from rich.text import Text

from onnxac.render.safe import one_line
from onnxac.render.verdict import difference, verdict
from onnxac.report import Verification

STYLES = {"equal": "bold green", "differs": "bold red", "unknown": "bold yellow"}


def proof(verification: Verification | None, details: bool) -> list[Text]:
    """The verdict, what was not compared, and with `details` each output and each size."""
    found = verdict(verification)
    lines = [Text.assemble((f"{found.mark} ", STYLES[found.state]), (found.sentence, "bold"))]
    if verification is None:
        return lines
    lines += [Text(f"  {one_line(note)}", "yellow") for note in verification.skipped]
    if details:
        lines.append(Text(f"  in {one_line(verification.runtime)}", "dim"))
        for output in verification.outputs:
            lines.append(Text(f"  output {one_line(output.name)}: off by {difference(output)}"))
        for shapes in verification.shapes:
            sizes = ", ".join(f"{one_line(n)} {list(s)}" for n, s in shapes.items())
            lines.append(Text(f"  at {sizes}", "dim"))
    return lines
