"""`onnxac check`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from onnxac.cli.formats import FormatOption, places, write
from onnxac.cli.options import STDIO, Color, Freeze, Keep, Quiet, Verbose, Without, flag, kinds_from
from onnxac.cli.screen import screen_of
from onnxac.cli.streams import model_from_stdin
from onnxac.errors import UsageError

BUDGET = "Budget"


def _limit(of: str) -> Any:
    return typer.Option(min=0, metavar="N", help=f"Most {of} allowed.", rich_help_panel=BUDGET)


RangeRatio = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="X",
        help="Largest magnitude of a weight allowed, in terms of its root mean square.",
        rich_help_panel=BUDGET,
    ),
]
Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL",
        help="Any number of files, of folders with .onnx files, and of patterns such as "
        "'models/**/*.onnx'; - for standard input.",
    ),
]
Fix = Annotated[bool, flag("--fix", help="Merge in place what can be merged, each result proven.")]


def check(
    context: typer.Context,
    models: Models,
    format: FormatOption = None,
    fix: Fix = False,
    max_nodes: Annotated[int | None, _limit("nodes")] = None,
    max_parameters: Annotated[int | None, _limit("parameters")] = None,
    max_macs: Annotated[int | None, _limit("multiply-adds of one inference")] = None,
    max_bytes: Annotated[int | None, _limit("bytes, external data included")] = None,
    max_range_ratio: RangeRatio = None,
    keep: Keep = None,
    without: Without = None,
    freeze_initializers: Freeze = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = True,
) -> None:
    """Say whether anything is left to merge, for a pipeline; change nothing unless told to.

    Exits with 0 when every model is clean, with 1 when one could be merged or is over its
    budget, with 2 when one can't be read. All of them are looked at.

    [not dim cyan]onnxac check models --format junit=onnxac.xml --format gitlab=quality.json[/]

    [not dim cyan]onnxac check models --fix[/]

    [not dim cyan]onnxac check model.onnx --max-parameters 5000000[/]
    """
    screen = screen_of(context, quiet, verbose, color)
    if fix and STDIO in models:
        raise UsageError("--fix needs files, not standard input")
    wanted = places(format or (), models)
    with screen.progress("looking"):
        from onnxac.fleet.places import find_models
        from onnxac.gate import UNREADABLE, Budget, Finding, Problem, examine
        from onnxac.gate import fix as fixed
        from onnxac.pipeline import Options

        notices: Counter[str] = Counter()
        options = Options(
            keep=tuple(keep or ()),
            without=kinds_from(without),
            freeze_initializers=freeze_initializers,
            notice=lambda message: notices.update([message]),
        )
        budget = Budget(max_nodes, max_parameters, max_macs, max_bytes, max_range_ratio)
        findings = []
        at = find_models(models)
        for number, place in enumerate(at):
            path = place.path
            screen.step(f"looking at {path}", number, len(at))
            if place.trouble:
                findings.append(Finding(path, None, (Problem(UNREADABLE, place.trouble),)))
                continue
            source = model_from_stdin if path == STDIO else None
            found = examine(Path(path), options, budget, source)
            findings.append(fixed(found, options, budget) if fix and found.can_be_fixed else found)
    # What is true of some of the models is no news.
    for message, number in notices.items():
        if number == sum(f.report is not None for f in findings):
            screen.notice(message)
    write(screen, findings, wanted)
    raise typer.Exit(max(f.exit_code for f in findings))
