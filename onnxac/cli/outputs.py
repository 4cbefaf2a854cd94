"""The files that a command writes beside its model."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxac.cli.options import STDIO
from onnxac.errors import UsageError
from onnxac.render import safe
from onnxac.storage.disk import append_text, check_text, write_text

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
        taken = {identity(target): "OUT", identity(source): "IN"}
        if target != STDIO:
            taken.pop(STDIO, None)
        for place in wanted:
            if place is None:
                continue
            who = taken.setdefault(identity(place), place)
            if who != place or wanted.count(place) > 1:
                raise UsageError(f"{place}: is {who} too; give each output a file of its own")
            if place != STDIO:
                check_text(Path(place))

    def write(self, result: Result) -> None:
        """Write what is wanted of one model."""
        from onnxac.render.document import to_json
        from onnxac.render.markdown import to_markdown

        self.write_texts(
            lambda: to_json(result.report),
            lambda: to_markdown(result.report, limit=LARGEST_SUMMARY),
        )
        if self.diff is not None and result.before is not None and result.after is not None:
            from onnxac.page import render_html

            write_text(self.diff, render_html(result.before, result.after, result.report))

    def write_texts(self, report: Callable[[], str], summary: Callable[[], str]) -> None:
        """Write the report and the summary, where they are wanted."""
        if self.report is not None:
            _put(self.report, report())
        place = self._summary_place()
        if place is not None and place == os.environ.get(STEP_SUMMARY):
            append_text(Path(place), summary())
        elif place is not None:
            _put(place, summary())

    @property
    def use_stdout(self) -> bool:
        """Whether one of them goes to standard output."""
        return any(p in _STDOUT for p in (self.report, self._summary_place()))

    def _summary_place(self) -> str | None:
        if self.summary == "":
            return os.environ.get(STEP_SUMMARY) or STDIO
        return self.summary


# Names of standard output, the last three where the system has them.
_STDOUT = (STDIO, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def identity(place: str) -> str:
    """What two names of one place have in common."""
    return place if place == STDIO else os.path.realpath(place)


def _put(place: str, text: str) -> None:
    if place == STDIO:
        sys.stdout.write(safe.disarmed(text) if safe.in_pipeline() else text)
    else:
        write_text(Path(place), text)
