"""Chains of ACNet blocks, as long as is wanted: how the cost of a tool grows with the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

WIDTH, SIZE, BLOCK = 8, 16, 9


class Chain:
    """Blocks of 3×3, 3×1 and 1×3, each with its BatchNormalization, summed, and a Relu."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self.last = "x"

    def constant(self, name: str, shape: tuple[int, ...], low: float, high: float) -> str:
        values = self.rng.uniform(low, high, shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def branch(self, name: str, taps: tuple[int, int]) -> str:
        bound = (3.0 / (WIDTH * taps[0] * taps[1])) ** 0.5
        weight = self.constant(f"{name}.w", (WIDTH, WIDTH, *taps), -bound, bound)
        pads = [t // 2 for t in taps] * 2
        self.nodes.append(helper.make_node("Conv", [self.last, weight], [name], name, pads=pads))
        statistics = [
            self.constant(f"{name}.{k}", (WIDTH,), low, high)
            for k, low, high in (
                ("gamma", 0.5, 1.0),
                ("beta", -0.2, 0.2),
                ("mean", -0.2, 0.2),
                ("var", 0.5, 2.0),
            )
        ]
        output = f"{name}.bn"
        self.nodes.append(
            helper.make_node("BatchNormalization", [name, *statistics], [output], output)
        )
        return output

    def block(self, name: str) -> None:
        parts = [self.branch(f"{name}.{a}{b}", (a, b)) for a, b in ((3, 3), (3, 1), (1, 3))]
        for op, inputs, output in (
            ("Add", parts[:2], f"{name}.s"),
            ("Add", [f"{name}.s", parts[2]], f"{name}.sum"),
            ("Relu", [f"{name}.sum"], f"{name}.y"),
        ):
            self.nodes.append(helper.make_node(op, inputs, [output], output))
        self.last = f"{name}.y"

    def model(self) -> onnx.ModelProto:
        shape = (1, WIDTH, SIZE, SIZE)
        ends = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x", self.last)
        ]
        graph = helper.make_graph(self.nodes, "chain", ends[:1], ends[1:], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write(nodes: int, path: Path) -> None:
    """A chain of about so many nodes."""
    chain = Chain()
    for i in range(max(nodes // BLOCK, 1)):
        chain.block(f"b{i}")
    onnx.save(chain.model(), path)
