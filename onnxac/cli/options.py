"""The options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from onnxac.errors import UsageError

LOOKS, PROOF, WHAT = "How it is shown", "Proof", "What is merged"

Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="Print errors only.", rich_help_panel=LOOKS)
]
Verbose = Annotated[
    int,
    typer.Option(
        "-v",
        "--verbose",
        count=True,
        show_default=False,
        metavar="",
        help="Show lists whole; -vv also tracebacks.",
        rich_help_panel=LOOKS,
    ),
]
Color = Annotated[
    bool,
    typer.Option(
        "--color/--no-color", help="Colours on a terminal; off by NO_COLOR.", rich_help_panel=LOOKS
    ),
]

Seeds = Annotated[
    int, typer.Option(min=1, help="How many random inputs are tried.", rich_help_panel=PROOF)
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="NAME:1,3,224,224",
        help="Run an input at this shape only. Repeatable.",
        rich_help_panel=PROOF,
    ),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="FLOAT",
        help="Largest relative error; by default derived from the model's types.",
        rich_help_panel=PROOF,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(min=0, metavar="SECONDS", help="How long it may take.", rich_help_panel=PROOF),
]

Keep = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        help="Leave nodes of this name alone. Repeatable.",
        rich_help_panel=WHAT,
    ),
]
Freeze = Annotated[
    bool,
    typer.Option(
        "--freeze-initializers/--no-freeze-initializers",
        help="Take initializers that are also graph inputs as constants.",
        rich_help_panel=WHAT,
    ),
]

Before = Annotated[Path, typer.Argument(metavar="A", help="The original model.")]
After = Annotated[Path, typer.Argument(metavar="B", help="The model compared with it.")]


def shapes_from(texts: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """`NAME:1,3,224,224` as name and shape. Raises UsageError where it is something else."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        # Names of inputs may hold colons themselves, as TensorFlow's do: "x:0".
        name, colon, extents = text.rpartition(":")
        try:
            shapes[name] = tuple(int(n) for n in extents.replace("x", ",").split(",") if n)
        except ValueError:
            name = ""
        if not (name and colon):
            raise UsageError(f"--shape {text}: write the input's name and extents, as x:1,3,224,224")
    return shapes
