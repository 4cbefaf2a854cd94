"""Products with a constant matrix: MatMul, Gemm and Einsum mix the channels of one axis.

The channels of x·W lie on the last axis, those of W·x on the last but one. So LoRA's
x·W + s·(x·A)·B is a sum and a composition like any other.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxac.algebra import Axis, Bias, Channels, Lazy, Obstacle, Sum
from onnxac.algebra.kernel import Array
from onnxac.algebra.layout import View
from onnxac.lowering.context import (
    Context,
    Lowered,
    PerChannel,
    Rule,
    attribute,
    mixed,
    single,
)


def _matmul(node: gs.Node, output: int, context: Context) -> Lowered:
    if len(node.inputs) != 2:
        return None
    left, right = node.inputs
    constants = [context.is_constant(t) for t in (left, right)]
    if sum(constants) != 1:
        held = [t for t in (left, right) if context.is_weight(t)]
        return context.variable(held[0]) if held else None
    matrix, source = (left, right) if constants[0] else (right, left)
    dims, shape = context.static_shape(matrix), context.shape(source)
    if dims is None or shape is None or len(dims) < 2 or len(shape) < 2 or 0 in dims:
        return None
    if len(dims) > len(shape) or any(d != 1 for d in dims[:-2]):
        return None
    rows, columns = dims[-2:]
    axis = len(shape) - (2 if constants[0] else 1)
    if shape[axis] != (columns if constants[0] else rows):
        return Obstacle("attributes", f"{matrix.name} has not as many rows as its input features")
    values = context.array(matrix.name)
    flat = Lazy(lambda v: v.reshape(rows, columns), values)
    kernel = flat if constants[0] else Lazy(lambda v: v.T, flat)
    channels = (rows, columns) if constants[0] else (columns, rows)
    return _product(node, source.name, kernel, channels, axis, context)


def _gemm(node: gs.Node, output: int, context: Context) -> Lowered:
    source, matrix = node.inputs[0], node.inputs[1]
    if not context.is_constant(matrix):
        return context.variable(matrix) if context.is_weight(matrix) else None
    dims, shape = context.static_shape(matrix), context.shape(source)
    if dims is None or len(dims) != 2 or 0 in dims or shape is None or len(shape) != 2:
        return None
    turned = bool(attribute(node, "transA", 0))
    if not attribute(node, "transB", 0):
        dims = (dims[1], dims[0])
    if shape[0 if turned else 1] != dims[1]:
        return Obstacle("attributes", f"{matrix.name} has not as many rows as its input features")
    alpha = float(attribute(node, "alpha", 1.0))
    values = context.array(matrix.name)
    if attribute(node, "transB", 0):
        weight = Lazy(lambda v: alpha * v, values)
    else:
        weight = Lazy(lambda v: alpha * v.T, values)
    view = (1, 0) if turned else None
    found = _product(node, source.name, weight, (dims[0], dims[1]), 1, context, view)
    bias = context.operand(node, 2)
    beta = float(attribute(node, "beta", 1.0))
    if bias is None or not beta:
        return found
    if not context.is_constant(bias):
        return context.variable(bias, "bias")
    shift = context.per_channel(bias, node.outputs[0])
    if not isinstance(shift, PerChannel) or shift.axis == 0:
        return Obstacle("broadcast", f"its bias {bias.name} is not one value per output feature")
    held = Bias(Lazy(lambda v: beta * v, shift.values), shift.axis, shift.size)
    return Sum(found.terms, (held,), found.steps)


def _einsum(node: gs.Node, output: int, context: Context) -> Lowered:
    """An Einsum that contracts one label of an activation with a constant matrix."""
    constants = [context.is_constant(t) for t in node.inputs]
    labels = _labels(node, context)
    if labels is None or len(node.inputs) != 2 or sum(constants) != 1:
        return None
    *operands, result = labels
    (matrix, of_matrix), (source, of_source) = (
        (node.inputs[i], operands[i]) for i in (constants.index(True), constants.index(False))
    )
    dims, shape = context.static_shape(matrix), context.shape(source)
    summed = [c for c in of_matrix if c in of_source and c not in result]
    made = [c for c in of_matrix if c not in of_source and c in result]
    kept = [c for c in of_source if c not in summed]
    if dims is None or len(dims) != 2 or shape is None or len(summed) != 1 or len(made) != 1:
        return None
    if sorted([*kept, *made]) != sorted(result) or len(set(of_source)) != len(of_source):
        return None
    if len(shape) != len(of_source) or len(set(result)) != len(result):
        return None
    at = of_matrix.index(summed[0])
    if shape[of_source.index(summed[0])] != dims[at]:
        return Obstacle("attributes", f"{matrix.name} has not as many rows as its input features")
    values = context.array(matrix.name)
    kernel = Lazy(lambda v: v if at == 1 else v.T, values)
    view = tuple(of_source.index(summed[0] if c == made[0] else c) for c in result)
    axis, channels = result.index(made[0]), (dims[1 - at], dims[at])
    return _product(node, source.name, kernel, channels, axis, context, view)


def _labels(node: gs.Node, context: Context) -> list[str] | None:
    """The labels of an Einsum's operands and of its result, an ellipsis spelled out.

    What the ellipses stand for is broadcast; None where their numbers of axes differ, or where
    the result is left to be guessed.
    """
    equation = str(attribute(node, "equation", "")).replace(" ", "")
    given, arrow, result = equation.partition("->")
    operands = given.split(",")
    if not arrow or len(operands) != len(node.inputs):
        return None
    wide: set[int] = set()
    for tensor, labels in zip(node.inputs, operands, strict=True):
        shape = context.shape(tensor)
        if "..." in labels:
            if shape is None:
                return None
            wide.add(len(shape) - len(labels) + len("..."))
    if len(wide) > 1 or ("..." in result) != bool(wide):
        return None
    # No label of an equation is a digit.
    spelled = "".join(str(i) for i in range(max(wide, default=0)))
    found = [labels.replace("...", spelled) for labels in (*operands, result)]
    return found if len(spelled) < 10 and "." not in "".join(found) else None


def _product(
    node: gs.Node,
    source: str,
    matrix: Lazy[Array],
    channels: tuple[int, int],
    axis: int,
    context: Context,
    view: View | None = None,
) -> Sum:
    """`matrix`, [out, in], times the channels on one axis."""
    step, shape = context.step(node), context.shape(node.outputs[0])
    rank = len(view) if view is not None else len(shape if shape is not None else ())
    if shape is None:
        rank = len(context.facts.shape(source) or ())
    out, width = channels
    kernel = Lazy(lambda m: m.reshape(out, width, *[1] * (rank - 1)), matrix)
    term = mixed(source, kernel, [Axis()] * rank, Channels(axis, out, width, 1), step, view)
    return single(term, step)


RULES: dict[str, Rule] = {"MatMul": _matmul, "Gemm": _gemm, "Einsum": _einsum}
