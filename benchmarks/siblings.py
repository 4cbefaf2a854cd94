"""Operators over one tensor whose results go apart: apart, or as one operator and a Split.

    python benchmarks/siblings.py            in ONNX Runtime
    python benchmarks/siblings.py openvino   in OpenVINO, where that is installed

One thread, interleaved. Each operator is followed by what follows it in the network: an
activation and a window, or the heads of attention; in front stands a 1×1 convolution, or a bias.
The last lines say how often the one operator was faster by more than 3 %, and what it costs on
average.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from costs import Arrays, model, weights
from onnx import ModelProto, NodeProto, helper

from onnxac.proof.running.runtimes import ONNX_RUNTIME, Session, runtime_of

Nodes = list[NodeProto]
Form = tuple[Nodes, Arrays]


@dataclass(frozen=True)
class Siblings:
    """Convolutions over [1, width, size, size], or products over [1, size, width].

    outs   channels of each
    taps   along each axis; 0 for a product
    after  what follows each
    """

    name: str
    width: int
    size: int
    outs: tuple[int, ...]
    taps: int = 1
    after: str = "Silu"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what they read."""
        square = (self.width, self.size, self.size)
        return (1, *square) if self.taps else (1, self.size, self.width)


def attention(name: str, width: int, *lengths: int) -> list[Siblings]:
    return [Siblings(name, width, n, (width,) * 3, 0, "heads") for n in lengths]


CASES = [
    *attention("q, k, v of BERT mini", 256, 16, 64, 128),
    *attention("q, k, v of MiniLM", 384, 16, 128, 384),
    *attention("q, k, v of BERT base", 768, 1, 16, 64, 128, 384),
    Siblings("k, v of cross-attention", 768, 77, (320, 320), 0, "heads"),
    Siblings("gate, up of a SwiGLU", 512, 64, (1408, 1408), 0, "gate"),
    Siblings("CSP, 1×1", 64, 160, (32, 32)),
    Siblings("CSP, 1×1", 64, 80, (32, 32)),
    Siblings("CSP, 1×1", 128, 80, (64, 64)),
    Siblings("CSP, 1×1", 128, 40, (64, 64)),
    Siblings("CSP, 1×1", 256, 40, (128, 128)),
    Siblings("CSP, 1×1", 256, 20, (128, 128)),
    Siblings("CSP, 1×1", 512, 20, (256, 256)),
    Siblings("CSP, 1×1", 256, 40, (128, 128), after="Relu"),
    Siblings("CSP, 1×1", 512, 20, (256, 256), after="Relu"),
    Siblings("head, 3×3", 64, 80, (64, 80), 3),
    Siblings("head, 3×3", 128, 40, (64, 80), 3),
    Siblings("head, 3×3", 256, 20, (64, 80), 3),
    Siblings("head, 3×3", 128, 40, (128, 128), 3, "Relu"),
    Siblings("head, 3×3", 16, 40, (8, 8), 3, "Relu"),
    Siblings("last 1×1 of a head", 256, 20, (4, 1, 80), after="none"),
    Siblings("last 1×1 of a head", 64, 80, (4, 1, 80), after="none"),
    Siblings("RetinaFace, 1×1", 64, 80, (8, 4, 20), after="none"),
    Siblings("RetinaFace, 1×1", 64, 20, (8, 4, 20), after="none"),
    Siblings("SSD, 3×3", 64, 40, (12, 6), 3, "none"),
    Siblings("SSD, 3×3", 256, 10, (24, 126), 3, "none"),
    Siblings("MTCNN, 1×1", 32, 100, (2, 4), after="none"),
    Siblings("Inception, 1×1", 192, 28, (64, 96, 16), after="Relu"),
    Siblings("Inception, 1×1", 512, 14, (192, 96, 16), after="Relu"),
    Siblings("Inception, 1×1", 832, 7, (384, 192, 48), after="Relu"),
    Siblings("Fire, 1×1 of two squeezes", 128, 56, (16, 16), after="Relu"),
]


def kernel(case: Siblings, out: int) -> tuple[int, ...]:
    return (out, case.width, case.taps, case.taps) if case.taps else (case.width, out)


def operator(case: Siblings, end: str, out: int) -> Form:
    """One convolution, or one product and its bias."""
    w, b = f"w{end}", f"b{end}"
    held = {w: weights(*kernel(case, out)) / math.sqrt(case.width), b: weights(out)}
    if case.taps:
        pads = [case.taps // 2] * 4
        return [helper.make_node("Conv", ["in", w, b], [end], pads=pads)], held
    product = helper.make_node("MatMul", ["in", w], [f"m{end}"])
    return [product, helper.make_node("Add", [f"m{end}", b], [end])], held


def activation(case: Siblings, source: str, end: str) -> Nodes:
    if case.after == "Relu":
        return [helper.make_node("Relu", [source], [end])]
    gate = helper.make_node("Sigmoid", [source], [f"s{end}"])
    return [gate, helper.make_node("Mul", [source, f"s{end}"], [end])]


def followed(case: Siblings, source: str, number: int) -> Form:
    """What reads one of the results; it ends in y and the number."""
    end, out = f"y{number}", case.outs[number]
    if case.after == "heads":
        heads = out // 64 if out % 64 == 0 else out // 32
        held = {"heads": np.array([1, case.size, -1, out // heads])}
        perm = [0, 2, 3, 1] if number == 1 else [0, 2, 1, 3]
        cut = helper.make_node("Reshape", [source, "heads"], [f"h{end}"])
        return [cut, helper.make_node("Transpose", [f"h{end}"], [end], perm=perm)], held
    if case.after == "gate":
        return (activation(case, source, end), {}) if number == 0 else ([], {})
    window = {f"u{end}": weights(out, out, 3, 3) if number == 0 else weights(out, out, 1, 1)}
    if case.after == "none":
        flat = f"flat{end}"
        held = {flat: np.array([1, out, -1])}
        return [helper.make_node("Reshape", [source, flat], [end])], held
    pads = [1] * 4 if number == 0 else [0] * 4
    return [helper.make_node("Conv", [source, f"u{end}"], [end], pads=pads)], window


def ends(case: Siblings) -> Nodes:
    """All results as one tensor, so that each is computed."""
    count = range(len(case.outs))
    if case.after == "gate":
        return [helper.make_node("Mul", ["y0", "o1"], ["y"])]
    totals = [helper.make_node("ReduceMax", [f"y{i}"], [f"z{i}"], keepdims=0) for i in count]
    return [*totals, helper.make_node("Sum", [f"z{i}" for i in count], ["y"])]


def begin(case: Siblings) -> Form:
    if case.taps:
        held = {"w0": weights(case.width, case.width, 1, 1)}
        return [helper.make_node("Conv", ["x", "w0"], ["in"])], held
    return [helper.make_node("Add", ["x", "b0"], ["in"])], {"b0": weights(case.width)}


def built(case: Siblings, *, one: bool) -> ModelProto:
    """The siblings between what surrounds them, apart or as one."""
    nodes, held = begin(case)
    parts: list[Form] = []
    acts = case.after in ("Relu", "Silu")
    names = [f"o{i}" for i in range(len(case.outs))]
    if one:
        parts.append(operator(case, "all", sum(case.outs)))
        last = "all"
        if acts:
            parts.append((activation(case, "all", "act"), {}))
            last = "act"
        axis = 1 if case.taps else 2
        split = helper.make_node("Split", [last, "sizes"], names, axis=axis)
        parts.append(([split], {"sizes": np.array(case.outs)}))
    else:
        for name, out in zip(names, case.outs, strict=True):
            parts.append(operator(case, f"c{name}" if acts else name, out))
            parts.append((activation(case, f"c{name}", name) if acts else [], {}))
    parts += [followed(case, name, i) for i, name in enumerate(names)]
    for made, more in parts:
        nodes += made
        held.update(more)
    return onnx.load_from_string(model([*nodes, *ends(case)], held, case.shape))


def milliseconds(sessions: Sequence[Session], shape: Sequence[int]) -> list[float]:
    """Of each the time that a fifth of its runs takes at most: what else runs only adds to it."""
    feed = {"x": weights(*shape)}
    times: list[list[float]] = [[] for _ in sessions]
    end = time.perf_counter() + 0.4
    while time.perf_counter() < end or len(times[0]) < 8:
        for opened, taken in zip(sessions, times, strict=True):
            start = time.perf_counter()
            opened.run(None, feed)
            taken.append(time.perf_counter() - start)
    return [1e3 * float(np.percentile(taken[1:], 20)) for taken in times]


def main(name: str) -> None:
    """Print a line for each case."""
    runtime = runtime_of(name, None)
    print(f"{'case':28}{'in, size, out':24}{'apart':>11}{'one, Split':>13}{'apart / one':>13}")
    ratios: list[float] = []
    for case in CASES:
        sessions = []
        for one in (False, True):
            sessions.append(runtime.load(built(case, one=one), 1))
        apart, together = milliseconds(sessions, case.shape)
        ratios.append(apart / together)
        told = f"{case.width}, {case.size}, {'+'.join(map(str, case.outs))}"
        print(f"{case.name:28}{told:24}{apart:8.3f} ms{together:10.3f} ms{ratios[-1]:12.2f}×")
    faster = sum(r > 1.03 for r in ratios)
    slower = sum(r < 1 / 1.03 for r in ratios)
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"one operator and a Split: faster in {faster}, slower in {slower} of {len(ratios)}")
    print(f"on average {mean:.2f}× as fast; from {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ONNX_RUNTIME)
