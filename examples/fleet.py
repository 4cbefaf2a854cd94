"""Two hundred models: with processes of this machine, with Ray, and with Dask.

    python -m pip install ".[ray,dask]"
    python examples/fleet.py [--models 200] [--engines jobs ray dask]

The models are small published blocks, each with weights of its own. What runs them is an option
of one command; the bytes that come out are the same, and this script checks that. `busy` is how
many models were worked on at a time. Without an address Ray and Dask start a cluster of this
machine, and end it again; the time that takes is in the figure. RAY_ADDRESS and
DASK_SCHEDULER_ADDRESS name clusters that are there already; their workers have to see the models,
and the folder of the results, under the same paths.
"""
# ruff: noqa: T201 - an example talks to whoever runs it

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

BLOCKS = Path(__file__).parent.parent / "models" / "onnx"
KINDS = ("acb_p1", "repvgg", "mobileone", "ghostnetv3", "repghost")
ENGINES = {
    "jobs": ["--jobs", str(os.cpu_count() or 1)],
    "ray": ["--engine", "ray"],
    "dask": ["--engine", "dask"],
}


def make_models(folder: Path, count: int) -> None:
    """Write `count` models, in one folder for each kind."""
    generator = np.random.default_rng(0)
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        model = onnx.load(BLOCKS / kind / "L.onnx")
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32:
                factors = 1 + generator.random(values.shape, np.float32) / 8
                tensor.CopyFrom(numpy_helper.from_array(values * factors, tensor.name))
        path = folder / kind / f"{number:03}.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)


def run(models: Path, target: Path, options: list[str]) -> tuple[float, float]:
    """Optimize all models; seconds for everything, and for the tasks alone."""
    report = target.with_suffix(".json")
    line = ["optimize", models, "--out-dir", target, "--report", report, "--quiet", *options]
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "onnxac", *map(str, line)], check=True)
    told = json.loads(report.read_text(encoding="utf-8"))
    return time.perf_counter() - began, sum(o["seconds"] for o in told["outcomes"])


def digest(folder: Path) -> str:
    """One hash for the names and the bytes of all models in a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.onnx")):
        found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()


def main() -> None:
    """Run all engines in turn, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=[*ENGINES])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_models(folder / "models", given.models)
        digests, first = set(), 0.0
        print(f"{'engine':8} {'models/s':>9} {'against the first':>18} {'busy':>6}")
        for engine in given.engines:
            seconds, busy = run(folder / "models", folder / engine, ENGINES[engine])
            digests.add(digest(folder / engine))
            first = first or seconds
            rate, workers = given.models / seconds, busy / seconds
            print(f"{engine:8} {rate:9.2f} {first / seconds:17.2f}x {workers:6.2f}")
        same = len(digests) == 1
        print("all bytes are the same" if same else "the bytes differ")
        sys.exit(not same)


if __name__ == "__main__":
    main()
