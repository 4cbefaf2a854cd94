"""Memory and time of `onnxac optimize` on models of gigabytes, beside `cp` of the same files.

    python benchmarks/large.py [FOLDER] [CASE ...]

Takes 15 GB of disk in FOLDER (by default where temporary files go), and a few minutes. Time is
that of onnxac with its data on the disk, as a multiple of `cp`, which leaves that to the system,
and of `cp` with a `sync` of the copy; all three in turn, the least of some rounds each. Memory
is the most that all processes of the command had at once: `own` is what nothing but them can
free, `resident` counts what is mapped from files as well, each process for itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from onnxac.storage.wire import point

CHANNELS = 1024
LARGE, SMALL = (CHANNELS, CHANNELS, 3, 3), (CHANNELS, CHANNELS, 1, 1)
GIGA, MEGA = 1e9, 1e6
ROUNDS = 3


@dataclass(frozen=True)
class Case:
    """`pairs` of branches that merge, `others` that nothing merges with, and how it is run.

    single  all in one file
    noisy   the output is mostly rounding, so that its noise has to be measured
    """

    pairs: int
    others: int
    options: tuple[str, ...]
    single: bool = False
    noisy: bool = False


CASES = {
    "external, all fused": Case(60, 0, ("--no-verify",)),
    "external, all fused, proven": Case(60, 0, ()),
    "one file of 2.14 GB": Case(51, 0, ("--no-verify",), single=True),
    "one file of 2.14 GB, proven": Case(51, 0, (), single=True),
    "one file of 0.97 GB, noise measured": Case(23, 0, (), single=True, noisy=True),
    "external, 5 % touched": Case(4, 77, ("--no-verify",)),
    "external, 5 % touched, proven": Case(4, 77, ()),
}


def make(case: Case, path: Path) -> None:
    """Write the model, one weight at a time."""
    nodes: list[NodeProto] = []
    tensors: list[TensorProto] = []
    rng = np.random.default_rng(0)
    data = path.with_name("data.bin")
    # One draw, shifted from weight to weight; of a size that keeps activations near 1.
    drawn = rng.standard_normal(LARGE[0] * LARGE[1] * 9 + 4096).astype(np.float32) / 50

    with data.open("wb") as out:

        def weight(name: str, shape: tuple[int, ...]) -> str:
            count = int(np.prod(shape))
            first = int(rng.integers(4096))
            tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
            start = out.tell()
            out.write(drawn[first : first + count].tobytes())
            point(tensor, data.name, start, 4 * count)
            tensors.append(tensor)
            return name

        last = "x"
        for n in range(case.pairs + case.others):
            nodes += _layer(n, last, n < case.pairs, weight)
            last = f"r{n}"
    if case.noisy:
        far = helper.make_tensor("far", TensorProto.FLOAT, [], [100.0])
        tensors.append(far)
        nodes.append(helper.make_node("Add", [last, "far"], ["away"]))
        nodes.append(helper.make_node("Sub", ["away", "far"], ["y"]))
    nodes[-1].output[0] = "y"
    info = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, CHANNELS, 2, 2)) for n in ("x", "y")
    ]
    graph = helper.make_graph(nodes, "large", info[:1], info[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if case.single:
        onnx.load_external_data_for_model(model, str(path.parent))
        data.unlink()
    path.write_bytes(model.SerializeToString())


def _layer(n: int, last: str, pair: bool, weight: object) -> Iterator[NodeProto]:
    assert callable(weight)
    yield helper.make_node("Conv", [last, weight(f"w{n}", LARGE)], [f"a{n}"], pads=[1] * 4)
    if pair:
        yield helper.make_node("Conv", [last, weight(f"v{n}", SMALL)], [f"b{n}"])
        yield helper.make_node("Add", [f"a{n}", f"b{n}"], [f"s{n}"])
    yield helper.make_node("Relu", [f"s{n}" if pair else f"a{n}"], [f"r{n}"])


def tree(root: int) -> Iterator[int]:
    """A process and those that it started."""
    yield root
    try:
        children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from tree(int(child))


def memory(root: int) -> tuple[int, int]:
    """Bytes of a process and its children: their own, and resident."""
    own = resident = 0
    for process in tree(root):
        try:
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
        except OSError:
            continue
        values = {
            k: int(v.split()[0]) * 1024
            for k, _, v in (s.partition(":") for s in lines)
            if k in ("RssAnon", "VmRSS")
        }
        own += values.get("RssAnon", 0)
        resident += values.get("VmRSS", 0)
    return own, resident


def measured(command: list[str]) -> tuple[float, int, int]:
    """Seconds, and the most memory of each kind. Raises RuntimeError where it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    own = resident = 0
    while process.poll() is None:
        now = memory(process.pid)
        own, resident = max(own, now[0]), max(resident, now[1])
        time.sleep(0.01)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return time.perf_counter() - started, own, resident


def copied(folder: Path) -> tuple[float, float]:
    """Seconds that copying takes, without and with having it on the disk."""
    target = folder / "copy"
    target.mkdir()
    started = time.perf_counter()
    subprocess.run(["cp", "-r", str(folder / "in"), str(target)], check=True)
    seconds = time.perf_counter() - started
    subprocess.run(["sync", *map(str, (target / "in").iterdir())], check=True)
    whole = time.perf_counter() - started
    shutil.rmtree(target)
    os.sync()
    return seconds, whole


def in_turn(
    folder: Path, command: list[str]
) -> tuple[list[tuple[float, float]], list[tuple[float, int, int]]]:
    """What `copied` and `measured` say, one after the other."""
    copies, runs = [], []
    os.sync()
    for _ in range(ROUNDS):
        copies.append(copied(folder))
        runs.append(measured(command))
        shutil.rmtree(folder / "out")
        (folder / "out").mkdir()
        os.sync()
    return copies, runs


def main() -> None:
    """Measure the cases that are named, or all."""
    place = sys.argv[1] if len(sys.argv) > 1 else None
    head = f"{'':36}  {'GB':>5}  {'time':>7}  {'of cp':>5}  {'with sync':>9}"
    print(f"{head}  {'own':>8}  {'resident':>8}")
    for name in sys.argv[2:] or CASES:
        case = CASES[name]
        with tempfile.TemporaryDirectory(dir=place) as made:
            folder = Path(made)
            (folder / "in").mkdir()
            (folder / "out").mkdir()
            source = folder / "in" / "model.onnx"
            make(case, source)
            size = sum(p.stat().st_size for p in (folder / "in").iterdir())
            command = [sys.executable, "-m", "onnxac", "optimize", str(source)]
            command += [str(folder / "out" / "model.onnx"), "-q", *case.options]
            copies, runs = in_turn(folder, command)
            seconds = min(runs)[0]
            own, resident = max(r[1] for r in runs), max(r[2] for r in runs)
            plain, synced = (min(c[i] for c in copies) for i in range(2))
            print(
                f"{name:36}  {size / GIGA:5.2f}  {seconds:5.1f} s  {seconds / plain:5.1f}  "
                f"{seconds / synced:9.1f}  {own / MEGA:5.0f} MB  {resident / MEGA:5.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    main()
