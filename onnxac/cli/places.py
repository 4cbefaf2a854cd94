"""Where models are: folders, patterns, and the folder that a result goes to."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from onnxac.cli.options import STDIO
from onnxac.errors import OutputError, UsageError


def find_models(places: Sequence[str]) -> dict[str, str | None]:
    """The models at all places, each once, and why where a place has none.

    A place is a file, `-`, a folder with .onnx files at any depth, or a pattern in which `**`
    stands for any folders.
    """
    found: dict[str, str | None] = {}
    for place in places:
        matches, trouble = _at(place)
        found |= dict.fromkeys(matches, None) if matches else {place: trouble}
    return found


def _at(place: str) -> tuple[list[str], str | None]:
    if place == STDIO or os.path.isfile(place):
        return [place], None
    if os.path.isdir(place):
        inside = sorted(str(p) for p in Path(place).rglob("*.onnx") if p.is_file())
        return inside, "no .onnx file is in this folder"
    if glob.has_magic(place):
        matches = sorted(p for p in glob.glob(place, recursive=True) if os.path.isfile(p))
        return matches, "no file has a name like that"
    # Reading it says what is wrong.
    return [place], None


def in_folder(target: str, source: str) -> str:
    """OUT, if that is a folder, with IN's name in it."""
    if target == STDIO or not (target.endswith(os.sep) or os.path.isdir(target)):
        return target
    if source == STDIO:
        raise UsageError(f"{target}: is a folder; name a file in it for standard input")
    return str(Path(target) / Path(source).name)


@contextmanager
def made(target: str | None) -> Iterator[None]:
    """OUT, if it is written as a folder that is not there; gone again if nothing came into it."""
    folder = Path(target or ".")
    if target is None or not target.endswith(os.sep) or folder.exists():
        yield
        return
    if not folder.parent.is_dir():
        raise OutputError(f"{target}: its folder {folder.parent} does not exist; create it first")
    try:
        folder.mkdir()
    except OSError as error:
        raise OutputError(f"{folder}: can't be made: {error.strerror}") from error
    try:
        yield
    except BaseException:
        folder.rmdir()
        raise
