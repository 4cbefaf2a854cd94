"""Exact forms of one region that compete, all timed, and how often the cost model took the faster.

    python benchmarks/forms.py             every kind, five minutes
    python benchmarks/forms.py concat      one kind, each case
    python benchmarks/forms.py --seconds 3 so long for each case

Each case is a region between two 1×1 convolutions, which set the layout of its maps. Its forms are
what onnxac makes of it by the cost model, what it makes where the estimate is not asked, the other
form of an upsampling, and the region as it is. One thread, interleaved; of each form the least of
many times, so that what else runs on the machine cancels out. A choice is right where it is the
fastest, or within 3 % of it.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from costs import Arrays, model, weights
from onnx import ModelProto, NodeProto, helper
from upsampling import SHAPES

from onnxac.forms import Forms
from onnxac.graph.model import from_proto
from onnxac.options import Options
from onnxac.rounds import fused

NEAR = 1.03
FEW = 3
Dims = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One region: its model, and forms of it that onnxac does not write."""

    kind: str
    name: str
    made: ModelProto
    others: tuple[ModelProto, ...] = ()


class Region:
    """A model that is built node by node: x → 1×1 → Relu → … → Relu → 1×1 → y."""

    def __init__(self, width: int, size: int, *, flat: bool = False) -> None:
        self.nodes: list[NodeProto] = []
        self.held: Arrays = {}
        self.shape = (1, size, width) if flat else (1, FEW, size, size)
        self._count = itertools.count()
        self.flat = flat
        self.begin = "x" if flat else self.op("Relu", self.conv("x", FEW, width))

    def op(self, kind: str, *inputs: str, **attrs: object) -> str:
        """A node; its output's name."""
        out = f"t{next(self._count)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], f"n{out}", **attrs))
        return out

    def hold(self, value: np.ndarray) -> str:
        """A constant; its name."""
        name = f"k{next(self._count)}"
        self.held[name] = value
        return name

    def conv(
        self,
        source: str,
        width: int,
        out: int,
        taps: Dims = (1, 1),
        dilation: int = 1,
        group: int = 1,
        *,
        same: bool = True,
    ) -> str:
        """A convolution with a bias, as large as its source unless not `same`."""
        pads = [dilation * (t // 2) for t in taps] * 2 if same else [0] * 4
        w = self.hold(weights(out, width // group, *taps) / np.float32(np.sqrt(width)))
        b = self.hold(weights(out))
        dilations = [dilation] * 2
        return self.op("Conv", source, w, b, pads=pads, dilations=dilations, group=group)

    def end(self, last: str, out: int) -> ModelProto:
        """The model."""
        last = self.op("Tanh", last) if self.flat else self.conv(self.op("Relu", last), out, 16)
        self.nodes[-1].output[0] = "y"
        found: ModelProto = onnx.load_from_string(model(self.nodes, self.held, self.shape))
        return found


# The kinds.


def upsample() -> Iterator[Case]:
    for width, out, size, factor, taps in SHAPES:
        region = Region(width, size)
        scales = region.hold(np.array([1, 1, factor, factor], np.float32))
        mode = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        long = region.op("Resize", region.begin, "", scales, **mode)
        last = region.conv(long, width, out, (taps, taps))
        name = f"{width} → {out}, {size}², ×{factor}, {taps}×{taps}"
        yield Case("upsample", name, region.end(last, out))


def pyramid() -> Iterator[Case]:
    """Resize, Concat with a map of that size, 1×1."""
    for width, size in ((256, 20), (512, 20), (128, 40), (256, 10), (64, 20), (32, 40), (96, 13)):
        region = Region(width, size)
        scales = region.hold(np.array([1, 1, 2, 2], np.float32))
        mode = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        turned = region.op(
            "ConvTranspose",
            region.begin,
            region.hold(weights(width, width // 2, 2, 2)),
            strides=[2, 2],
        )
        fine = region.op("Relu", turned)
        long = region.op("Resize", region.begin, "", scales, **mode)
        both = region.op("Concat", long, fine, axis=1)
        last = region.conv(both, width + width // 2, width // 2)
        yield Case(
            "pyramid",
            f"{width} + {width // 2} → {width // 2}, {size}²",
            region.end(last, width // 2),
        )


def concat() -> Iterator[Case]:
    shapes = (
        (3, 8, 32), (3, 16, 32), (3, 32, 64), (8, 8, 32), (16, 16, 32), (32, 32, 32), (64, 16, 28),
        (192, 64, 28), (16, 4, 64),
    )  # fmt: skip
    for (width, out, size), taps in itertools.product(shapes, ((3, 5, 7), (1, 3))):
        region = Region(width, size)
        ends = [region.op("Relu", region.conv(region.begin, width, out, (t, t))) for t in taps]
        last = region.op("Concat", *ends, axis=1)
        name = f"{'+'.join(map(str, taps))}, {width} → {out}, {size}²"
        yield Case("concat", name, region.end(last, out * len(taps)))


def added() -> Iterator[Case]:
    """Two convolutions and an Add, whose taps cover each other, grow, or interleave."""
    pairs: dict[str, tuple[tuple[Dims, int], tuple[Dims, int]]] = {
        "3×3 + 1×1": (((3, 3), 1), ((1, 1), 1)),
        "1×3 + 3×1": (((1, 3), 1), ((3, 1), 1)),
        "1×7 + 7×1": (((1, 7), 1), ((7, 1), 1)),
        "3×3 + 3×3 d2": (((3, 3), 1), ((3, 3), 2)),
        "5×5 + 3×3 d3": (((5, 5), 1), ((3, 3), 3)),
    }
    shapes = ((16, 56), (64, 28), (128, 14), (256, 14), (32, 80))
    for (name, pair), (width, size), lone in itertools.product(
        pairs.items(), shapes, (False, True)
    ):
        group = width if lone else 1
        region = Region(width, size)
        ends = [region.conv(region.begin, width, width, t, d, group) for t, d in pair]
        told = f"{name}, {'depthwise ' if lone else ''}{width}, {size}²"
        yield Case("added", told, region.end(region.op("Add", *ends), width))


def grouped() -> Iterator[Case]:
    """A convolution of groups, and a dense one."""
    for width, size, group in (
        (64, 28, 64),
        (64, 28, 4),
        (128, 14, 128),
        (128, 14, 2),
        (32, 56, 32),
    ):
        region = Region(width, size)
        ends = [
            region.conv(region.begin, width, width, (3, 3), 1, group),
            region.conv(region.begin, width, width),
        ]
        told = f"3×3 of {group} groups + 1×1, {width}, {size}²"
        yield Case("grouped", told, region.end(region.op("Add", *ends), width))


def composed() -> Iterator[Case]:
    """Convolutions behind each other: what is narrow between them would be lost."""
    shapes = (
        (64, 16, 64),
        (64, 64, 64),
        (128, 32, 128),
        (16, 64, 16),
        (32, 128, 32),
        (256, 64, 64),
    )
    for (width, narrow, out), taps in itertools.product(shapes, (1, 3)):
        region = Region(width, 28)
        inner = region.conv(region.begin, width, narrow)
        last = region.conv(inner, narrow, out, (taps, taps), same=False)
        yield Case(
            "composed",
            f"1×1, {taps}×{taps}, {width} → {narrow} → {out}, 28²",
            region.end(last, out),
        )


def focus() -> Iterator[Case]:
    for width, out, size, taps in (
        (3, 32, 320, 3), (3, 48, 208, 3), (3, 16, 416, 3), (16, 64, 80, 1), (64, 128, 40, 1),
        (64, 128, 40, 3), (32, 64, 56, 3), (96, 192, 28, 1),
    ):  # fmt: skip
        region = Region(width, size)
        deep = region.op("SpaceToDepth", region.begin, blocksize=2)
        last = region.conv(deep, 4 * width, out, (taps, taps))
        yield Case("focus", f"{width} → {out}, {size}², {taps}×{taps}", region.end(last, out))


def patches() -> Iterator[Case]:
    for channels, size, patch, out in (
        (3, 224, 16, 192), (3, 224, 16, 768), (3, 224, 32, 768), (3, 32, 4, 128), (3, 224, 4, 96),
        (96, 56, 2, 192), (192, 28, 2, 384), (384, 14, 2, 768),
    ):  # fmt: skip
        count, width = size // patch, channels * patch**2
        region = Region(channels, size)
        cut = region.hold(np.array([1, channels, count, patch, count, patch]))
        parts = region.op("Reshape", region.begin, cut)
        turned = region.op("Transpose", parts, perm=[0, 2, 4, 3, 5, 1])
        rows = region.op("Reshape", turned, region.hold(np.array([1, count**2, width])))
        w = region.hold(weights(width, out) / np.float32(np.sqrt(width)))
        last = region.op("Add", region.op("MatMul", rows, w), region.hold(weights(out)))
        region.flat = True
        yield Case(
            "patches", f"{channels}, {size}², {patch}×{patch} → {out}", region.end(last, out)
        )


def products() -> Iterator[Case]:
    """x·W + x·A·B: LoRA, and A·B alone, which is narrow between."""
    for (width, rank, length), alone in itertools.product(
        ((256, 8, 64), (768, 8, 128), (768, 64, 16), (256, 200, 64), (384, 192, 196)), (False, True)
    ):
        region = Region(width, length, flat=True)
        scale = np.float32(np.sqrt(width))
        low = region.op("MatMul", region.begin, region.hold(weights(width, rank) / scale))
        last = region.op("MatMul", low, region.hold(weights(rank, width)))
        if not alone:
            whole = region.op("MatMul", region.begin, region.hold(weights(width, width) / scale))
            last = region.op("Add", last, whole)
        told = f"{'A·B' if alone else 'W + A·B'}, {width}, rank {rank}, {length} rows"
        yield Case("products", told, region.end(last, width))


def gelu() -> Iterator[Case]:
    """A Gelu by its error function left whole, and with its half in the next product."""
    for width, length in ((1024, 64), (3072, 16), (3072, 128), (384, 196), (1536, 49)):
        forms = []
        for whole in (True, False):
            region = Region(width, length, flat=True)
            x = region.begin
            part = region.op("Erf", region.op("Div", x, region.hold(np.array(2**0.5, np.float32))))
            gate = region.op("Add", part, region.hold(np.array(1, np.float32)))
            last = region.op("Mul", x, gate)
            if whole:
                last = region.op("Mul", last, region.hold(np.array(0.5, np.float32)))
            w = region.hold(weights(width, width // 4) / np.float32(width))
            forms.append(region.end(region.op("MatMul", last, w), width // 4))
        yield Case("gelu", f"{width} → {width // 4}, {length} rows", forms[0], (forms[1],))


def pools() -> Iterator[Case]:
    """A 1×1 and an average, which together are one window."""
    for width, out, size in (
        (32, 64, 56),
        (64, 128, 28),
        (128, 256, 28),
        (256, 512, 14),
        (16, 16, 112),
    ):
        region = Region(width, size)
        inner = region.conv(region.begin, width, out)
        last = region.op("AveragePool", inner, kernel_shape=[2, 2], strides=[2, 2])
        yield Case("pools", f"1×1, average 2×2, {width} → {out}, {size}²", region.end(last, out))


KINDS: dict[str, Callable[[], Iterator[Case]]] = {
    f.__name__: f
    for f in (
        upsample, pyramid, concat, added, grouped, composed, focus, patches, products, gelu, pools
    )
}  # fmt: skip


# Forms, and how long they take.


def shapes_of(made: ModelProto) -> object:
    """What tells two forms apart."""
    held = {t.name: tuple(t.dims) for t in made.graph.initializer}
    return sorted(str((n.op_type, [held.get(i) for i in n.input])) for n in made.graph.node)


def forms_of(case: Case) -> list[ModelProto]:
    """The form that the cost model takes, and all others that differ from it."""

    def written(forms: Forms) -> tuple[ModelProto, frozenset[str]]:
        result, report = fused(from_proto(case.made), None, Options(), None, forms)
        return result, frozenset(f.key for f in report.fusions)

    taken, keys = written(Forms())
    tried, more = written(Forms(everywhere=True))
    every = [taken, tried, *case.others]
    every += [written(Forms(swapped=keys))[0], written(Forms(swapped=more, everywhere=True))[0]]
    every.append(case.made)
    found: dict[str, ModelProto] = {}
    for form in every:
        found.setdefault(str(shapes_of(form)), form)
    return list(found.values())


def milliseconds(forms: Sequence[ModelProto], shape: Sequence[int], seconds: float) -> list[float]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [
        onnxruntime.InferenceSession(
            f.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for f in forms
    ]
    feed = {"x": weights(*shape)}
    least = [float("inf")] * len(sessions)
    end, runs = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or runs < 8:
        for place, opened in enumerate(sessions):
            start = time.perf_counter()
            opened.run(None, feed)
            least[place] = min(least[place], time.perf_counter() - start)
        runs += 1
    return [1e3 * t for t in least]


def operators(form: ModelProto) -> str:
    """Operators of a form that are not around its region."""
    ops = [n.op_type for n in form.graph.node]
    return " ".join(o for o in ops if o not in ("Relu", "Tanh", "Slice"))


def main(wanted: Sequence[str], seconds: float) -> None:
    print(f"onnxruntime {onnxruntime.__version__}, one thread, Python {sys.version.split()[0]}")
    print(f"{'kind':12}{'cases':>6}{'right':>7}{'worst wrong choice':>20}", flush=True)
    wrong, cases, right = [], 0, 0
    for kind in wanted or KINDS:
        losses: list[float] = []
        for case in KINDS[kind]():
            forms = forms_of(case)
            if len(forms) < 2:
                continue
            shape = [d.dim_value for d in case.made.graph.input[0].type.tensor_type.shape.dim]
            times = milliseconds(forms, shape, seconds)
            losses.append(times[0] / min(times))
            if wanted:
                told = ", ".join(f"{t:.3f}" for t in times)
                print(f"  {losses[-1]:5.2f}  {case.name}: {told} ms; {operators(forms[0])}")
            if losses[-1] > NEAR:
                best = operators(forms[times.index(min(times))])
                wrong.append(
                    f"{losses[-1]:.2f}×  {kind}: {case.name}; {operators(forms[0])}; {best}"
                )
        good = sum(loss <= NEAR for loss in losses)
        worst = max(losses, default=1.0)
        print(f"{kind:12}{len(losses):6}{good:7}{worst:19.2f}×", flush=True)
        cases, right = cases + len(losses), right + good
    print(f"right in {right} of {cases}, {100 * right / max(cases, 1):.0f} %")
    print("\n".join(["wrong (taken; the fastest):", *sorted(wrong, reverse=True)]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How often the cost model takes the faster form.")
    parser.add_argument("kinds", nargs="*", choices=[[], *KINDS], metavar="KIND")
    parser.add_argument("--seconds", type=float, default=1.2, help="for each case")
    given = parser.parse_args()
    main(given.kinds, given.seconds)
