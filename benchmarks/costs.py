"""What operators cost in ONNX Runtime, as the table that `onnxac.recipes.cost` is made from.

    python benchmarks/costs.py

One thread, medians. The estimate beside each measurement is the cost model's; what matters
is that both rank alternatives alike, so the last part compares pairs.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from statistics import median

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from onnxac.recipes.cost import Cost, window_cost

RNG = np.random.default_rng(0)
Arrays = dict[str, np.ndarray]


def weights(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def model(
    nodes: Sequence[onnx.NodeProto], constants: Arrays, shape: Sequence[int] | None = None
) -> bytes:
    graph = helper.make_graph(
        list(nodes),
        "cost",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    made: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return made


def microseconds(data: bytes, shape: Sequence[int]) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    feed = {"x": weights(*shape)}
    times: list[float] = []
    end = time.perf_counter() + 0.2
    while time.perf_counter() < end or len(times) < 7:
        start = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - start)
    return median(times) * 1e6


def conv(
    out: int, width: int, taps: int, group: int, name: str = "y"
) -> tuple[list[onnx.NodeProto], Arrays]:
    pads = [taps // 2] * 4
    node = helper.make_node("Conv", ["x", f"w{name}", f"b{name}"], [name], pads=pads, group=group)
    return [node], {f"w{name}": weights(out, width // group, taps, taps), f"b{name}": weights(out)}


def estimate(out: int, width: int, taps: int, group: int, pixels: int) -> Cost:
    outputs = out * pixels**2
    moved = Cost(elements=width * pixels**2 + outputs, nodes=1)
    return window_cost(outputs, (out, width), group, taps**2) + moved


def show_convolutions() -> None:
    print(f"{'convolution':34s} {'measured':>10s} {'estimated':>10s} {'ns per MAC':>11s}")
    for channels, pixels in ((3, 32), (16, 56), (32, 56), (64, 56), (128, 28), (256, 14)):
        for taps, dense in itertools.product((1, 3, 5, 7), (True, False)):
            group = 1 if dense else channels
            nodes, constants = conv(channels, channels, taps, group)
            taken = microseconds(model(nodes, constants), (1, channels, pixels, pixels))
            cost = estimate(channels, channels, taps, group, pixels)
            kind = "dense" if dense else "depthwise"
            name = f"{kind} {taps}x{taps}, {channels} channels, {pixels}^2"
            per_mac = taken * 1e3 / cost.macs
            print(f"{name:34s} {taken:8.1f} us {cost.time / 1e3:8.1f} us {per_mac:11.4f}")


def show_concat() -> None:
    """Three branches, each Conv, Relu, MaxPool, into Concat; against the merged form."""
    heads = ("apart", "merged", "ratio", "estimate")
    print("\n3x3, 5x5, 7x7 into Concat".ljust(35), *(h.rjust(11) for h in heads))
    for width, out, pixels in ((3, 8, 32), (3, 16, 32), (3, 32, 64), (8, 8, 32), (32, 32, 32)):
        nodes: list[onnx.NodeProto] = []
        constants: Arrays = {}
        apart, ends = Cost(), []
        for taps in (3, 5, 7):
            made, held = conv(out, width, taps, 1, f"c{taps}")
            nodes += [*made, *tail(f"c{taps}", f"p{taps}")]
            constants.update(held)
            ends.append(f"p{taps}")
            apart += estimate(out, width, taps, 1, pixels) + Cost(nodes=2)
        nodes.append(helper.make_node("Concat", ends, ["y"], axis=1))
        shape = (1, width, pixels, pixels)
        before = microseconds(model(nodes, constants), shape)
        made, held = conv(3 * out, width, 7, 1, "c")
        after = microseconds(model([*made, *tail("c", "y")], held), shape)
        merged = estimate(3 * out, width, 7, 1, pixels) + Cost(nodes=2)
        apart += Cost(elements=2 * 3 * out * (pixels // 2) ** 2, nodes=1)
        name = f"{width} -> 3 x {out} channels, {pixels}^2"
        print(
            f"{name:34s} {before:8.1f} us {after:8.1f} us {before / after:11.2f} "
            f"{apart.time / merged.time:11.2f}"
        )


def tail(source: str, end: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Relu", [source], [f"r{end}"]),
        helper.make_node("MaxPool", [f"r{end}"], [end], kernel_shape=[2, 2], strides=[2, 2]),
    ]


if __name__ == "__main__":
    print(f"onnxruntime {onnxruntime.__version__}, one thread, Python {sys.version.split()[0]}\n")
    show_convolutions()
    show_concat()
