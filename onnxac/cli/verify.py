"""`onnxac verify`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from onnxac.cli.options import (
    PROOF,
    After,
    Before,
    Color,
    CustomOps,
    Inputs,
    Quiet,
    Seeds,
    Shapes,
    Timeout,
    Tolerance,
    Verbose,
    flag,
    shapes_from,
)
from onnxac.cli.screen import screen_of
from onnxac.cli.streams import at_paths
from onnxac.errors import UsageError

Rtol = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Each value may be off by that share of itself, and by --atol.",
        rich_help_panel=PROOF,
    ),
]
Atol = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Each value may be off by that much, and by --rtol.",
        rich_help_panel=PROOF,
    ),
]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="A=B",
        help="Compare output A of the first with output B of the second. Repeatable.",
        rich_help_panel=PROOF,
    ),
]
OutputsOnly = Annotated[
    bool,
    flag("--outputs-only", help="Compare no tensors inside the models.", panel=PROOF),
]
Precision = Annotated[
    str | None,
    typer.Option(
        metavar="float16",
        help="B computes in this type: allow for roundings as coarse as its.",
        rich_help_panel=PROOF,
    ),
]


def verify(
    context: typer.Context,
    before: Before,
    after: After,
    seeds: Seeds = 3,
    shape: Shapes = None,
    inputs: Inputs = None,
    mapping: Map = None,
    outputs_only: OutputsOnly = False,
    precision: Precision = None,
    tolerance: Tolerance = None,
    rtol: Rtol = None,
    atol: Atol = None,
    custom_ops: CustomOps = None,
    timeout: Timeout = 600,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = True,
) -> None:
    """Prove that two models compute the same, in ONNX Runtime.

    Both models run on the same inputs: of both signs, zeros, spikes, images, several seeds, and
    at several sizes where the model leaves them open. Exits with 1 if any output differs by
    more than the tolerance, or if nothing was shown: an output was empty, or always the same.

    [not dim cyan]onnxac verify trained.onnx deployed.onnx --seeds 10[/]
    """
    screen = screen_of(context, quiet, verbose, color)
    shapes = shapes_from(shape)
    from onnxac.proof.running.spawn import ahead

    with ahead(), screen.progress("comparing"):
        from onnxac.proof import Settings, raise_if_failed
        from onnxac.proof import verify as compare
        from onnxac.render.proof import proof
        from onnxac.storage.files import read

        settings = Settings(
            seeds=seeds,
            shapes=shapes,
            inputs=tuple(inputs or ()),
            mapping=mapping_from(mapping),
            outputs_only=outputs_only,
            precision=precision,
            tolerance=tolerance,
            rtol=rtol,
            atol=atol,
            custom_ops=tuple(custom_ops or ()),
            timeout=timeout,
            names=("a", "b"),
            tick=partial(screen.step, "comparing"),
        )
        with at_paths([before, after]) as paths:
            for path in paths:
                read(path)
            found = compare(paths[0], paths[1], settings)
    raise_if_failed(found, settings.names)
    screen.show(*proof(found, screen.details))


def mapping_from(texts: Sequence[str] | None) -> dict[str, str]:
    """`A=B` as names of two outputs. Raises UsageError where it is something else."""
    mapping: dict[str, str] = {}
    for text in texts or ():
        a, equals, b = text.partition("=")
        if not (a and equals and b):
            raise UsageError(f"--map {text}: write the names of two outputs, logits=output")
        mapping[a] = b
    return mapping
