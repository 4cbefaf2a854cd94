"""MatMul and Gemm with a constant matrix: pointwise convolutions of their layout.

The channels of x·W lie on the last axis, those of W·x on the last but one; axes before
them are batch. So LoRA's x·W + s·(x·A)·B is a sum and a composition like any other.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.algebra import AffineConv, AffineSum, Axis, Deferred, Obstacle
from onnxac.algebra.affine import Mark
from onnxac.algebra.kernel import Array
from onnxac.lowering.context import Context, Lowered, PerChannel, Rule, attribute


def _matmul(node: gs.Node, output: int, context: Context) -> Lowered:
    left, right = node.inputs
    constants = [context.is_constant(t) for t in (left, right)]
    if sum(constants) != 1:
        return None
    matrix, source = (left, right) if constants[0] else (right, left)
    dims, shape = context.static_shape(matrix), context.shape(source)
    if dims is None or shape is None or len(dims) != 2 or len(shape) < 2 or 0 in dims:
        return None
    met = (shape[-2], dims[1]) if constants[0] else (shape[-1], dims[0])
    if met[0] != met[1]:
        return Obstacle("attributes", f"{matrix.name} has not as many rows as its input features")
    values = context.array(matrix.name)
    if constants[0]:
        return _pointwise(node, source.name, values, (dims[0], dims[1]), 1, context)
    transposed = Deferred(lambda: values().T, values)
    return _pointwise(node, source.name, transposed, (dims[1], dims[0]), 0, context)


def _gemm(node: gs.Node, output: int, context: Context) -> Lowered:
    source, matrix = node.inputs[0], node.inputs[1]
    if not context.is_constant(matrix):
        return None
    if attribute(node, "transA", 0):
        return Obstacle("layout", "transA=1: its channels are on the batch axis")
    dims = context.static_shape(matrix)
    if dims is None or len(dims) != 2 or 0 in dims:
        return None
    shape = context.shape(source)
    if shape is None or shape[-1] != dims[1 if attribute(node, "transB", 0) else 0]:
        return Obstacle("attributes", f"{matrix.name} has not as many rows as its input features")
    alpha = float(attribute(node, "alpha", 1.0))
    values = context.array(matrix.name)
    if attribute(node, "transB", 0):
        weight = Deferred(lambda: alpha * values(), values)
    else:
        weight, dims = Deferred(lambda: alpha * values().T, values), (dims[1], dims[0])
    found = _pointwise(node, source.name, weight, (dims[0], dims[1]), 0, context)
    bias = context.operand(node, 2)
    beta = float(attribute(node, "beta", 1.0))
    if bias is None or not beta:
        return found
    if not context.is_constant(bias):
        return Obstacle("constant", f"its bias {context.why_not(bias)}")
    shift = context.per_channel(bias, node.outputs[0])
    if not isinstance(shift, PerChannel) or shift.layout:
        return Obstacle("broadcast", f"its bias {bias.name} is not one value per output feature")
    held, out = shift.values, dims[0]
    total = Deferred(lambda: np.broadcast_to(beta * held(), (out,)), held)
    return AffineSum(found.terms, total, found.steps)


def _pointwise(
    node: gs.Node,
    source: str,
    matrix: Deferred[Array],
    channels: tuple[int, int],
    layout: int,
    context: Context,
) -> AffineSum:
    step, axes = context.step(node), (Axis(),) * layout
    kernel = Deferred(lambda: matrix().reshape(*channels, *[1] * layout), matrix)
    conv = AffineConv(axes, channels, 1, kernel, marks=(Mark((step,), axes, 1),))
    return AffineSum(((source, conv),), None, frozenset({step}))


RULES: dict[str, Rule] = {"MatMul": _matmul, "Gemm": _gemm}
