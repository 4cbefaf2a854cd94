"""Weights as matrices: a row for each output channel, a column for each input channel.

Where input channel i comes divided by s, and output channel o is to be divided by t, column i is
multiplied by s, and row o and its bias are divided by t. Groups are blocks, and taps are the last
axis: [groups, outputs of a group, inputs of a group, taps].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxac.equalizing.channels import Values

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Form:
    """How the weight of an operator is laid out.

    bias     which input of the node is added to the rows; -1 where none is
    groups   of its channels
    columns  the first axis of the weight is that of the input channels
    last     the channels are on the last axis of input and output, else on axis 1
    """

    bias: int
    groups: int
    columns: bool
    last: bool

    def axis(self, rank: int) -> int:
        """The axis of the channels in a tensor of that rank."""
        return rank - 1 if self.last else 1

    def blocks(self, weight: Values) -> Values:
        """The weight by groups, [groups, outputs, inputs, taps]; a view."""
        first, second = weight.shape[:2]
        parts = weight.reshape(self.groups, first // self.groups, second, -1)
        return parts.swapaxes(1, 2) if self.columns else parts

    def scaled(self, weight: Values, columns: Floats, rows: Floats) -> Values:
        """The weight times a factor per column and per row, rounded once."""
        each = rows.reshape(self.groups, -1, 1) * columns.reshape(self.groups, 1, -1)
        each = each.swapaxes(1, 2) if self.columns else each
        factors = each.reshape(*weight.shape[:2], *[1] * (weight.ndim - 2))
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(weight * factors).astype(weight.dtype)


def form_of(node: gs.Node, shape: tuple[int, ...]) -> Form | str:
    """How the node's weight of that shape, its input 1, is laid out; or why it can't be told."""
    rank = len(shape)
    if node.op in ("Conv", "ConvTranspose") and rank >= 3:
        groups = int(node.attrs.get("group", 1))
        if groups < 1 or shape[0] % groups:
            return f"its channels can't be split into {groups} groups"
        return Form(2, groups, columns=node.op == "ConvTranspose", last=False)
    if node.op == "Gemm" and rank == 2:
        if node.attrs.get("transA", 0):
            return "its input is transposed"
        return Form(2, 1, columns=not node.attrs.get("transB", 0), last=True)
    if node.op == "MatMul" and rank == 2:
        return Form(-1, 1, columns=True, last=True)
    return "its weight is not laid out as a matrix"
