"""One optimizer, once: `run.py TOOL IN OUT`, in the environment of the peers.

Each is called as its own documentation does, with its defaults.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


def onnxsim(source: str, target: str) -> None:
    import onnx
    from onnxsim import simplify

    model, fine = simplify(onnx.load(source))
    if not fine:
        raise RuntimeError("onnxsim's own check failed")
    onnx.save(model, target)


def onnxslim(source: str, target: str) -> None:
    from onnxslim import slim

    slim(source, target)


def onnxoptimizer(source: str, target: str) -> None:
    import onnx
    from onnxoptimizer import get_fuse_and_elimination_passes, optimize

    onnx.save(optimize(onnx.load(source), get_fuse_and_elimination_passes()), target)


def onnxscript(source: str, target: str) -> None:
    import onnx
    from onnxscript.optimizer import optimize

    onnx.save(optimize(onnx.load(source)), target)


def onnxruntime(source: str, target: str) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = target
    ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


TOOLS: dict[str, Callable[[str, str], None]] = {
    f.__name__: f for f in (onnxsim, onnxslim, onnxoptimizer, onnxscript, onnxruntime)
}

if __name__ == "__main__":
    TOOLS[sys.argv[1]](sys.argv[2], sys.argv[3])
