"""What was shown of each change, for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.text import Text

from onnxac.render import numbers
from onnxac.render.columns import Entry
from onnxac.render.safe import one_line
from onnxac.report import FAILS, HOLDS, Certificate, CertifiedSource, Change

_MARKS = {HOLDS: ("✓", "bold green"), FAILS: ("✗", "bold red")}
_OPEN = ("?", "bold yellow")


def verdict(found: Sequence[Certificate]) -> str:
    """All certificates in one line: 12 of 14 changes hold, 1 fails, 1 is open."""
    holding = sum(c.holds for c in found)
    failing = sum(c.verdict == FAILS for c in found)
    rest = len(found) - holding - failing
    parts = [f"{holding:,} of {numbers.plural(len(found), 'change')} certified"]
    parts += [f"{failing:,} wrong"] if failing else []
    parts += [f"{rest:,} not judged"] if rest else []
    return ", ".join(parts)


def sentence(certificate: Certificate) -> str:
    """What one certificate says, in a line."""
    if certificate.reason is not None:
        return certificate.reason
    parts = [f"{certificate.entries:,} entries, the worst at {100 * certificate.worst:.0f} %"]
    parts[0] += " of what rounding may do"
    if certificate.false_pass > 0:
        parts.append(
            f"a wrong border passes with 2^{math.log2(certificate.false_pass):.0f} at most"
        )
    parts += [sizes(s) for s in certificate.sources]
    return "; ".join(parts)


def sizes(source: CertifiedSource) -> str:
    """For which sizes of a source it holds: input [any, 8, 5 and more, 5 and more]."""
    shape = source.shapes[0] if source.shapes else ()
    axes = [
        f"{tried}" if least is None else "any" if least == 1 else f"{least} and more"
        for tried, least in zip(shape, source.least, strict=False)
    ]
    return f"{one_line(source.name)} [{', '.join(axes)}]"


def marked(certificate: Certificate, indent: str = "  ") -> Text:
    """One certificate in a line, with its mark."""
    mark, style = _MARKS.get(certificate.verdict, _OPEN)
    return Text.assemble((f"{indent}{mark} ", style), one_line(sentence(certificate)))


def certificates(
    changes: Iterable[Change], found: Sequence[Certificate], details: bool
) -> list[RenderableType]:
    """The verdict, and a line for each change that does not hold; with `details`, for all."""
    failing = any(c.verdict == FAILS for c in found)
    good = all(c.holds for c in found)
    mark, style = _MARKS[FAILS] if failing else _MARKS[HOLDS] if good else _OPEN
    lines: list[RenderableType] = [Entry(Text(f"{mark} ", style), Text(verdict(found), "bold"))]
    for change, certificate in zip(changes, found, strict=True):
        if details or not certificate.holds:
            mark, style = _MARKS.get(certificate.verdict, _OPEN)
            said = f"{one_line(change.key)}: {one_line(sentence(certificate))}"
            lines.append(Entry(Text(f"  {mark} ", style), Text(said)))
    return lines
