"""What certificates cost: `optimize` with them and without, each a whole process, interleaved.

    python benchmarks/certificates.py [FOLDER] [--most N] [--rounds N]

For each model below FOLDER (models/onnx by default; evenly spread, N of them) four processes run in
turn, and the least of their process times counts: all of `optimize`; the same without certificates;
without any proof; and onnxsim, where it is installed. Printed are medians of the ratios, and what
the certificates say: how many hold, and below which chance a wrong change passes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# A process in between, because resource usage is summed over all children.
MEASURE = """\
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], capture_output=True).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, used.ru_utime + used.ru_stime)
"""
# The command, with an empty verdict in place of each certificate.
UNCERTIFIED = """\
import sys
from onnxac.cli import run
from onnxac.proof import isolation
from onnxac.report import OPEN, Certificate
nothing = Certificate(OPEN, "", (), 0, 0.0, 0.0, 1.0, 0.0, 0)
isolation.certify = lambda before, after, fusions, *_: [nothing] * len(fusions)
sys.exit(run(sys.argv[1:]))
"""
NAMES = ("with all of it", "without certificates", "without any proof", "onnxsim")


def seconds(command: list[str]) -> float | None:
    """Process time of a command and what it starts; None where it fails."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], capture_output=True, check=True, text=True
    )
    code, used = done.stdout.split()
    return float(used) if code == "0" else None


def commands(source: Path, folder: Path) -> Iterator[list[str]]:
    target = str(folder / "out.onnx")
    job = ["optimize", str(source), target, "-q"]
    own = [sys.executable, "-m", "onnxac", *job]
    yield [*own, "--report", str(folder / "report.json")]
    yield [sys.executable, "-c", UNCERTIFIED, *job]
    yield [*own, "--no-verify"]
    if importlib.util.find_spec("onnxsim") is not None:
        yield [sys.executable, "-m", "onnxsim", str(source), target]


def certificates(report: Path) -> list[dict[str, Any]]:
    told = json.loads(report.read_text())
    return [f["certificate"] for f in told["fusions"]]


def chosen(folder: Path, most: int) -> list[Path]:
    found = sorted(folder.rglob("*.onnx"))
    step = max(len(found) // most, 1)
    return found[::step][:most]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "models" / "onnx")
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    ratios: dict[str, list[float]] = {name: [] for name in NAMES[1:]}
    made: list[dict[str, Any]] = []
    worst = (0.0, "")
    with tempfile.TemporaryDirectory() as folder:
        for source in chosen(asked.folder, asked.most):
            best: list[float | None] = []
            for _ in range(asked.rounds):
                for index, command in enumerate(commands(source, Path(folder))):
                    used = seconds(command)
                    best += [used] * (index == len(best))
                    known = best[index]
                    best[index] = used if known is None else min(known, used or known)
            if best[0] is None:
                print(f"  {source}: not optimized")
                continue
            made += certificates(Path(folder) / "report.json")
            for name, other in zip(NAMES[1:], best[1:], strict=False):
                if other is not None:
                    ratios[name].append(best[0] / other)
            if best[1] is not None:
                worst = max(worst, (best[0] / best[1], source.name))
    holding = [c for c in made if c["verdict"] == "holds"]
    chance = max((c["false_pass"] for c in holding), default=0.0)
    print(f"{len(holding)} of {len(made)} changes have a certificate that holds")
    print(f"a wrong one passes with a chance of at most {chance:.1e}; 2^-40 is {2.0**-40:.1e}")
    print("process time of optimize with all of it, as a multiple, in the median:")
    for name, found in ratios.items():
        if found:
            middle = statistics.median(found)
            print(f"  {middle:5.2f}  of {name:22} {len(found)} models")
    print(f"  {worst[0]:5.2f}  of without certificates at most: {worst[1]}")


if __name__ == "__main__":
    main()
