"""What the proof notices: differences that outputs hide, and one weight that is off.

    python benchmarks/proof.py

Prints a line for each kind of pair of `tests/support/hidden.py`, none of which is equal, how many
of the faults in `tests/support/planting.py` certificates catch, and how many of the fused models of
`models/` are told from themselves with one weight off.
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
from onnxac.proof.certificate import certify
from onnxac.report import FAILS

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

TRIES = 100
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


def planted() -> tuple[int, int]:
    """Kinds of faults in fused models that their certificates catch in every try; of how many."""
    from planting import FAULTS, fused

    caught = 0
    for fault, export in FAULTS:
        before, after, fusions = fused(ROOT / "models" / "onnx" / f"{export}.onnx")
        rng = np.random.default_rng(1)
        named = [(f, n.name) for f in fusions for n in f.added if n.op == "Conv"]
        fusion, name = next(p for p in named if any(fault(after, p[1], rng) for _ in range(9)))
        broken = list[onnx.ModelProto]()
        while len(broken) < TRIES:
            made = fault(after, name, rng)
            broken += [made] * (made is not None)
        caught += all(certify(before, b, [fusion])[0].verdict == FAILS for b in broken)
    return caught, len(FAULTS)


def main() -> None:
    """Print all three."""
    hidden()
    caught, kinds = planted()
    print(f"{caught} of {kinds} kinds of planted faults: certificates catch {TRIES} of {TRIES}")
    for factor in FACTORS:
        told, tried = off_by(factor)
        print(f"one weight x {factor}: {told} of {tried} fused models are told from themselves")


if __name__ == "__main__":
    main()
