"""No output may be slower than its input: CPU time of both, interleaved. `make bench-slower`.

    python benchmarks/never_slower.py [FOLDER ...]      models/onnx where no folder is given

ONNX Runtime's own optimizations are on, with one thread. CPU time instead of wall time: another
process takes from both alike. A pair that looks slower is measured again, since what is left of
the noise goes either way. Exit code 1 where an output takes more than 1.02 of its input.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import ModelProto

from onnxac.errors import OnnxacError
from onnxac.pipeline import Options, optimize
from onnxac.proof.running.feeds import make
from onnxac.proof.running.signature import Size, read_model, read_signature, shapes_at

ROOT = Path(__file__).parents[1]
MOST = 1.02
# Of a pair: seconds that it is measured for, and how often before it counts as slower.
SECONDS, ATTEMPTS = 1.0, 4
SIZES = (224, 64, 32, 16)


def session(model: ModelProto) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options)


def ratio(before: Any, after: Any, feed: dict[str, Any]) -> float:
    """CPU time after / before: the fastest tenth of each, of runs in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times[0]) < 12:
        for runner, taken in zip((before, after), times, strict=True):
            start = time.process_time()
            runner.run(None, feed)
            taken.append(time.process_time() - start)
    old, new = (float(np.quantile(t[2:], 0.1)) for t in times)
    return new / old


def measured(path: Path) -> tuple[float, int, int] | None:
    """The smallest ratio of some attempts, and nodes before and after; None where it can't run."""
    original = read_model(path)
    result, _ = optimize(path, Options(verify=False))
    try:
        before, after = session(original), session(result)
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        print(f"{path.parent.name}/{path.name}: does not load: {str(error)[:80]}")
        return None
    signature = read_signature(original)
    reason = ""
    for size in SIZES:
        feed = make(signature.specs(shapes_at(signature, {}, Size(1, (size, size)))))
        try:
            before.run(None, feed)
        except Exception as error:
            reason = str(error)[:80]
            continue
        least = ratio(before, after, feed)
        for _ in range(ATTEMPTS - 1):
            least = least if least <= MOST else min(least, ratio(before, after, feed))
        return least, len(original.graph.node), len(result.graph.node)
    print(f"{path.parent.name}/{path.name}: runs at no size that was tried: {reason}")
    return None


def main(folders: list[str]) -> int:
    slower = count = 0
    searched = [Path(f) for f in folders] if folders else [ROOT / "models/onnx"]
    for path in sorted(p for f in searched for p in f.rglob("*.onnx")):
        try:
            found = measured(path)
        except OnnxacError as error:
            print(f"{path.parent.name}/{path.name}: {error}")
            continue
        if found is None:
            continue
        least, nodes, left = found
        count += 1
        slower += least > MOST
        verdict = "SLOWER" if least > MOST else ""
        name = f"{path.parent.name}/{path.stem}"
        print(f"{name:40} {nodes:5} -> {left:4} nodes  {least:.3f} {verdict}", flush=True)
    print(f"{count - slower} of {count} are not slower than {MOST}")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
