"""Pages that code writes: the rules, the options of each command, and what onnxac exports."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

import onnxac
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


def api() -> Iterator[str]:
    """All exported names, functions first, as autodoc is asked for them."""
    exported = {name: getattr(onnxac, name) for name in onnxac.__all__}
    for name in sorted(exported, key=lambda n: (inspect.isclass(exported[n]), n)):
        is_class = inspect.isclass(exported[name])
        kind = "exception" if is_class and issubclass(exported[name], Exception) else "class"
        members = "\n   :members:" if is_class else ""
        what = kind if is_class else "function"
        yield f"```{{eval-rst}}\n.. auto{what}:: onnxac.{name}{members}\n```"


class Made(SphinxDirective):
    """A page's part, made of Markdown that code wrote."""

    def run(self) -> list[nodes.Node]:
        """Parse the text where the directive stands, its headings too."""
        made = {"rules": rules, "options": options, "api": api}[self.name]
        self.content = StringList("\n\n".join(made()).splitlines(), self.name)
        return self.parse_content_to_nodes(allow_section_headings=True)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    for name in ("rules", "options", "api"):
        app.add_directive(name, Made)
    return {"parallel_read_safe": True}
