"""Runs of `optimize_file` that fail at a chosen moment, each in a fork of this process.

Started as a process of its own, so that it has one thread only and may be forked; writes what
became of each run as JSON. Every call that changes something on the disk is a moment; at one
of them the system reports that it is full, the process is told to end, or it is gone at once.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxac.errors import OutputError
from onnxac.pipeline import Options, optimize_file
from onnxac.storage.disk import write_text

QUICK = Options(verify=False)
CALLS = (
    "open",
    "mkdir",
    "fsync",
    "replace",
    "chmod",
    "chown",
    "unlink",
    "rmdir",
    "copy_file_range",
)
DONE, FAILED, TOLD, GONE = 0, 3, 143, 137


def model(factor: int) -> ModelProto:
    """Two branches; `factor` tells one model from another."""
    rng = np.random.default_rng(1)
    weights = {"w3": rng.integers(-2, 3, (8, 8, 3, 3)), "w1": rng.integers(-2, 3, (8, 8, 1, 1))}
    nodes = [
        helper.make_node("Conv", ["x", "w3"], ["a"], pads=[1] * 4),
        helper.make_node("Conv", ["x", "w1"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["s"]),
        helper.make_node("Relu", ["s"], ["r"]),
        helper.make_node("Conv", ["r", "w3"], ["y"], pads=[1] * 4),
    ]
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 8, 5, 5]) for n in ("x", "y")]
    tensors = [
        numpy_helper.from_array(factor * w.astype(np.float32), n) for n, w in weights.items()
    ]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def save(path: Path, factor: int, external: bool) -> None:
    onnx.save(
        model(factor),
        path,
        save_as_external_data=external,
        location=f"{path.name}.bin",
        size_threshold=0,
    )


def seen(path: Path) -> dict[str, Any]:
    """What a reader finds: the nodes, the factor of its weights, and the names of its data."""
    loaded = onnx.load(path)
    onnx.checker.check_model(str(path))
    last = next(t for t in loaded.graph.initializer if t.name == "w3")
    values = numpy_helper.to_array(last)
    plain = numpy_helper.to_array(model(1).graph.initializer[0])
    bare = onnx.load(path, load_external_data=False)
    data = {e.value for t in bare.graph.initializer for e in t.external_data if e.key == "location"}
    return {
        "nodes": len(loaded.graph.node),
        "factor": float((values / np.where(plain == 0, 1, plain)).max()),
        "data": sorted(data),
    }


class Faulty:
    """A file whose writes are moments, too. One that is cut off has written half."""

    def __init__(self, file: IO[bytes], moment: Callable[[str], None]) -> None:
        self._file, self._moment = file, moment

    def write(self, data: bytes) -> int:
        self._file.write(data[: len(data) // 2])
        self._file.flush()
        self._moment("write")
        return self._file.write(data[len(data) // 2 :])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Faulty:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def inject(kind: str, chosen: int, log: int) -> None:
    """Let the `chosen`-th moment fail; its name goes to the file `log`."""
    count = 0

    def moment(name: str) -> None:
        nonlocal count
        count += 1
        if count != chosen:
            return
        os.write(log, name.encode())
        if kind == "gone":
            os._exit(GONE)
        if kind == "told":
            raise SystemExit(TOLD)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def before(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **more: Any) -> Any:
            moment(name)
            return call(*arguments, **more)

        return changed

    plain: Callable[..., Any] = os.fdopen
    for name in CALLS:
        setattr(os, name, before(name, getattr(os, name)))
    setattr(os, "fdopen", lambda *a: Faulty(plain(*a), moment))  # noqa: B010 - it is no method


def forked(work: Callable[[], object]) -> int:
    """Process id of a fork that does the work, and ends as a process does."""
    child = os.fork()
    if child:
        return child
    code = DONE
    try:
        work()
    except OutputError:
        code = FAILED
    except SystemExit as error:
        code = int(error.code or 0)
    atexit._run_exitfuncs()
    os._exit(code)


def status(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def stage(folder: Path, external: bool) -> tuple[Path, Path, set[str]]:
    """A fresh folder with a source and an old target of another factor; and what is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source, target = folder / "in.onnx", folder / "out.onnx"
    save(source, 1, external)
    save(target, 5, external)
    target.with_suffix(".json").write_text("old")
    return source, target, {p.name for p in folder.iterdir()}


def outcome(folder: Path, known: set[str], target: Path) -> dict[str, Any]:
    found = seen(target)
    extra = {p.name for p in folder.iterdir()} - known - set(found["data"])
    write_text(folder / "next.txt", "the next run")
    left = {p.name for p in folder.iterdir()} - known - set(found["data"]) - {"next.txt"}
    found["report"] = target.with_suffix(".json").read_text()
    return {**found, "litter": sorted(extra), "left": sorted(left)}


def broken(kind: str, chosen: int, log: int, source: Path, target: Path) -> None:
    inject(kind, chosen, log)
    optimize_file(source, target, QUICK)
    write_text(target.with_suffix(".json"), "new")


def faults(folder: Path, kind: str, external: bool) -> list[dict[str, Any]]:
    """Every moment of one run, until one is done without having met its fault."""
    found: list[dict[str, Any]] = []
    while True:
        source, target, known = stage(folder, external)
        read, log = os.pipe()

        code = status(forked(partial(broken, kind, len(found) + 1, log, source, target)))
        os.close(log)
        name = os.read(read, 100).decode()
        os.close(read)
        if not name:
            return found
        found.append({"moment": name, "code": code, **outcome(folder, known, target)})


def kills(folder: Path, number: int) -> list[dict[str, Any]]:
    """Runs with external data that are killed after a random time."""
    rng = random.Random(1)
    source, target, _ = stage(folder, True)
    started = time.monotonic()
    status(forked(partial(optimize_file, source, target, QUICK)))
    usual = time.monotonic() - started
    found = []
    for _ in range(number):
        source, target, known = stage(folder, True)
        child = forked(partial(optimize_file, source, target, QUICK))
        time.sleep(rng.uniform(0, 1.2 * usual))
        os.kill(child, signal.SIGKILL)
        found.append({"code": status(child), **outcome(folder, known, target)})
    return found


def crowds(folder: Path, rounds: int, external: bool) -> list[dict[str, Any]]:
    """Eight runs at once, of eight models, on one target."""
    found = []
    for _ in range(rounds):
        _, target, known = stage(folder, external)
        for n in range(8):
            save(folder / f"{n}.onnx", 10 + n, external)
        known = {p.name for p in folder.iterdir()}
        children = [
            forked(partial(optimize_file, folder / f"{n}.onnx", target, QUICK)) for n in range(8)
        ]
        codes = [status(c) for c in children]
        found.append({"codes": codes, **outcome(folder, known, target)})
    return found


DRIVERS: dict[str, Callable[..., list[dict[str, Any]]]] = {
    "faults": faults,
    "kills": kills,
    "crowds": crowds,
}


def main() -> None:
    folder, arguments = Path(sys.argv[2]), map(json.loads, sys.argv[3:])
    sys.stdout.write(json.dumps(DRIVERS[sys.argv[1]](folder, *arguments)))


if __name__ == "__main__":
    main()
