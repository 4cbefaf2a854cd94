"""The process that runs models, started: when it is asked for, or ahead of that.

It takes as long to start as the rest of a small job. Who knows that it will be needed starts it
first, and it loads its libraries while this process loads its own. Imports nothing of either.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import IO

# Nothing that happens to lie in the folder it is started in is imported. What is loaded at first
# is no garbage, and at the end nothing is left to be put in order.
PROGRAM = """\
import gc, os, sys
gc.disable()
sys.path = [p for p in sys.path if p]
from onnxac.proof.running.worker import main
main()
os._exit(0)
"""

# How long a process that was told to end may take before it is killed.
GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Started:
    """A process that waits for its first message, and what it writes to stderr."""

    process: subprocess.Popen[bytes]
    stderr: IO[bytes]

    def end(self) -> None:
        """End it and wait for it."""
        for stream in (self.process.stdin, self.process.stdout):
            # What was buffered for a process that is gone has no reader; its death is reported.
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            self.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.stderr.close()


_waiting: ContextVar[list[Started] | None] = ContextVar("_waiting", default=None)


def start() -> Started:
    """Start one. Raises OSError where the system does not."""
    # A file, not a pipe: nobody has to read it for the process to go on.
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={
                # Threads that would be started with NumPy, and have nothing to do.
                "OPENBLAS_NUM_THREADS": "1",
                **os.environ,
                # It finds the same packages, wherever this process has them from.
                "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            },
        )
    except OSError:
        stderr.close()
        raise
    return Started(process, stderr)


@contextlib.contextmanager
def ahead() -> Iterator[None]:
    """Start one now; the first that is asked for inside of the block is this one."""
    waiting: list[Started] = []
    # Who asks for one is told what the system has against it.
    with contextlib.suppress(OSError):
        waiting.append(start())
    token = _waiting.set(waiting)
    try:
        yield
    finally:
        _waiting.reset(token)
        for unused in waiting:
            unused.process.kill()
            unused.end()


def take() -> Started:
    """The one that was started ahead, else a new one. Raises OSError where that can't be."""
    waiting = _waiting.get()
    return waiting.pop() if waiting else start()
