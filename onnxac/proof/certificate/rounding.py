"""What rounding may account for, before anything is run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto

from onnxac.proof.certificate.cut import Array, Graph
from onnxac.proof.certificate.evaluate import Evaluator

# How unlikely a false pass has to be made.
AIM = 2.0**-40
DOUBLE = 2.0**-53
# Unit roundoff, and the smallest number that has it.
UNITS: dict[int, tuple[float, float]] = {
    TensorProto.FLOAT: (2.0**-24, 2.0**-126),
    TensorProto.FLOAT16: (2.0**-11, 2.0**-14),
    TensorProto.BFLOAT16: (2.0**-8, 2.0**-126),
    TensorProto.DOUBLE: (DOUBLE, 2.0**-1022),
}


def ratio(apart: Array, allowed: Array) -> float:
    """The largest of the quotients; infinite where nothing is allowed and something is there."""
    if not np.all(np.isfinite(apart)):
        return math.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        quotients = np.where(apart > 0, apart / allowed, 0.0)
    return float(quotients.max(initial=0.0))


def gamma(unit: float, count: int) -> float:
    """What `count` roundings come to, relatively: n·u / (1 − n·u)."""
    total = unit * count
    return total / (1 - total) if total < 1 else math.inf


def rounding(side: Evaluator, graph: Graph) -> tuple[int, float, float]:
    """How many nodes hold rounded weights, and the coarsest type of these."""
    layers, unit, tiny = 0, DOUBLE, 2.0**-1022
    for node, _ in side.live:
        kinds = [
            graph.initializers[n].data_type
            for n in node.input
            if n in graph.initializers and graph.initializers[n].data_type in UNITS
        ]
        layers += bool(kinds)
        for kind in kinds:
            u, t = UNITS[kind]
            unit, tiny = max(unit, u), max(tiny, t)
    return max(layers, 1), unit, tiny


def longest_sum(nodes: Iterable[tuple[NodeProto, dict[str, Any]]], side: Evaluator) -> int:
    """At least the length of every sum that one result is made of, layer upon layer."""
    total = 0
    for node, attributes in nodes:
        total += 4
        shapes = [side.constant(n).array.shape for n in node.input if n and side.is_constant(n)]
        if node.op_type in ("AveragePool", "MaxPool"):
            total += math.prod(attributes["kernel_shape"])
        elif node.op_type == "Conv":
            total += math.prod(shapes[-1 if len(shapes) == 1 else 0][1:])
        elif node.op_type in ("ConvTranspose", "MatMul", "Gemm", "Einsum") and shapes:
            total += max(math.prod(s) // max(min(s, default=1), 1) for s in shapes)
    return total
