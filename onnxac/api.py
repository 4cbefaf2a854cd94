"""The library: what the command does, with options as keywords and paths as strings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from onnxac import pipeline, proof
from onnxac.errors import UsageError
from onnxac.options import Options, Progress
from onnxac.page.comparison import Comparison
from onnxac.pipeline import ModelOrPath
from onnxac.proof import Settings
from onnxac.report import Report, Verification
from onnxac.report.fleet import FleetReport
from onnxac.storage.files import read

if TYPE_CHECKING:
    from onnx import ModelProto
    from typing_extensions import Unpack

Place = str | os.PathLike[str]
Places = Place | Sequence[Place]


class Keywords(TypedDict, total=False):
    """What `optimize` may be told; `Options` says what each means."""

    verify: bool
    freeze_initializers: bool
    dequantize: bool
    ranges: bool
    equalize: bool
    exact_factors: bool
    without: Sequence[str]
    keep: str | Sequence[str]
    tune: bool
    seeds: int
    shapes: Mapping[str, Sequence[int]]
    fix_shapes: Mapping[str, Sequence[int]]
    to: str | None
    tolerance: float | None
    timeout: float
    inputs: Places
    custom_ops: Places
    latency: bool
    command: str | None
    progress: Progress
    notice: Callable[[str], object]


class ProofKeywords(TypedDict, total=False):
    """What `verify` may be told; `onnxac.proof.Settings` says what each means."""

    seeds: int
    shapes: Mapping[str, Sequence[int]]
    inputs: Places
    tolerance: float | None
    rtol: float | None
    atol: float | None
    mapping: Mapping[str, str]
    outputs_only: bool
    precision: str | None
    custom_ops: Places
    timeout: float
    memory_limit: int | None


def optimize(
    model: ModelOrPath, options: Options | None = None, **given: Unpack[Keywords]
) -> tuple[ModelProto, Report]:
    """Merge what is linear, prove it, and say what was done.

    model    a ModelProto, which is not changed, or the path of a model; one with external data
             has to be given as a path, and in what comes back such data still lies beside it
    options  all of them at once; or name some: `optimize("in.onnx", keep="/head/*")`

    Raises ModelError where the input can't be used, VerificationError where the result is not
    shown to compute the same, RuntimeFailure where the proof can't run, TypeError for an option
    that there is none of.
    """
    return pipeline.optimize(model, _options(options, given))


def optimize_file(
    source: Place, target: Place, options: Options | None = None, **given: Unpack[Keywords]
) -> Report:
    """`optimize`, from file to file. The target appears whole and proven, or not at all.

    Source and target may be one file. Raises OutputError where the target can't be written,
    and what `optimize` raises.
    """
    return pipeline.optimize_file(Path(source), Path(target), _options(options, given))


def optimize_many(
    models: Places,
    folder: Place,
    *,
    jobs: int = 1,
    engine: str | None = None,
    options: Options | None = None,
    **given: Unpack[Keywords],
) -> FleetReport:
    """`optimize` of many models, into a folder in which their tree is kept.

    models  files, folders with .onnx files at any depth, and patterns such as `nets/**/*.onnx`
    jobs    how many are worked on at a time, each in a process of its own
    engine  "ray" or "dask" in place of such processes

    What goes wrong with one model is in its outcome, and stops no other. A script that calls
    this needs the usual `if __name__ == "__main__":` around it. Raises UsageError where two
    results would be one file, MissingExtraError where the engine is not installed.
    """
    from onnxac.fleet.engines import named
    from onnxac.fleet.jobs import Jobs
    from onnxac.fleet.places import find_models
    from onnxac.fleet.run import Orders, run

    chosen = Jobs(jobs) if engine is None else named(engine)
    orders = Orders(Path(folder), _options(options, given))
    return run(find_models([str(p) for p in _paths(models)]), orders, chosen, _untold)


def inspect(
    model: ModelOrPath, options: Options | None = None, **given: Unpack[Keywords]
) -> Report:
    """What `optimize` would do, and why it would not do the rest; nothing is computed or proven.

    Raises ModelError where the input can't be used.
    """
    return pipeline.inspect(model, _options(options, given))


def verify(
    before: ModelOrPath,
    after: ModelOrPath,
    settings: Settings | None = None,
    **given: Unpack[ProofKeywords],
) -> Verification:
    """Compare two models: by what they share, and by running both on the same inputs.

    A difference is no exception: `passed` says whether there is none. Raises UsageError for a
    setting out of range, ModelError for a file that can't be read, RuntimeFailure where the first
    model does not run, VerificationError where inputs or outputs differ in number or type.
    """
    if settings is not None and given:
        raise UsageError("give settings, or name some of them: not both")
    return proof.verify(before, after, settings or Settings(**_known(Settings, given)))


def diff(
    before: ModelOrPath,
    after: ModelOrPath,
    report: Report | None = None,
    *,
    verification: Verification | None = None,
) -> Comparison:
    """See what became of a model: `save` makes the page, `print` shows the same as text.

    report        of the run that made the second model of the first, where there was one
    verification  what `verify` found about the two, where there is no report

    Raises ModelError for a file that can't be read.
    """
    (first, a), (second, b) = _named(before), _named(after)
    return Comparison((first, second), (a, b), report, verification)


def _named(model: ModelOrPath) -> tuple[ModelProto, str | None]:
    """The model, and its path if that is what was given."""
    if isinstance(model, (str, os.PathLike)):
        return read(Path(model)), str(model)
    return model, None


def _options(options: Options | None, given: Mapping[str, Any]) -> Options:
    if options is not None and given:
        raise UsageError("give options, or name some of them: not both")
    return options or Options(**_known(Options, given))


def _known(kind: type[Options] | type[Settings], given: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords as the fields of a dataclass: one pattern, or one file, may stand alone.

    Raises TypeError for one that there is no field of.
    """
    names = [f.name for f in fields(kind)]
    for name in given:
        if name not in names:
            close = get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}"
            raise TypeError(f"there is no option {name!r}; {hint}")
    found = dict(given)
    for name in ("inputs", "custom_ops"):
        if name in found:
            found[name] = tuple(map(Path, _paths(found[name])))
    return found


def _paths(places: Places) -> Sequence[Place]:
    return [places] if isinstance(places, (str, os.PathLike)) else places


def _untold(*_: object) -> None:
    """Nobody waits for the outcomes one by one."""
