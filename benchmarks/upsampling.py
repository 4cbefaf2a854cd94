"""Resize and Conv against both forms without a Resize, and how often the cost model is right.

    python benchmarks/upsampling.py          over all shapes
    python benchmarks/upsampling.py 3        over the first three

One thread, interleaved, between two 1×1 convolutions, whose layout the forms have to meet. The
last lines say how often the form that the model takes was the fastest, or within 3 % of it, and
what its choices cost where they were not.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Sequence

import numpy as np
import onnxruntime
from costs import Arrays, model, weights
from onnx import NodeProto, helper

from onnxac.algebra import Axis, Sampling
from onnxac.recipes.cost import (
    Cost,
    block_cost,
    reluctant,
    resize_cost,
    total,
    transposed_cost,
    window_cost,
)
from onnxac.recipes.upsampling import WORTH, phased, spread
from onnxac.recipes.windows import output_padding

Shape = tuple[int, int, int, int, int]
SHAPES: tuple[Shape, ...] = tuple(
    (*sizes, factor, taps)
    for factor, taps in ((2, 3), (2, 5), (3, 3), (4, 3))
    for sizes in (
        (64, 3, 64), (64, 64, 32), (128, 64, 32), (256, 128, 16), (16, 16, 64), (32, 32, 32),
        (96, 24, 20), (256, 256, 8), (8, 8, 32), (128, 128, 40),
    )
)  # fmt: skip
Form = tuple[list[NodeProto], Arrays, Cost]


def axis_of(shape: Shape) -> Axis:
    *_, factor, taps = shape
    return Axis(taps, offset=-(taps // 2), sampling=Sampling(factor))


def resized(shape: Shape) -> Form:
    width, out, size, factor, taps = shape
    long = width * (factor * size) ** 2
    outs = out * (factor * size) ** 2
    nodes = [
        helper.make_node(
            "Resize",
            ["in", "", "scales"],
            ["long"],
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Conv", ["long", "w", "b"], ["out"], pads=[taps // 2] * 4),
    ]
    held = {"scales": np.array([1, 1, factor, factor], np.float32), "b": weights(out)}
    cost = window_cost(outs, (out, width), 1, taps**2) + Cost(elements=long + outs, nodes=1)
    cost += resize_cost(width * size**2, long)
    return nodes, {**held, "w": weights(out, width, taps, taps)}, cost


def transposed(shape: Shape) -> Form:
    width, out, size, factor, _ = shape
    axis = spread(axis_of(shape), factor)
    begin, end, extra = output_padding(axis) or (0, 0, 0)
    node = helper.make_node(
        "ConvTranspose",
        ["in", "w", "b"],
        ["out"],
        strides=[factor] * 2,
        pads=[begin, begin, end, end],
        output_padding=[extra] * 2,
    )
    outs = out * (factor * size) ** 2
    cost = transposed_cost(outs, (out, width), 1, axis.taps**2, factor**2)
    cost += Cost(elements=width * size**2 + outs, nodes=1)
    return [node], {"w": weights(width, out, axis.taps, axis.taps), "b": weights(out)}, cost


def by_phases(shape: Shape) -> Form:
    width, out, size, factor, _ = shape
    found = phased(axis_of(shape), factor)
    axis, deep, long = found.axis, out * factor**2, factor * size
    pads = [axis.pad_begin] * 2 + [axis.pad_end] * 2
    nodes = [
        helper.make_node("Conv", ["in", "w", "b"], ["deep"], pads=pads),
        helper.make_node("DepthToSpace", ["deep"], ["wide"], blocksize=factor, mode="CRD"),
        helper.make_node("Slice", ["wide", "from", "to", "axes"], ["out"]),
    ]
    held = {
        "w": weights(deep, width, axis.taps, axis.taps),
        "b": weights(deep),
        "from": np.array([found.shift] * 2),
        "to": np.array([found.shift + long] * 2),
        "axes": np.array([2, 3]),
    }
    made = deep * axis.length(size) ** 2
    cost = window_cost(made, (deep, width), 1, axis.taps**2)
    cost += Cost(elements=width * size**2 + made, nodes=1)
    return nodes, held, total([cost, block_cost(made), block_cost(out * long**2)])


def session(shape: Shape, form: Form) -> onnxruntime.InferenceSession:
    """The form between two 1×1 convolutions."""
    width, out, *_ = shape
    nodes, held, _ = form
    first = helper.make_node("Conv", ["x", "w0"], ["in"])
    last = helper.make_node("Conv", ["out", "w1"], ["y"])
    more = {"w0": weights(width, width, 1, 1), "w1": weights(out, out, 1, 1)}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model([first, *nodes, last], {**held, **more}), options, providers=["CPUExecutionProvider"]
    )


def milliseconds(sessions: Sequence[onnxruntime.InferenceSession], shape: Shape) -> list[float]:
    """Of each the time that a fifth of its runs takes at most: what else runs only adds to it."""
    feed = {"x": weights(1, shape[0], shape[2], shape[2])}
    times: list[list[float]] = [[] for _ in sessions]
    end = time.perf_counter() + 0.3
    while time.perf_counter() < end or len(times[0]) < 6:
        for opened, taken in zip(sessions, times, strict=True):
            start = time.perf_counter()
            opened.run(None, feed)
            taken.append(time.perf_counter() - start)
    return [1e3 * float(np.percentile(taken[1:], 20)) for taken in times]


def main(number: int) -> None:
    names = ("Resize", "transposed", "phases")
    print(f"{'in, out, size, factor, taps':28}" + "".join(f"{n:>12}" for n in names) + "  taken")
    ratios, losses = [], []
    for shape in itertools.islice(SHAPES, number):
        forms = [resized(shape), transposed(shape), by_phases(shape)]
        times = milliseconds([session(shape, f) for f in forms], shape)
        whole, one, several = forms[0][2].time, *(reluctant(f[2]).time for f in forms[1:])
        best = (2, several) if several < WORTH * one else (1, one)
        taken = best[0] if best[1] < whole else 0
        ratios.append(times[0] / times[taken])
        losses.append(times[taken] / min(times))
        row = "".join(f"{t:9.3f} ms" for t in times)
        print(f"{', '.join(map(str, shape)):28}{row}  {names[taken]}, {ratios[-1]:.2f}×")
    right = sum(loss <= 1.03 for loss in losses)
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"the fastest, or within 3 % of it: {right} of {len(losses)}")
    print(f"worst choice: {max(losses):.2f} times the fastest; on average {mean:.2f}× as fast")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else len(SHAPES))
