"""The parent's side of the worker: start it, ask it, and survive whatever happens to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from onnxac.errors import RuntimeFailure, UsageError
from onnxac.proof import worker
from onnxac.proof.feeds import Array, Feed

Outputs = dict[str, list[Array]]

# How long a worker that was told to end may take before it is killed.
GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Rejection:
    """A model that the runtime does not load, or a feed that it does not run: why, in a line."""

    reason: str
    unimplemented: bool = False


class Worker:
    """A process with models loaded under keys; a context manager.

    Every method raises RuntimeFailure when the process dies, when its memory is
    exhausted beyond what it can report, or when `timeout` seconds are over, counted
    from the start. A model that is merely rejected is a `Rejection`, a value.
    """

    def __init__(self, timeout: float, memory_limit: int | None) -> None:
        if timeout <= 0:
            raise UsageError(f"timeout {timeout} must be a positive number of seconds")
        if memory_limit is not None and memory_limit <= 0:
            raise UsageError(f"memory limit {memory_limit} must be a positive number of bytes")
        if memory_limit is not None and not sys.platform.startswith("linux"):
            raise UsageError("a memory limit can be held on Linux only: leave it out here")
        self._timeout = timeout
        self._memory_limit = memory_limit
        self._expired = False
        self.version = ""

    def __enter__(self) -> Worker:
        # A file, not a pipe: nobody has to read it for the worker to go on.
        self._stderr = tempfile.TemporaryFile()
        limit = "none" if self._memory_limit is None else str(self._memory_limit)
        try:
            self._process = subprocess.Popen(
                [sys.executable, worker.__file__, limit],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                # The worker finds the same packages, wherever this process has them from.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            )
        except OSError as error:
            self._stderr.close()
            raise RuntimeFailure(f"no process can be started to run models: {error}") from error
        # Killing it ends the read that waits for it, on every platform.
        self._timer = threading.Timer(self._timeout, self._expire)
        self._timer.daemon = True
        self._timer.start()
        try:
            self.version = self._receive("when it started")[0]["version"]
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and wait for it."""
        self._timer.cancel()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                _close(stream)
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()

    def load(
        self, key: str, path: Path, backend: str, data: Path | None = None
    ) -> Rejection | None:
        """Load the model at `path` as `key`; None when it is loaded.

        data  the folder of its external data, if that is another one (ONNX Runtime only)
        """
        request = {"op": "load", "key": key, "path": str(path), "backend": backend}
        if data is not None:
            request["data"] = str(data)
        header, _ = self._ask(request, {}, f"while it loaded the {key} model")
        return _rejection(header)

    def run(self, key: str, feeds: Mapping[str, Feed]) -> Outputs | Rejection:
        """The outputs of the model `key`, each as its tensors: one, or those of a sequence."""
        request = {"op": "run", "key": key}
        header, tensors = self._ask(request, feeds, f"while it ran the {key} model")
        outputs = {
            name: value if isinstance(value, list) else [] if value is None else [value]
            for name, value in tensors.items()
        }
        return _rejection(header) or outputs

    def _ask(
        self, request: Mapping[str, Any], feeds: Mapping[str, Feed], when: str
    ) -> tuple[dict[str, Any], worker.Tensors]:
        assert self._process.stdin is not None
        try:
            worker.send(self._process.stdin, request, dict(feeds))
        except OSError as error:
            raise self._death(when) from error
        return self._receive(when)

    def _receive(self, when: str) -> tuple[dict[str, Any], worker.Tensors]:
        assert self._process.stdout is not None
        try:
            return worker.receive(self._process.stdout)
        except EOFError as error:
            raise self._death(when) from error

    def _expire(self) -> None:
        self._expired = True
        self._process.kill()

    def _death(self, when: str) -> RuntimeFailure:
        code = self._process.wait()
        if self._expired:
            return RuntimeFailure(
                f"ONNX Runtime ran out of its {self._timeout:g} s {when}: raise the timeout"
            )
        how = f"exit code {code}" if code >= 0 else f"signal {_signal_name(-code)}"
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return RuntimeFailure(f"ONNX Runtime crashed {when} ({how})" + (last and f": {last[:300]}"))


def _rejection(header: Mapping[str, Any]) -> Rejection | None:
    return None if "ok" in header else Rejection(header["error"], header["unimplemented"])


def _signal_name(number: int) -> str:
    known = {s.value: s.name for s in signal.Signals}
    return known.get(number, str(number)) + (", out of memory?" if number == 9 else "")


def _close(stream: Any) -> None:
    try:
        stream.close()
    except OSError:
        # What was buffered for a process that is gone has no reader; its death is reported.
        return
