"""What `check` found, in each form that is asked for, and where each of them goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxac.cli.options import STDIO
from onnxac.cli.outputs import identity
from onnxac.cli.screen import Screen
from onnxac.errors import UsageError
from onnxac.storage.disk import check_text, write_text

if TYPE_CHECKING:
    from onnxac.gate import Finding

TEXT = "text"
# What `onnxac.render.gate` writes; named here, because help has to be there at once.
KNOWN = (TEXT, "json", "github", "gitlab", "junit", "sarif")

FormatOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FORMAT[=FILE]",
        help="text, json, github (annotations), gitlab (code quality), junit (test cases) or "
        "sarif (code scanning), into FILE or printed. Repeatable.",
    ),
]


def places(wanted: Sequence[str], models: Sequence[str]) -> dict[str, str]:
    """What to write where: place → format. `-` is standard output, text if nothing else is.

    Raises UsageError or OutputError before anything is looked at: where a format is not
    known, where a place is named twice or is a model, or where it can't be written to.
    """
    found: dict[str, str] = {}
    taken = {identity(model): "a model" for model in models if model != STDIO}
    for text in wanted:
        form, named, file = text.partition("=")
        if form not in KNOWN or (named and not file):
            raise UsageError(
                f"'--format' {text}: has to be FORMAT or FORMAT=FILE, "
                f"with FORMAT one of {', '.join(KNOWN)}"
            )
        place = file or STDIO
        if identity(place) in taken:
            who = taken[identity(place)]
            raise UsageError(f"'--format' {text}: its place is {who} too; name another FILE")
        taken[identity(place)] = f"that of {form}"
        if place != STDIO:
            check_text(Path(place))
        found[place] = form
    return found if STDIO in found else found | {STDIO: TEXT}


def write(screen: Screen, findings: Sequence[Finding], wanted: Mapping[str, str]) -> None:
    """Write the findings to all places. People are told them in any case; not with -q."""
    from onnxac.render.gate import FORMATS, marked, to_text

    printed = wanted[STDIO]
    # What is for machines goes on, as a rule; whoever reads the log wants to see it as well.
    screen.stdout_is_taken = printed != TEXT
    # A line per model, for grep as well.
    screen.show(marked(to_text(findings)), wrap=False)
    for place, form in wanted.items():
        if place != STDIO:
            write_text(Path(place), FORMATS[form](findings))
    if printed != TEXT:
        screen.write(FORMATS[printed](findings))
