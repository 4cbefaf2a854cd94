"""The folder that a result goes to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnxac.cli.options import STDIO
from onnxac.errors import OutputError, UsageError


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
