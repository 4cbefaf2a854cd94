"""The files that a command writes beside its model."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxac.cli.options import STDIO
from onnxac.errors import OutputError, UsageError

if TYPE_CHECKING:
    from onnxac.cli.transform import Result

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
# GitHub rejects a summary over 1 MiB as a whole; leave room for what others append.
LARGEST_SUMMARY = 900_000


@dataclass(frozen=True)
class Extras:
    """What `optimize` writes beside the model. None is not wanted, `-` is standard output.

    summary  "" is the summary of the GitHub step, or standard output where there is none
    """

    report: str | None
    summary: str | None
    diff: Path | None

    def check(self, source: str, target: str) -> None:
        """Raise before anything has been done, where one can't be written or meets another."""
        wanted = [self.report, self._summary_place(), None if self.diff is None else str(self.diff)]
        taken = {_identity(target): "OUT", _identity(source): "IN"}
        if target != STDIO:
            taken.pop(STDIO, None)
        for place in wanted:
            if place is None:
                continue
            who = taken.setdefault(_identity(place), place)
            if who != place or wanted.count(place) > 1:
                raise UsageError(f"{place}: is {who} too; give each output a file of its own")
            if place != STDIO:
                check_target(Path(place))

    def write(self, result: Result) -> None:
        """Write what is wanted."""
        if self.report is not None:
            from onnxac.render.document import to_json

            _put(self.report, to_json(result.report))
        place = self._summary_place()
        if place is not None:
            from onnxac.render.markdown import to_markdown

            text = to_markdown(result.report, limit=LARGEST_SUMMARY)
            if place == os.environ.get(STEP_SUMMARY):
                append_text(Path(place), text)
            else:
                _put(place, text)
        if self.diff is not None and result.before is not None and result.after is not None:
            from onnxac.diff import render_html

            write_text(self.diff, render_html(result.before, result.after, result.report))

    def _summary_place(self) -> str | None:
        if self.summary == "":
            return os.environ.get(STEP_SUMMARY) or STDIO
        return self.summary


def _identity(place: str) -> str:
    return place if place == STDIO else os.path.realpath(place)


def _put(place: str, text: str) -> None:
    if place == STDIO:
        sys.stdout.write(text)
    else:
        write_text(Path(place), text)


def check_target(path: Path) -> None:
    """Raise OutputError where a file can't be put."""
    folder = path.parent
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file in it")
    if not folder.is_dir():
        raise OutputError(f"{path}: its folder {folder} does not exist; create it first")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise OutputError(f"{path}: can't be written: permission denied")


def write_text(path: Path, text: str) -> None:
    """Put a text file in its place in one step, or raise OutputError."""
    check_target(path)
    try:
        if path.exists() and not path.is_file():
            # A pipe or a device: it can't be replaced, and has to be written to.
            path.write_text(text, encoding="utf-8")
            return
        handle, name = tempfile.mkstemp(path.suffix, f".{path.name}.", path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                out.write(text)
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(name, 0o666 & ~mask)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror}") from error


def append_text(path: Path, text: str) -> None:
    """Add to a text file that others add to as well, or raise OutputError."""
    try:
        with path.open("a", encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror}") from error
