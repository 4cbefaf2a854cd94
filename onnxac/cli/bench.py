"""`onnxac bench`."""

from __future__ import annotations

from typing import Annotated

import typer

from onnxac.cli.options import After, Before, Color, Quiet, Shapes, Verbose, shapes_from
from onnxac.cli.screen import screen_of
from onnxac.cli.streams import at_paths


def bench(
    context: typer.Context,
    before: Before,
    after: After,
    runs: Annotated[int, typer.Option(min=1, metavar="N", help="Runs of each model.")] = 50,
    warmup: Annotated[
        int, typer.Option(min=0, metavar="N", help="Runs before them that don't count.")
    ] = 5,
    threads: Annotated[
        int, typer.Option(min=0, metavar="N", help="Of one run; 0 lets the runtime choose.")
    ] = 1,
    runtime: Annotated[
        str, typer.Option(metavar="NAME", help="onnxruntime, or openvino where it is installed.")
    ] = "onnxruntime",
    provider: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="ONNX Runtime's execution provider, or OpenVINO's device."
        ),
    ] = None,
    shape: Shapes = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = True,
) -> None:
    """Time two models side by side, in ONNX Runtime or OpenVINO.

    They run by turns, with the runtime's own optimizations on, as deployed. Shown are
    medians, and the spread of the middle half of the runs.

    [not dim cyan]onnxac bench in.onnx out.onnx --runs 200 --shape input:1,3,224,224[/]
    """
    screen = screen_of(context, quiet, verbose, color)
    shapes = shapes_from(shape)
    with screen.progress("timing"):
        from onnxac.proof.running.latency import compare_latency
        from onnxac.render.latency import latency
        from onnxac.storage.files import read

        with at_paths([before, after]) as paths:
            for path in paths:
                read(path)
            found = compare_latency(
                *paths,
                runs=runs,
                warmup=warmup,
                threads=threads,
                runtime=runtime,
                provider=provider,
                shapes=shapes,
            )
    screen.show(*latency(found, str(before), str(after)))
