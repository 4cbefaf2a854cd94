"""`onnxac check`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from onnxac.cli.options import STDIO, Color, Freeze, Keep, Quiet, Verbose
from onnxac.cli.screen import screen_of
from onnxac.cli.streams import model_from_stdin

BUDGET = "Budget"


class Format(str, Enum):
    """How the findings are printed."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    GITLAB = "gitlab"
    JUNIT = "junit"


def _limit(of: str) -> Any:
    return typer.Option(min=0, metavar="N", help=f"Most {of} allowed.", rich_help_panel=BUDGET)


Models = Annotated[
    list[Path],
    typer.Argument(metavar="MODEL...", help="Any number of .onnx files; - for standard input."),
]
FormatOption = Annotated[
    Format, typer.Option(help="github: annotations; gitlab: code quality; junit: test cases.")
]


def check(
    context: typer.Context,
    models: Models,
    format: FormatOption = Format.TEXT,
    max_nodes: Annotated[int | None, _limit("nodes")] = None,
    max_parameters: Annotated[int | None, _limit("parameters")] = None,
    max_macs: Annotated[int | None, _limit("multiply-adds of one inference")] = None,
    max_bytes: Annotated[int | None, _limit("bytes, external data included")] = None,
    keep: Keep = None,
    freeze_initializers: Freeze = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = True,
) -> None:
    """Say whether anything is left to merge, for a pipeline; change nothing.

    Exits with 0 when every model is clean, with 1 when one could be merged or is over its
    budget, with 2 when one can't be read. All of them are looked at.

    [not dim cyan]onnxac check models/*.onnx --format junit > onnxac.xml[/]

    [not dim cyan]onnxac check model.onnx --max-parameters 5000000[/]
    """
    screen = screen_of(context, quiet, verbose, color)
    with screen.progress("looking"):
        from onnxac.gate import Budget, examine
        from onnxac.pipeline import Options
        from onnxac.render.gate import FORMATS, marked, to_text

        options = Options(keep=tuple(keep or ()), freeze_initializers=freeze_initializers)
        budget = Budget(max_nodes, max_parameters, max_macs, max_bytes)
        findings = []
        for path in models:
            screen.step(f"looking at {path}")
            source = model_from_stdin if str(path) == STDIO else None
            findings.append(examine(path, options, budget, source))
    told = marked(to_text(findings))
    if format is Format.TEXT:
        # A line per model, for grep as well.
        screen.show(told, wrap=False)
    else:
        # The result goes to a file, as a rule; whoever reads the log wants to see it as well.
        screen.stdout_is_taken = True
        screen.show(told, wrap=False)
        screen.write(FORMATS[format.value](findings))
    raise typer.Exit(max(f.exit_code for f in findings))
