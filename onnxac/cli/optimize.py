"""`onnxac optimize`."""

from __future__ import annotations

import os
from contextlib import nullcontext
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from onnxac.cli.demands import Demands
from onnxac.cli.many import Many, optimize_many
from onnxac.cli.options import (
    PROOF,
    STDIO,
    WHAT,
    Color,
    CustomOps,
    Dequantize,
    Equalize,
    ExactFactors,
    FixShapes,
    Freeze,
    Inputs,
    Keep,
    Quiet,
    Seeds,
    Shapes,
    Timeout,
    Tolerance,
    Verbose,
    Without,
    WithRanges,
    flag,
    kinds_from,
    require_equalize,
    shapes_from,
)
from onnxac.cli.outputs import Extras
from onnxac.cli.places import in_folder, made
from onnxac.cli.screen import screen_of
from onnxac.errors import UsageError

FILES = "What else is written"
MANY = "Many models"


class EngineChoice(str, Enum):
    """What runs many models, beside processes of this machine."""

    RAY = "ray"
    DASK = "dask"


class Type(str, Enum):
    """What floats may be converted to."""

    FP16 = "fp16"


Places = Annotated[
    list[str],
    typer.Argument(
        metavar="IN [OUT]",
        help="The exported model, and where the result goes; - for the standard streams, and OUT "
        "may be a folder. With --out-dir, or --in-place: any number of models, folders, and "
        "patterns such as 'models/**/*.onnx'.",
    ),
]
OutDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Where the results go, in the tree of the sources. What is there already, and still "
        "holds, is not done again.",
        rich_help_panel=MANY,
    ),
]
Workers = Annotated[
    int, typer.Option(min=1, metavar="N", help="Models at a time.", rich_help_panel=MANY)
]
EngineName = Annotated[
    EngineChoice | None,
    typer.Option(
        metavar="ray|dask",
        help="Run on the cluster at $RAY_ADDRESS or $DASK_SCHEDULER_ADDRESS, else on one of here.",
        rich_help_panel=MANY,
    ),
]
To = Annotated[
    Type | None,
    typer.Option(
        metavar="fp16",
        help="Convert to half precision, and prove that as well; inputs and outputs keep their "
        "types.",
        rich_help_panel=WHAT,
    ),
]
Tune = Annotated[
    bool,
    flag(
        "--tune/--no-tune",
        help="Measure each change beside what it replaces, and keep the faster.",
    ),
]
InPlace = Annotated[bool, flag("--in-place", help="Replace IN by the result, in one step.")]
DryRun = Annotated[bool, flag("--dry-run", help="Do and prove it, but write no model.")]
FailIfUnfused = Annotated[
    bool,
    flag(
        "--fail-if-unfused/--no-fail-if-unfused",
        help="Exit with 1 if nothing was merged.",
    ),
]
Strict = Annotated[
    bool,
    flag(
        "--strict/--no-strict",
        help="Exit with 1 also where a change was left out, or something is not shown.",
        panel=PROOF,
    ),
]
Verify = Annotated[
    bool,
    flag("--verify/--no-verify", help="Prove the result before it is written.", panel=PROOF),
]
ReportFile = Annotated[
    str | None,
    typer.Option(metavar="FILE.json", help="The report as JSON.", rich_help_panel=FILES),
]
Summary = Annotated[
    str | None,
    typer.Option(
        metavar="[FILE.md]",
        help="The report as Markdown; without FILE, appended to $GITHUB_STEP_SUMMARY where "
        "that is set, else printed.",
        rich_help_panel=FILES,
    ),
]
Diff = Annotated[
    Path | None,
    typer.Option(metavar="FILE.html", help="The visual diff.", rich_help_panel=FILES),
]
Bench = Annotated[bool, flag("--bench/--no-bench", help="Time both models as well.", panel=FILES)]


def optimize(
    context: typer.Context,
    places: Places,
    in_place: InPlace = False,
    dry_run: DryRun = False,
    keep: Keep = None,
    without: Without = None,
    tune: Tune = False,
    fix_shape: FixShapes = None,
    to: To = None,
    freeze_initializers: Freeze = False,
    dequantize: Dequantize = False,
    ranges: WithRanges = False,
    equalize: Equalize = False,
    exact_factors: ExactFactors = False,
    fail_if_unfused: FailIfUnfused = False,
    verify: Verify = True,
    seeds: Seeds = 3,
    shape: Shapes = None,
    tolerance: Tolerance = None,
    inputs: Inputs = None,
    custom_ops: CustomOps = None,
    strict: Strict = False,
    timeout: Timeout = 600,
    report: ReportFile = None,
    summary: Summary = None,
    diff: Diff = None,
    bench: Bench = False,
    out_dir: OutDir = None,
    jobs: Workers = 1,
    engine: EngineName = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = True,
) -> None:
    """Merge what is linear, prove the result, and write it.

    OUT appears whole and proven, or not at all: when the result does not compute what IN
    computes, nothing is written and the exit code is 1. A model with nothing to merge is
    written as it is.

    [not dim cyan]onnxac optimize in.onnx out.onnx --diff diff.html --report report.json[/]

    [not dim cyan]onnxac optimize model.onnx --in-place --keep "/head/*"[/]

    [not dim cyan]cat in.onnx | onnxac optimize - - > out.onnx[/]

    [not dim cyan]onnxac optimize a.onnx models/ --out-dir fused --jobs 2[/]
    """
    screen = screen_of(context, quiet, verbose, color)
    require_equalize(equalize, exact_factors)
    given: dict[str, Any] = {
        "verify": verify,
        "freeze_initializers": freeze_initializers,
        "dequantize": dequantize,
        "ranges": ranges,
        "equalize": equalize,
        "exact_factors": exact_factors,
        "keep": tuple(keep or ()),
        "without": kinds_from(without),
        "tune": tune,
        "seeds": seeds,
        "shapes": shapes_from(shape),
        "fix_shapes": shapes_from(fix_shape, "--fix-shape"),
        "to": to and to.value,
        "tolerance": tolerance,
        "timeout": timeout,
        "inputs": tuple(inputs or ()),
        "custom_ops": tuple(custom_ops or ()),
        "latency": bench,
        "command": screen.line,
    }
    demands = Demands(fail_if_unfused, strict)
    extras = Extras(report, summary, diff)
    many = Many(tuple(places), out_dir, in_place, dry_run, jobs, engine and engine.value)
    if many.are_meant:
        raise typer.Exit(optimize_many(screen, many, extras, given, demands))
    if jobs != 1 or engine is not None:
        raise UsageError("--engine and --jobs are of many models; give --out-dir as well")
    source, target, *_ = (*places, None)
    goal = None if dry_run and target is None else _target(source, target, in_place)
    extras.check(source, goal or source)
    screen.stdout_is_taken = (goal == STDIO and not dry_run) or extras.use_stdout
    written = None if dry_run else goal
    from onnxac.proof.running.spawn import ahead

    with (
        ahead() if verify else nullcontext(),
        screen.progress("reading"),
        made(None if dry_run else target),
    ):
        from onnxac.cli.transform import transform
        from onnxac.pipeline import Options
        from onnxac.render.terminal import told

        options = Options(**given, progress=screen.step, notice=screen.notice)
        result = transform(source, written, options, models=diff is not None)
        extras.write(result)
    verb = "Would optimize" if dry_run else "Optimized"
    screen.show(*told(result.report, source, goal, screen.details, verb))
    demands.require(result.report, source)


def _target(source: str, target: str | None, in_place: bool) -> str:
    """Where the result goes. Raises UsageError where that is unclear, or is IN by accident."""
    if target is None:
        if not in_place:
            raise UsageError("OUT is missing: name the file to write, or give --in-place")
        if source == STDIO:
            raise UsageError("--in-place needs a file, not standard input")
        return source
    target = in_folder(target, source)
    same = STDIO not in (source, target) and _is_same(Path(source), Path(target))
    if same and not in_place:
        raise UsageError(f"{target}: OUT is IN; give --in-place to replace it")
    if in_place and not same:
        raise UsageError(f"--in-place replaces {source}; leave out {target}, or the option")
    return target


def _is_same(source: Path, target: Path) -> bool:
    if source.exists() and target.exists():
        return os.path.samefile(source, target)
    return source.resolve() == target.resolve()
