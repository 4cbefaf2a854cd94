"""The options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from onnxac.errors import UsageError
from onnxac.kinds import KINDS, unknown

# Standard input or output, in place of a path.
STDIO = "-"
LOOKS, PROOF, WHAT = "How it is shown", "Proof", "What is merged"
INTEGERS = "For 8-bit integers"


def flag(*names: str, help: str, panel: str | None = None, **more: Any) -> Any:
    """A switch, without the columns that say of each switch that it is a boolean, and off."""
    return typer.Option(
        *names, help=help, metavar="", show_default=False, rich_help_panel=panel, **more
    )


Quiet = Annotated[bool, flag("-q", "--quiet", help="Print errors only.", panel=LOOKS)]
Verbose = Annotated[
    int,
    flag("-v", "--verbose", help="Show lists whole; -vv also tracebacks.", panel=LOOKS, count=True),
]
Color = Annotated[
    bool,
    flag("--color/--no-color", help="Colours on a terminal; NO_COLOR too is heard.", panel=LOOKS),
]

Seeds = Annotated[
    int,
    typer.Option(
        min=1, metavar="N", help="How many random inputs are tried.", rich_help_panel=PROOF
    ),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="NAME:1,3,8,8",
        help="Run an input at this shape only. Repeatable.",
        rich_help_panel=PROOF,
    ),
]
FixShapes = Annotated[
    list[str] | None,
    typer.Option(
        "--fix-shape",
        metavar="NAME:1,3,8,8",
        help="Write an input's shape into the model; --shape is for the proof only. Repeatable.",
        rich_help_panel=WHAT,
    ),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Largest relative error; by default derived from the model's types.",
        rich_help_panel=PROOF,
    ),
]
Timeout = Annotated[
    float, typer.Option(metavar="SECONDS", help="How long it may take.", rich_help_panel=PROOF)
]

Inputs = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE.npz",
        help="Real inputs, beside made-up ones: .npz, or a folder of .npy. Repeatable.",
        rich_help_panel=PROOF,
    ),
]
CustomOps = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="LIB.so",
        help="Operators that ONNX Runtime has to be given. Repeatable.",
        rich_help_panel=PROOF,
    ),
]

Keep = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        help="Leave nodes of this name alone. Repeatable.",
        rich_help_panel=WHAT,
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KIND,…",
        help="Leave out kinds of rewrites: " + ", ".join(KINDS) + ". Repeatable.",
        rich_help_panel=WHAT,
    ),
]
Freeze = Annotated[
    bool,
    flag(
        "--freeze-initializers/--no-freeze-initializers",
        help="Take initializers that are also graph inputs as constants.",
    ),
]

Dequantize = Annotated[
    bool,
    flag(
        "--dequantize/--no-dequantize",
        help="Merge branches of quantized weights as well, as floats.",
        panel=INTEGERS,
    ),
]
WithRanges = Annotated[
    bool,
    flag(
        "--ranges/--no-ranges",
        help="Say how well the model quantizes: ranges of weights, and of activations on --inputs.",
        panel=INTEGERS,
    ),
]
Equalize = Annotated[
    bool,
    flag(
        "--equalize/--no-equalize",
        help="Give each weight's channels ranges that are alike: equal to the bit.",
        panel=INTEGERS,
    ),
]
ExactFactors = Annotated[
    bool,
    flag(
        "--exact-factors/--no-exact-factors",
        help="With --equalize, by factors that are no powers of two.",
        panel=INTEGERS,
    ),
]

Before = Annotated[
    Path, typer.Argument(metavar="A", help="The original model; - for standard input.")
]
After = Annotated[
    Path, typer.Argument(metavar="B", help="The model compared with it; or that one.")
]


def kinds_from(texts: Sequence[str] | None) -> tuple[str, ...]:
    """`upsample,focus` as two names; each once. Raises UsageError where one is no kind's."""
    kinds = dict.fromkeys(k for t in texts or () for k in t.replace(" ", "").split(",") if k)
    wrong = unknown(kinds)
    if wrong is not None:
        raise UsageError(wrong)
    return tuple(kinds)


def require_equalize(equalize: bool, exact_factors: bool) -> None:
    """Raise UsageError where factors are asked for that nothing would be scaled by."""
    if exact_factors and not equalize:
        raise UsageError("--exact-factors says how to equalize; give --equalize as well")


def shapes_from(texts: Sequence[str] | None, option: str = "--shape") -> dict[str, tuple[int, ...]]:
    """`NAME:1,3,224,224` as name and shape. Raises UsageError where it is something else."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        # Names of inputs may hold colons themselves, as TensorFlow's do: "x:0".
        name, _, extents = text.rpartition(":")
        try:
            shapes[name] = tuple(int(n) for n in extents.split(",")) if extents else ()
        except ValueError:
            name = ""
        if not name:
            raise UsageError(f"{option} {text}: write name and extents of an input, x:1,3,224,224")
    return shapes
