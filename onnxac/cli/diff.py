"""`onnxac diff`."""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxac.cli.options import After, Before, Color, Quiet, Verbose, flag
from onnxac.cli.screen import Screen, screen_of
from onnxac.cli.streams import at_paths
from onnxac.errors import UsageError
from onnxac.storage.disk import check_text, write_text

if TYPE_CHECKING:
    from onnx import ModelProto

    from onnxac.report import ModelInfo, Report, Verification


Output = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FILE.html", help="The page; by default a temporary file."
    ),
]
OpenPage = Annotated[bool, flag("--open", help="Show the page in a browser.")]
ReportFile = Annotated[
    Path | None,
    typer.Option(
        metavar="REPORT.json", help="What `optimize --report` wrote: shows each merged kernel."
    ),
]
Prove = Annotated[
    bool, flag("--verify", help="Run both models as well, and exit with 1 if they differ.")
]
Mapping = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json", help="Which nodes correspond, for Model Explorer's two panes."
    ),
]


def diff(
    context: typer.Context,
    before: Before,
    after: After,
    output: Output = None,
    open_page: OpenPage = False,
    report: ReportFile = None,
    verify: Prove = False,
    mapping: Mapping = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = True,
) -> None:
    """See what became of a model: one HTML page, and the same as text.

    The page needs no network. With netron installed ([cyan]pip install "onnxac\\[netron]"[/])
    it shows both graphs side by side, linked with each other.

    [not dim cyan]onnxac diff in.onnx out.onnx --report report.json --open[/]
    """
    screen = screen_of(context, quiet, verbose, color)
    for target in filter(None, (output, mapping)):
        _check_output(target, before, after)
    with screen.progress("drawing"):
        from onnxac.page import Known, draw_page, draw_text, gather, model_explorer_mapping
        from onnxac.storage.files import read

        with at_paths((before, after)) as paths:
            models = read(paths[0]), read(paths[1])
            known, infos = _known(report, models, paths, (before, after))
            checked = _compared(paths, screen) if verify else None
        facts = gather(*models, Known(known, checked, screen.line, *infos))
        place = output or _temporary()
        write_text(place, draw_page(*models, facts))
        if mapping is not None:
            found = model_explorer_mapping(*models, facts.matching)
            write_text(mapping, json.dumps(found, indent=2) + "\n")
    screen.show(*draw_text(*models, facts, screen.details))
    screen.say(f"The page is {place}" if output is None else f"Wrote {place}", wrap=False)
    if importlib.util.find_spec("netron") is None:
        screen.say('Without netron it has no graphs; pip install "onnxac[netron]" adds them')
    if open_page:
        import webbrowser

        if not webbrowser.open(place.resolve().as_uri()):
            screen.say("No browser was found to open it")
    if checked is not None:
        # The page is written all the same: it shows what differs.
        from onnxac.proof import raise_if_failed

        raise_if_failed(checked, ("a", "b"))


def _compared(paths: Sequence[Path], screen: Screen) -> Verification:
    from onnxac.proof import Settings
    from onnxac.proof import verify as compare

    tick = partial(screen.step, "comparing")
    return compare(paths[0], paths[1], Settings(names=("a", "b"), tick=tick))


def _check_output(output: Path, before: Path, after: Path) -> None:
    check_text(output)
    for path in (before, after):
        if output.exists() and path.exists() and os.path.samefile(output, path):
            raise UsageError(f"{output}: is one of the models; name another file for the page")


def _known(
    report: Path | None,
    models: tuple[ModelProto, ModelProto],
    paths: Sequence[Path],
    given: tuple[Path, Path],
) -> tuple[Report | None, tuple[ModelInfo | None, ModelInfo | None]]:
    """The report, if one is given, else what both models weigh.

    Raises UsageError where the report is about another model.
    """
    from onnxac.planning.statistics import digest_of, foreign_info

    if report is None:
        infos = (foreign_info(m, str(p)) for m, p in zip(models, paths, strict=True))
        first, second = (replace(i, path=str(g)) for i, g in zip(infos, given, strict=True))
        return None, (first, second)
    from onnxac.render.document import read_report

    known = read_report(report)
    # What the report proves holds of these two files, and of no others.
    for path, name, info in zip(paths, given, (known.before, known.after), strict=True):
        if digest_of(path) != info.sha256:
            about = info.path or "in memory"
            raise UsageError(f"{name}: not the model that {report} is about, {about}")
    return known, (None, None)


def _temporary() -> Path:
    handle, name = tempfile.mkstemp(".html", "onnxac-diff-")
    os.close(handle)
    return Path(name)
