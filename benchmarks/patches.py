"""Patches that are multiplied with a matrix, before and after they are one convolution.

    python benchmarks/patches.py

One thread, interleaved. Shapes are those of published models; the last is PatchMerging's.
"""

from __future__ import annotations

import numpy as np
from costs import weights
from onnx import ModelProto, TensorProto, helper
from onnx.numpy_helper import from_array

from onnxac.pipeline import Options, optimize
from onnxac.proof.running.latency import compare_latency

# Channels, pixels along a side, pixels of a patch along a side, features.
SHAPES = {
    "ViT-Ti/16": (3, 224, 16, 192),
    "ViT-B/16": (3, 224, 16, 768),
    "ViT-B/32": (3, 224, 32, 768),
    "MLP-Mixer, CIFAR": (3, 32, 4, 128),
    "Swin-T": (3, 224, 4, 96),
    "a stage": (96, 56, 2, 192),
}


def embedding(channels: int, size: int, patch: int, features: int) -> ModelProto:
    """[1, C, size, size] → [1, patches, features]."""
    count, width = size // patch, channels * patch * patch
    held = {
        "cut": np.array([1, channels, count, patch, count, patch], np.int64),
        "rows": np.array([1, count * count, width], np.int64),
        "w": weights(width, features),
        "b": weights(features),
    }
    nodes = [
        helper.make_node("Reshape", ["x", "cut"], ["parts"]),
        helper.make_node("Transpose", ["parts"], ["turned"], perm=[0, 2, 4, 3, 5, 1]),
        helper.make_node("Reshape", ["turned", "rows"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "patches",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, count * count, features])],
        [from_array(v, k) for k, v in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> None:
    """Print a line for each shape."""
    print(f"{'':18}{'before, ms':>12}{'after, ms':>12}{'ratio':>8}")
    for name, shape in SHAPES.items():
        before = embedding(*shape)
        after, _ = optimize(before, Options(verify=False))
        found = compare_latency(before, after)
        print(f"{name:18}{found.before_ms:12.3f}{found.after_ms:12.3f}{found.ratio:8.2f}")


if __name__ == "__main__":
    main()
