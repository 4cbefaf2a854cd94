"""Blocks of linear operators, each before and after it is merged: one line per block.

    python benchmarks/linear.py          all blocks
    python benchmarks/linear.py shuffle  those whose names hold a word

One thread, interleaved, of sizes as published models have them. `upsampling.py` and `patches.py`
go through the shapes of two of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
from costs import Arrays, weights
from onnx import ModelProto, NodeProto, TensorProto, helper
from onnx.numpy_helper import from_array

from onnxac.pipeline import Options, optimize
from onnxac.proof.running.latency import compare_latency

Parts = tuple[list[NodeProto], Arrays, tuple[int, ...]]
node = helper.make_node


def conv(source: str, out: str, widths: tuple[int, int], taps: int = 3) -> tuple[NodeProto, Arrays]:
    """A dense convolution of the source's own size, (in, out) channels, and its weights."""
    held = {f"{out}.w": weights(widths[1], widths[0], taps, taps), f"{out}.b": weights(widths[1])}
    return node("Conv", [source, *held], [out], pads=[taps // 2] * 4), held


def upsampled(width: int, out: int, size: int, spelling: str = "Resize") -> Parts:
    """A decoder: twice the size, nearest, and a 3×3."""
    last, held = conv("long", "y", (width, out))
    if spelling == "Resize":
        held["scales"] = np.array([1, 1, 2, 2], np.float32)
        attrs = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return [node("Resize", ["x", "", "scales"], ["long"], **attrs), last], held, (width, size)
    held |= {
        "cut": np.array([1, width, size, 1, size, 1]),
        "often": np.array([1, 1, 1, 2, 1, 2]),
        "joined": np.array([1, width, 2 * size, 2 * size]),
    }
    nodes = [
        node("Reshape", ["x", "cut"], ["parts"]),
        node("Tile", ["parts", "often"], ["more"]),
        node("Reshape", ["more", "joined"], ["long"]),
    ]
    return [*nodes, last], held, (width, size)


def bilinear(width: int, out: int, size: int) -> Parts:
    """A segmentation head: twice the size, bilinear, and a 1×1."""
    last, held = conv("long", "y", (width, out), 1)
    held["scales"] = np.array([1, 1, 2, 2], np.float32)
    return [node("Resize", ["x", "", "scales"], ["long"], mode="linear"), last], held, (width, size)


def pyramid(width: int, fine: int, out: int, size: int) -> Parts:
    """A PAN: twice the size, joined with a finer map that is read beside it, and a 1×1."""
    first, held = conv("x", "wide", (width, fine * 4), 1)
    last, more = conv("both", "y", (width + fine, out), 1)
    held |= {**more, "scales": np.array([1, 1, 2, 2], np.float32)}
    nodes = [
        first,
        node("DepthToSpace", ["wide"], ["apart"], blocksize=2),
        node("Relu", ["apart"], ["fine"]),
        node(
            "Resize", ["x", "", "scales"], ["long"],
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        ),
        node("Concat", ["long", "fine"], ["both"], axis=1),
        last,
    ]  # fmt: skip
    return nodes, held, (width, size)


def focus(out: int, size: int) -> Parts:
    """YOLOv5's and YOLOX's stem: four strided slices, joined, and a 3×3."""
    nodes, held = list[NodeProto](), Arrays()
    for i, place in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        held |= {f"from{i}": np.array(place), "to": np.array([size, size])}
        held |= {"axes": np.array([2, 3]), "steps": np.array([2, 2])}
        nodes.append(node("Slice", ["x", f"from{i}", "to", "axes", "steps"], [f"part{i}"]))
    last, more = conv("deep", "y", (12, out))
    joined = node("Concat", [f"part{i}" for i in range(4)], ["deep"], axis=1)
    return [*nodes, joined, last], {**held, **more}, (3, size)


def shuffle(width: int, out: int, size: int, *, block: int, then: str) -> Parts:
    """A head of super-resolution: a 3×3, PixelShuffle, and what follows it."""
    first, held = conv("x", "deep", (width, out * block**2))
    if then == "written out":
        held |= {
            "cut": np.array([1, out, block, block, size, size]),
            "joined": np.array([1, out, block * size, block * size]),
        }
        nodes = [
            node("Reshape", ["deep", "cut"], ["parts"]),
            node("Transpose", ["parts"], ["turned"], perm=[0, 1, 4, 2, 5, 3]),
            node("Reshape", ["turned", "joined"], ["y"]),
        ]
        return [first, *nodes], held, (width, size)
    spread = node("DepthToSpace", ["deep"], ["long"], blocksize=block, mode="CRD")
    if then == "scale":
        held["s"] = weights(out, 1, 1)
        return [first, spread, node("Mul", ["long", "s"], ["y"])], held, (width, size)
    if then == "1×1":
        last, more = conv("long", "y", (out, out), 1)
        return [first, spread, last], {**held, **more}, (width, size)
    held["scales"] = np.array([1, 1, block, block], np.float32)
    attrs = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    skip = node("Resize", ["x", "", "scales"], ["skip"], **attrs)
    return [first, spread, skip, node("Add", ["long", "skip"], ["y"])], held, (width, size)


def patches(out: int, size: int, patch: int) -> Parts:
    """ViT's embedding as MLP-Mixer and MAE write it."""
    count, width = size // patch, 3 * patch * patch
    held = {
        "cut": np.array([1, 3, count, patch, count, patch]),
        "rows": np.array([1, count * count, width]),
        "w": weights(width, out),
    }
    nodes = [
        node("Reshape", ["x", "cut"], ["parts"]),
        node("Einsum", ["parts"], ["turned"], equation="nchpwq->nhwpqc"),
        node("Reshape", ["turned", "rows"], ["flat"]),
        node("MatMul", ["flat", "w"], ["y"]),
    ]
    return nodes, held, (3, size)


def normalized(out: int, size: int) -> Parts:
    """x / 255, − mean, / std, channels backwards, and a padded 3×3."""
    last, held = conv("ready", "y", (3, out))
    held |= {
        "most": np.float32([255.0]),
        "mean": weights(3, 1, 1),
        "std": weights(3, 1, 1) ** 2 + 1,
    }
    held |= {k: np.array([v]) for k, v in {"b": -1, "e": -(2**62), "a": 1, "s": -1}.items()}
    nodes = [
        node("Slice", ["x", "b", "e", "a", "s"], ["turned"]),
        node("Div", ["turned", "most"], ["small"]),
        node("Sub", ["small", "mean"], ["centred"]),
        node("Div", ["centred", "std"], ["ready"]),
    ]
    return [*nodes, last], held, (3, size)


BLOCKS: dict[str, Callable[[], Parts]] = {
    "VAE decoder, 256 → 256": lambda: upsampled(256, 256, 16),
    "U-Net stage, 128 → 64": lambda: upsampled(128, 64, 32),
    "generator's last, 64 → 3": lambda: upsampled(64, 3, 64),
    "upsampling with Tile, 64 → 64": lambda: upsampled(64, 64, 32, "Tile"),
    "bilinear and 1×1, 128 → 21": lambda: bilinear(128, 21, 40),
    "PAN, 256 + 128 → 128": lambda: pyramid(256, 128, 128, 20),
    "Focus, YOLOv5s": lambda: focus(32, 640),
    "Focus, YOLOX-nano": lambda: focus(16, 416),
    "PixelShuffle written out": lambda: shuffle(32, 3, 64, block=3, then="written out"),
    "PixelShuffle and a scale": lambda: shuffle(64, 3, 64, block=2, then="scale"),
    "PixelShuffle and a 1×1": lambda: shuffle(64, 32, 32, block=2, then="1×1"),
    "PixelShuffle and a skip": lambda: shuffle(3, 3, 128, block=3, then="skip"),
    "ViT-B/16's patches": lambda: patches(768, 224, 16),
    "normalized, BGR, 3×3": lambda: normalized(32, 224),
}


def built(parts: Parts) -> ModelProto:
    """The block as a model, its input [1, C, size, size]."""
    nodes, held, (channels, size) = parts
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [from_array(v, k) for k, v in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main(words: Sequence[str]) -> None:
    """Print a line for each block."""
    print(f"{'':32}{'nodes':>8}{'before, ms':>12}{'after, ms':>12}{'ratio':>8}")
    for name, build in BLOCKS.items():
        if words and not any(w in name for w in words):
            continue
        before = built(build())
        after, _ = optimize(before, Options(verify=False))
        found = compare_latency(before, after)
        count = f"{len(before.graph.node)} → {len(after.graph.node)}"
        times = f"{found.before_ms:12.3f}{found.after_ms:12.3f}{found.ratio:8.2f}"
        print(f"{name:32}{count:>8}{times}")


if __name__ == "__main__":
    main(sys.argv[1:])
