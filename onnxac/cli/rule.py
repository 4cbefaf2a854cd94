"""`onnxac rule`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

import typer

from onnxac.cli.options import Color
from onnxac.cli.screen import screen_of
from onnxac.errors import UsageError


def rule(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="As `explain` shows it; all without it.")
    ] = None,
    color: Color = True,
) -> None:
    """Say what a rule by which nodes are left alone is about, and what one can do.

    [not dim cyan]onnxac rule border[/]
    """
    screen = screen_of(context, color=color)
    from onnxac.render import rulebook

    if name is None:
        screen.show(*rulebook.contents())
        return
    known = rulebook.names()
    if name not in known:
        close = get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
        raise UsageError(f"no rule is called {name!r}; {hint}")
    screen.show(*rulebook.page(name))
