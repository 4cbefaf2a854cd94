"""`onnxac certify`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from onnxac.cli.options import After, Before, Color, Quiet, Verbose, flag
from onnxac.cli.screen import screen_of
from onnxac.cli.streams import at_paths
from onnxac.errors import LimitError, VerificationError

ReportFile = Annotated[
    Path,
    typer.Option("--report", metavar="FILE.json", help="The report that `optimize` wrote of both."),
]
Strict = Annotated[
    bool, flag("--strict", help="Exit with 1 also where a change could not be judged.")
]


def certify(
    context: typer.Context,
    before: Before,
    after: After,
    report: ReportFile,
    strict: Strict = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = True,
) -> None:
    """Check each change of a report again, from the two files alone.

    Nothing is run in ONNX Runtime, and nothing of what made the changes is used: what each
    replaced and what it put there are cut out of the files, and compared entry by entry.
    Exits with 1 if any change does not hold.

    [not dim cyan]onnxac certify in.onnx out.onnx --report report.json[/]
    """
    screen = screen_of(context, quiet, verbose, color)
    with screen.progress("certifying"):
        from onnxac.planning.statistics import digest_of
        from onnxac.proof.certificate import certify as examine
        from onnxac.render.certificates import certificates, verdict
        from onnxac.render.document import read_report
        from onnxac.storage.files import read

        told = read_report(report)
        tick = partial(screen.step, "certifying")
        with at_paths((before, after)) as paths:
            models = read(paths[0]), read(paths[1])
            folders = str(paths[0].resolve().parent), str(paths[1].resolve().parent)
            found = examine(*models, told.changes, folders, tick)
            digests = [digest_of(path) for path in paths]
    for path, digest, info in zip((before, after), digests, (told.before, told.after), strict=True):
        if digest != info.sha256:
            screen.notice(f"{path}: is not the file that {report} is about")
    screen.show(*certificates(told.changes, found, screen.details))
    failed = [f for f, c in zip(told.changes, found, strict=True) if c.verdict == "fails"]
    if failed:
        raise VerificationError(f"{verdict(found)}; first {failed[0].key!r}")
    if strict and not all(c.holds for c in found):
        raise LimitError(f"{verdict(found)}, and --strict was given")
