"""The parent's side of the worker: start it, ask it, and survive whatever happens to it."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from onnxac.errors import RuntimeFailure
from onnxac.proof.judging.compare import Array, Axis, Gap
from onnxac.proof.running.feeds import Fill, Shape, Spec
from onnxac.proof.running.messages import receive, send
from onnxac.proof.running.spawn import take

AGAIN = -1


@dataclass(frozen=True)
class Rejection:
    """A model that the runtime does not load, or a feed that it does not run: why, in a line.

    unimplemented  the runtime knows the operator, but not for this element type
    unknown        the runtime does not know the operator
    """

    reason: str
    unimplemented: bool = False
    unknown: bool = False


@dataclass(frozen=True)
class Result:
    """A run of the model `key` on the feed that stands.

    moved  seeds a feed that is off by a rounding; `AGAIN` is the feed itself, another time
    """

    key: str
    moved: int | None = None


@dataclass(frozen=True)
class Pair:
    """Two tensors to compare, one of each model, and the least magnitude they are judged at."""

    first: str
    second: str
    floor: float = 0.0


class Worker:
    """A process with models loaded under keys; a context manager.

    Every method raises RuntimeFailure when the process dies, when its memory is
    exhausted beyond what it can report, or when `timeout` seconds are over, counted
    from the start. What is merely rejected is a `Rejection`, a value.

    hint    what to do about it, for the messages of these failures
    called  what models are called in them, by their keys
    spacing ε of a type that values are as coarse as, whatever their own types are
    """

    def __init__(
        self,
        timeout: float,
        memory_limit: int | None,
        hint: str = "",
        called: Mapping[str, str] | None = None,
        spacing: float = 0.0,
    ) -> None:
        self._timeout = timeout
        self._memory_limit = memory_limit
        self._hint = hint
        self._called = called or {}
        self._spacing = spacing
        self._expired = False
        self.version = ""

    def __enter__(self) -> Worker:
        try:
            self._started = take()
        except OSError as error:
            raise RuntimeFailure(f"no process can be started to run models: {error}") from error
        self._process = self._started.process
        # Killing it ends the read that waits for it, on every platform.
        self._timer = threading.Timer(self._timeout, self._expire)
        self._timer.daemon = True
        self._timer.start()
        try:
            hello, _ = self._ask({"memory_limit": self._memory_limit}, "when it started")
            self.version = hello["version"]
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
        self._started.end()

    def load(
        self,
        key: str,
        path: Path,
        backend: str,
        *,
        folder: Path | None = None,
        libraries: Sequence[Path] = (),
        renamed: Mapping[str, str] | None = None,
    ) -> Rejection | None:
        """Load the model at `path` as `key`; None when it is loaded.

        folder   where its external data lies, if not beside it
        renamed  what the model calls inputs, by their names in the feed
        """
        request = {
            "op": "load",
            "key": key,
            "path": str(path),
            "backend": backend,
            "folder": None if folder is None else str(folder),
            "libraries": [str(p) for p in libraries],
            "renamed": dict(renamed or {}),
        }
        return _rejection(self._ask(request, f"while it loaded {self._called.get(key, key)}")[0])

    def drop(self, key: str) -> None:
        """Give up the model `key`, and what it made."""
        self._ask({"op": "drop", "key": key}, "while it gave up a model")

    def feed(
        self, specs: Sequence[Spec], fill: Fill, file: Path | None = None
    ) -> dict[str, Shape] | Rejection:
        """Make the inputs that models are run on from now on; their shapes.

        file  real inputs, in place of made-up ones
        """
        request = {
            "op": "feed",
            "specs": [asdict(s) for s in specs],
            "fill": asdict(fill),
            "file": None if file is None else str(file),
        }
        header, _ = self._ask(request, "while it made inputs")
        rejected = _rejection(header)
        return rejected or {name: tuple(s) for name, s in header["shapes"].items()}

    def run(
        self, key: str, moved: int | None = None, names: Sequence[str] | None = None
    ) -> Rejection | None:
        """Run the model `key` on the feed that stands, or on one that is off by a rounding.

        names  outputs to keep, if not all; at least one
        """
        request = {
            "op": "run",
            "key": key,
            "moved": moved,
            "least": self._spacing,
            "names": None if names is None else list(dict.fromkeys(names)),
        }
        return _rejection(self._ask(request, f"while it ran {self._called.get(key, key)}")[0])

    def gaps(
        self,
        first: Result,
        second: Result,
        pairs: Sequence[Pair],
        *,
        elementwise: tuple[float, float] | None = None,
        wide: bool = False,
    ) -> list[Gap]:
        """How far the tensors of two runs on the feed that stands are apart, pair by pair."""
        request = {
            "op": "gaps",
            "first": [first.key, first.moved],
            "second": [second.key, second.moved],
            "pairs": [[p.first, p.second, p.floor] for p in pairs],
            "elementwise": elementwise,
            "wide": wide,
        }
        header, arrays = self._ask(request, "while it compared results")
        rejected = _rejection(header)
        if rejected is not None:
            raise RuntimeFailure(f"the results can't be compared: {rejected.reason}{self._hint}")
        return [_gap(h, i, arrays, self._spacing) for i, h in enumerate(header["gaps"])]

    def ranges(self, key: str, axes: Mapping[str, int | None]) -> dict[str, Array]:
        """Of the last run of a model: least and largest values of its outputs of float32.

        axes  output → the axis of its channels, or None for all of it

        Arrays of shape [2, channels], or [2]; outputs that have no values are left out.
        """
        request = {"op": "ranges", "key": key, "axes": dict(axes)}
        header, arrays = self._ask(request, "while it looked for ranges")
        rejected = _rejection(header)
        if rejected is not None:
            raise RuntimeFailure(f"ranges can't be told: {rejected.reason}{self._hint}")
        return arrays

    def noise(self, first: str, second: str, names: Sequence[str]) -> float | None:
        """Energy of what outputs of a model's last run are off, in parts of the first's.

        The mean over those of floating type that are not all 0; None where there is none.
        """
        request = {"op": "noise", "first": first, "second": second, "names": list(names)}
        header, _ = self._ask(request, "while it compared results")
        rejected = _rejection(header)
        if rejected is not None:
            raise RuntimeFailure(f"the results can't be compared: {rejected.reason}{self._hint}")
        found: float | None = header["noise"]
        return found

    def _ask(
        self, request: Mapping[str, Any], when: str
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        assert self._process.stdin is not None
        try:
            send(self._process.stdin, request)
        except OSError as error:
            raise self._death(when) from error
        return self._receive(when)

    def _receive(self, when: str) -> tuple[dict[str, Any], dict[str, Array]]:
        assert self._process.stdout is not None
        try:
            return receive(self._process.stdout)
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
                f"{self._hint.replace('; ', ', or ')}"
            )
        how = f"exit code {code}" if code >= 0 else f"signal {_signal_name(-code)}"
        self._started.stderr.seek(0)
        lines = self._started.stderr.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        said = last and f": {last[:300]}"
        return RuntimeFailure(f"ONNX Runtime crashed {when} ({how}){said}{self._hint}")


def _rejection(header: Mapping[str, Any]) -> Rejection | None:
    if "ok" in header:
        return None
    return Rejection(header["error"], header["unimplemented"], header["unknown"])


def _gap(header: Mapping[str, Any], index: int, arrays: Mapping[str, Array], spacing: float) -> Gap:
    epsilon = header["epsilon"]
    low, high = header["range"] or (math.inf, -math.inf)
    return Gap(
        arrays[f"{index}.distances"],
        arrays[f"{index}.scales"],
        header["floor"],
        tuple(Axis(*a) for a in header["axes"]),
        header["reason"],
        None if epsilon is None else max(epsilon, spacing),
        low,
        high,
        header["size"],
    )


def _signal_name(number: int) -> str:
    known = {s.value: s.name for s in signal.Signals}
    return known.get(number, str(number)) + (", out of memory?" if number == 9 else "")
