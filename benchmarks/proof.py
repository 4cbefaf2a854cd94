"""What the run of whole models notices: differences that outputs hide, and one weight that is off.

    python benchmarks/proof.py

Prints a line for each kind of pair of `tests/support/hidden.py`, none of which is equal, and how
many of the fused models of `models/` are told from themselves with one weight off.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from onnxac import Options, optimize
from onnxac.errors import OnnxacError
from onnxac.proof import verify

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

FACTORS = (1.05, 1.001, 1.0001)
BLOCKS = ("acnet_seed", "dbb_single", "mobileone", "repvgg", "lcnetv3", "linear_bn")


def hidden() -> None:
    """The verdict on each kind."""
    from hidden import PAIRS

    verdicts = Counter[str]()
    for kind, made in PAIRS.items():
        verdict = verify(*made()).verdict
        verdicts[verdict] += 1
        print(f"  {kind:32} {verdict}")
    print(f"{len(PAIRS) - verdicts['equal']} of {len(PAIRS)} kinds are not called equal")


def off_by(factor: float) -> tuple[int, int]:
    """Fused models that are told from themselves with their largest weight off; of how many."""
    told = tried = 0
    for block in BLOCKS:
        source = next(iter(sorted((ROOT / "models" / "onnx" / block).glob("B.onnx"))), None)
        if source is None:
            continue
        after = optimize(source, Options(verify=False))[0]
        tensor = max(after.graph.initializer, key=lambda t: len(t.raw_data))
        values = numpy_helper.to_array(tensor).copy()
        values.flat[int(np.argmax(np.abs(values)))] *= np.float32(factor)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        tried += 1
        try:
            told += verify(onnx.load(source), after).verdict == "different"
        except OnnxacError as error:
            print(f"  {block}: {error}")
    return told, tried


def main() -> None:
    """Print both."""
    hidden()
    for factor in FACTORS:
        told, tried = off_by(factor)
        print(f"one weight x {factor}: {told} of {tried} fused models are told from themselves")


if __name__ == "__main__":
    main()
