"""Standard streams: models that come in by one, and streams that are closed or full."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from onnxac.cli.options import STDIO
from onnxac.errors import ModelError, UsageError

if TYPE_CHECKING:
    from onnx import ModelProto

NAME = "standard input"


def settle() -> None:
    """Have all three streams open, so that no file of ours becomes one of them.

    What is read from a closed one is empty, and what is written to standard output fails.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_RDWR)):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is the one that is closed.
            os.open(os.devnull, flags)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def abandon(number: int) -> None:
    """Let go of a stream that takes nothing: what is buffered must not be tried again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def model_from_stdin() -> ModelProto:
    """The checked model on standard input. Raises ModelError, or UsageError on a terminal."""
    from onnxac.storage.files import check, external_tensors, parse

    if sys.stdin.isatty():
        raise UsageError(f"{NAME} is a terminal; pipe a model into it")
    model = parse(sys.stdin.buffer.read(), NAME)
    if any(True for _ in external_tensors(model)):
        raise ModelError(f"{NAME}: the model has external data; give its path instead")
    check(model, NAME)
    return model


@contextmanager
def at_paths(places: Sequence[Path]) -> Iterator[list[Path]]:
    """The places as files; standard input as one that is gone afterwards."""
    if all(str(p) != STDIO for p in places):
        yield list(places)
        return
    if sum(str(p) == STDIO for p in places) > 1:
        raise UsageError(f"{NAME} holds one model only; give the other one as a file")
    from onnxac.storage.disk import scratch

    model = model_from_stdin()
    with scratch() as workspace:
        with workspace.create("model.onnx") as out:
            out.write(model.SerializeToString())
        yield [workspace.path / "model.onnx" if str(p) == STDIO else p for p in places]
