"""`onnxac verify`."""

from __future__ import annotations

import typer

from onnxac.cli.options import (
    After,
    Before,
    Color,
    Quiet,
    Seeds,
    Shapes,
    Timeout,
    Tolerance,
    Verbose,
    shapes_from,
)
from onnxac.cli.screen import screen_of
from onnxac.cli.streams import at_paths


def verify(
    context: typer.Context,
    before: Before,
    after: After,
    seeds: Seeds = 3,
    shape: Shapes = None,
    tolerance: Tolerance = None,
    timeout: Timeout = 600,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = True,
) -> None:
    """Prove that two models compute the same, in ONNX Runtime.

    Both models run on the same inputs: of both signs, zeros, spikes, several seeds, and at
    several sizes where the model leaves them open. Exits with 1 if any output differs by
    more than the tolerance.

    [not dim cyan]onnxac verify trained.onnx deployed.onnx --seeds 10[/]
    """
    screen = screen_of(context, quiet, verbose, color)
    shapes = shapes_from(shape)
    with screen.progress("comparing"):
        from onnxac.graph.files import read
        from onnxac.proof import raise_if_failed
        from onnxac.proof import verify as compare
        from onnxac.render.proof import proof

        with at_paths([before, after]) as paths:
            for path in paths:
                read(path)
            found = compare(
                *paths, seeds=seeds, shapes=shapes, tolerance=tolerance, timeout=timeout
            )
    raise_if_failed(found)
    screen.show(*proof(found, screen.details))
