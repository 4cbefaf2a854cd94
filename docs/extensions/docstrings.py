"""Docstrings of onnxac as reStructuredText: they are written to be read in the source.

    name  what it is, in a column; the next
          line goes on

becomes a definition list, a line over hyphens a heading, and a block with lines that are set in for
any other reason is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

ENTRY = re.compile(r"(?P<names>\w+(?:, \w+)*) {2,}(?P<text>\S.*)")


def paragraphs(lines: Sequence[str]) -> Iterator[list[str]]:
    """Runs of lines between empty ones."""
    run: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            run.append(line)
        elif run:
            yield run
            run = []


def entries(lines: Sequence[str]) -> list[tuple[str, str]] | None:
    """Names with their texts, where the lines are columns of these; None where they are not."""
    found: list[tuple[str, str]] = []
    for line in lines:
        begun = ENTRY.fullmatch(line)
        if begun:
            found.append((begun["names"], begun["text"]))
        elif found and line.startswith(" "):
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
        else:
            return None
    return found


def converted(lines: Sequence[str]) -> Iterator[str]:
    """The docstring's lines as reStructuredText."""
    for run in paragraphs(lines):
        if len(run) > 1 and set(run[1]) == {"-"}:
            yield from (f"**{run[0]}**", "")
            del run[:2]
        table = entries(run)
        if table is not None:
            for names, text in table:
                yield from (f"{', '.join(f'``{n}``' for n in names.split(', '))}", f"   {text}", "")
        elif any(line.startswith(" ") for line in run):
            yield from ("::", "", *(f"   {line}" for line in run), "")
        else:
            yield from (*run, "")


def convert(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: Any) -> None:
    """Replace a docstring's lines by the converted ones."""
    lines[:] = list(converted(lines))


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", convert)
    return {"parallel_read_safe": True}
