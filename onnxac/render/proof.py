"""How far the results of two models are apart, for the terminal."""

from __future__ import annotations

from rich.text import Text

from onnxac.render import numbers
from onnxac.render.words import one_line
from onnxac.report import Verification

OUTPUTS_SHOWN = 8


def sentence(verification: Verification) -> str:
    """The verdict: equal within 3.4e-07 on every output (tolerance 9.5e-07), 5 runs."""
    worst = verification.worst
    if worst is None:
        return "nothing could be compared"
    which = "on every output" if len(verification.outputs) > 1 else "on the output"
    runs = numbers.plural(verification.runs, "run")
    if all(o.max_abs == 0 for o in verification.outputs):
        return f"equal to the bit {which}, {runs}"
    off, allowed = numbers.magnitude(worst.relative), allowance(worst.tolerance)
    verb = "equal within" if verification.passed else "different by"
    return f"{verb} {off} {which} (tolerance {allowed}), {runs}"


def proof(verification: Verification, details: bool) -> list[Text]:
    """The verdict, what was not compared, and with `details` each output and each size."""
    mark, style = ("✓", "bold green") if verification.passed else ("✗", "bold red")
    lines = [Text.assemble((f"{mark} ", style), (sentence(verification), "bold"))]
    lines += [Text(f"  {one_line(note)}", "yellow") for note in verification.skipped]
    if details:
        lines.append(Text(f"  {one_line(verification.runtime)}", "dim"))
        for output in verification.outputs:
            off, allowed = numbers.magnitude(output.relative), allowance(output.tolerance)
            name = one_line(output.name, 60)
            lines.append(Text(f"  output {name}: {off} of its largest, {allowed} allowed"))
        for shapes in verification.shapes:
            sizes = ", ".join(f"{one_line(n, 40)} {list(s)}" for n, s in shapes.items())
            lines.append(Text(f"  at {sizes}", "dim"))
    return lines


def allowance(tolerance: float) -> str:
    """A tolerance to two digits: 9.5e-7."""
    return f"{tolerance:.2g}".replace("e-0", "e-")
