"""What was done to which model before, so that it is not done again.

A folder of results has a file `.onnxac.jsonl` with a line for each model: its outcome, as JSON.
It counts as long as the model, the options, the tools and the result are what they were.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path

from onnxac.fleet.task import Task
from onnxac.options import Options
from onnxac.planning.statistics import digest_of
from onnxac.report.fleet import OPTIMIZED, SKIPPED, UNCHANGED, Outcome
from onnxac.report.form import build, plain
from onnxac.stages import tools
from onnxac.storage.disk import append_text, write_text
from onnxac.storage.files import data_files

NAME = ".onnxac.jsonl"
# Options that say how something is told, not what is done.
_TOLD = frozenset({"command", "progress", "notice"})


def key_of(path: Path, task: Task) -> str:
    """Hash of a model with its data, of the options, and of what works with them."""
    options = {
        f.name: getattr(task.options, f.name) for f in fields(Options) if f.name not in _TOLD
    }
    demands = [task.fail_if_unfused, task.strict]
    digest = hashlib.sha256()
    for part in (sorted(tools().items()), sorted(options.items()), demands):
        digest.update(repr(part).encode())
    given = [*task.options.inputs, *task.options.custom_ops]
    for file in (path, *data_files(path), *_files(Path(task.folder, g) for g in given)):
        digest.update(digest_of(file).encode())
    return digest.hexdigest()


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        yield from sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


class Ledger:
    """The outcomes that a folder of results tells of, by the place of the result in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known = dict(_read(folder / NAME))

    def known(self, task: Task) -> Outcome | None:
        """The outcome of the same task, if its result is still there."""
        found = self._known.get(self._inside(task.target))
        if found is None or found.key != task.key or found.report is None:
            return None
        target = Path(task.folder, task.target or "")
        if not target.is_file() or digest_of(target) != found.report.after.sha256:
            return None
        report = replace(
            found.report,
            before=replace(found.report.before, path=task.source),
            after=replace(found.report.after, path=task.target),
        )
        named = replace(found, source=task.source, target=task.target, report=report)
        return replace(named, state=SKIPPED, seconds=0.0)

    def note(self, outcome: Outcome) -> None:
        """Remember an outcome, on the disk as well: whatever stops the rest."""
        if outcome.state in (OPTIMIZED, UNCHANGED) and outcome.key:
            inside = self._inside(outcome.target)
            self._known[inside] = outcome
            append_text(self._folder / NAME, _line(inside, outcome))

    def close(self) -> None:
        """Write each outcome once, where one has been written several times."""
        if self._known:
            lines = (_line(*entry) for entry in self._known.items())
            write_text(self._folder / NAME, "".join(lines))

    def _inside(self, target: str | None) -> str:
        return os.path.relpath(target or "", self._folder)


def _line(inside: str, outcome: Outcome) -> str:
    return json.dumps({"result": inside, "outcome": plain(outcome)}) + "\n"


def _read(path: Path) -> Iterable[tuple[str, Outcome]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        try:
            entry = json.loads(line)
            known = str(entry["result"]), build(Outcome, entry["outcome"])
        except (ValueError, TypeError, KeyError):
            # Of another version, or cut short: then the model is done again.
            continue
        yield known
