"""`onnxac explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxac.cli.options import (
    STDIO,
    Color,
    Dequantize,
    Equalize,
    ExactFactors,
    Freeze,
    Inputs,
    Keep,
    Quiet,
    Verbose,
    Without,
    WithRanges,
    kinds_from,
    require_equalize,
)
from onnxac.cli.screen import screen_of
from onnxac.cli.streams import model_from_stdin


def explain(
    context: typer.Context,
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="The exported model; - for standard input.")
    ],
    node: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only what concerns this node, or this tensor's node."),
    ] = None,
    keep: Keep = None,
    without: Without = None,
    freeze_initializers: Freeze = False,
    dequantize: Dequantize = False,
    ranges: WithRanges = False,
    equalize: Equalize = False,
    exact_factors: ExactFactors = False,
    inputs: Inputs = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = True,
) -> None:
    """Say what would be merged, what would not, and by which rule; change nothing.

    The place to look when a block did not become one operator.

    [not dim cyan]onnxac explain in.onnx --node /layer1/conv2/Add[/]
    """
    screen = screen_of(context, quiet, verbose, color)
    require_equalize(equalize, exact_factors)
    with screen.progress("looking"):
        from onnxac.cli.lookup import find_node
        from onnxac.pipeline import Options, inspect
        from onnxac.render.explanation import explanation, node_explanation
        from onnxac.storage.files import read

        options = Options(
            keep=tuple(keep or ()),
            without=kinds_from(without),
            freeze_initializers=freeze_initializers,
            dequantize=dequantize,
            ranges=ranges,
            equalize=equalize,
            exact_factors=exact_factors,
            inputs=tuple(inputs or ()),
            notice=screen.notice,
        )
        source = model_from_stdin() if str(model) == STDIO else model
        report = inspect(source, options, certified=True)
        chosen = None
        if node is not None:
            known = read(source) if isinstance(source, Path) else source
            chosen = find_node(known, node, str(model))
    if chosen is None:
        screen.show(*explanation(report, screen.details))
    else:
        screen.show(*node_explanation(report, chosen))
