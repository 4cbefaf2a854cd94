"""Pages that are made of what the command prints: the rules, and the options of each command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from onnxac.cli import app as command
from onnxac.render import rulebook


def rules() -> Iterator[str]:
    """All rules, each with its text."""
    for name in rulebook.names():
        yield f"## {name}"
        yield from rulebook.paragraphs(name)


def options() -> Iterator[str]:
    """All commands, each with its arguments and options."""
    for name, one in typer.main.get_command(command).commands.items():  # type: ignore[attr-defined]
        yield f"### onnxac {name}"
        first, *_ = (one.help or "").split("\n\n")
        yield first
        rows = [row for row in map(_row, one.params) if row]
        yield "\n".join(["| | |", "|---|---|", *rows])


def _row(parameter: Any) -> str:
    text = getattr(parameter, "help", None)
    if not text or getattr(parameter, "hidden", False):
        return ""
    is_option = parameter.param_type_name == "option"
    names = [*parameter.opts, *parameter.secondary_opts] if is_option else [parameter.metavar]
    value = f" {parameter.metavar}" if is_option and parameter.metavar else ""
    shown = ", ".join(names) + value
    return f"| `{shown}` | {text.replace('|', chr(92) + '|')} |"


class Made(SphinxDirective):
    """A page's part, made of Markdown that code wrote."""

    def run(self) -> list[nodes.Node]:
        """Parse the text where the directive stands, its headings too."""
        made = {"rules": rules, "options": options}[self.name]
        self.content = StringList("\n\n".join(made()).splitlines(), self.name)
        return self.parse_content_to_nodes(allow_section_headings=True)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    for name in ("rules", "options"):
        app.add_directive(name, Made)
    return {"parallel_read_safe": True}
