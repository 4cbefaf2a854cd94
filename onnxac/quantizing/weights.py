"""Ranges of weights, read off a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from onnxac.graph.operators import is_standard
from onnxac.inference.stored import flaw, read
from onnxac.report import Fusion, Ranges, WeightRange, Widened
from onnxac.report.nodes import NodeRef

Values = NDArray[Any]

# The axis of the output channels of a weight, its input 1.
_ROWS = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "Gemm": -1}


def weight_ranges(model: ModelProto, folder: Path) -> tuple[WeightRange, ...]:
    """One entry for each node with a stored weight of floating type, in graph order."""
    weights = _Weights(model, folder)
    found = []
    for node in model.graph.node:
        rows = weights.rows(node)
        if rows is not None:
            kinds = tuple(map(ratio, rows))
            found.append(WeightRange(ref(node), node.input[1], ratio(rows), kinds))
    return tuple(found)


def widened(
    before: tuple[ModelProto, Path], after: Ranges, fusions: Sequence[Fusion]
) -> tuple[Widened, ...]:
    """Merged kernels with a range that is wider than that of each branch which has a weight."""
    made = {w.node.name: w.ratio for w in after.weights}
    weights = _Weights(*before)
    found = []
    for operator in (o for f in fusions for o in f.operators):
        own = made.get(operator.node.name)
        parts = [weights.branch([n.name for n in b.nodes]) for b in operator.branches]
        ratios = tuple(p for p in parts if p is not None)
        if own is not None and len(ratios) > 1 and own > max(ratios):
            found.append(Widened(operator.node, own, ratios))
    return tuple(found)


def ratio(values: Values) -> float:
    """The largest magnitude, in terms of the root mean square; 0 for nothing but zeros."""
    own = np.asarray(values, np.float64)
    mean = math.sqrt(float(np.mean(np.square(own)))) if own.size else 0.0
    largest = float(np.abs(own).max(initial=0.0))
    found = largest / mean if mean else 0.0
    return found if math.isfinite(found) else 0.0


def ref(node: NodeProto) -> NodeRef:
    """The node, as a report names it."""
    return NodeRef(node.name or next(iter(node.output), ""), node.op_type)


class _Weights:
    """The weights of one model by the nodes that read them."""

    def __init__(self, model: ModelProto, folder: Path) -> None:
        self._stored = {t.name: t for t in model.graph.initializer}
        self._nodes = {ref(n).name: n for n in model.graph.node}
        self._folder = folder

    def value(self, name: str) -> Values | None:
        """A stored tensor of floating type; None where there is none that can be read."""
        tensor = self._stored.get(name)
        if tensor is None or flaw(tensor) is not None:
            return None
        values = read(tensor, self._folder)
        return values if values.dtype.kind == "f" or values.dtype.name == "bfloat16" else None

    def rows(self, node: NodeProto) -> Values | None:
        """The weight with the output channels first, [outputs, everything else]."""
        axis = _ROWS.get(node.op_type) if is_standard(node.domain) else None
        values = self.value(node.input[1]) if axis is not None and len(node.input) > 1 else None
        if axis is None or values is None or values.ndim < 2 or not values.size:
            return None
        if node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute):
            axis = 0
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        if node.op_type == "ConvTranspose" and groups > 1:
            parts = values.reshape(groups, -1, *values.shape[1:]).swapaxes(1, 2)
            return np.asarray(parts.reshape(groups * values.shape[1], -1))
        return np.asarray(np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1))

    def branch(self, names: Sequence[str]) -> float | None:
        """The ratio of a branch's only weight, its rows scaled as a normalization behind does."""
        nodes = [self._nodes[n] for n in names if n in self._nodes]
        weighted = [r for n in nodes if (r := self.rows(n)) is not None]
        if len(weighted) != 1:
            return None
        (rows,) = weighted
        for node in nodes:
            if node.op_type == "BatchNormalization" and len(node.input) == 5:
                gamma, variance = (self.value(node.input[i]) for i in (1, 4))
                epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
                if gamma is not None and variance is not None and gamma.size == len(rows):
                    rows = rows * (gamma / np.sqrt(variance + epsilon))[:, None]
        return ratio(rows)
