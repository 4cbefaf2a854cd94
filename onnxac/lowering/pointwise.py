"""Elementwise operators: sums, and scales and shifts by per-channel constants.

BatchNormalization   y = γ·(x − μ)/√(σ² + ε) + β          Ioffe & Szegedy 2015, algorithm 2
Add, Sub, Sum, Mean  y = ±a ± b, and shifts by constants
Mul, Div, Neg        y = c·x
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.algebra import Bias, Lazy, Obstacle, Sum
from onnxac.algebra.kernel import Array
from onnxac.algebra.term import number
from onnxac.lowering.context import (
    Context,
    Lowered,
    PerChannel,
    Rule,
    attribute,
    diagonal,
    equal_shapes,
    same,
    single,
)


def _sum(node: gs.Node, signs: Sequence[float], context: Context) -> Lowered:
    """Σ signs·inputs: activations become terms, constants the bias."""
    flowing = [t for t in node.inputs if not context.is_constant(t)]
    if not flowing:
        return None
    if not equal_shapes(flowing, context) and len(flowing) > 1:
        return Obstacle("broadcast", "its operands may differ in shape")
    biases: list[Bias] = []
    for tensor, sign in zip(node.inputs, signs, strict=True):
        if context.is_constant(tensor):
            shift = context.per_channel(tensor, flowing[0])
            if not isinstance(shift, PerChannel):
                return shift
            if shift.axis is not None or float(shift.values()):
                biases.append(shift.shift(sign))
    if len({b.axis for b in biases if b.axis is not None}) > 1:
        return Obstacle("broadcast", "its constants lie along different axes")
    step = context.step(node)
    terms = tuple(
        number(t.name, sign, step)
        for t, sign in zip(node.inputs, signs, strict=True)
        if not context.is_constant(t)
    )
    return Sum(terms, tuple(biases), frozenset({step}))


def _add(node: gs.Node, output: int, context: Context) -> Lowered:
    return _sum(node, [1.0] * len(node.inputs), context)


def _sub(node: gs.Node, output: int, context: Context) -> Lowered:
    return _sum(node, [1.0, -1.0], context)


def _neg(node: gs.Node, output: int, context: Context) -> Lowered:
    return same(node, context, -1.0)


def _mean(node: gs.Node, output: int, context: Context) -> Lowered:
    count = len(node.inputs)
    if any(context.is_constant(t) for t in node.inputs) or not equal_shapes(node.inputs, context):
        return None
    step = context.step(node)
    terms = tuple(number(t.name, 1.0 / count, step) for t in node.inputs)
    return Sum(terms, (), frozenset({step}))


def _mul(node: gs.Node, output: int, context: Context) -> Lowered:
    return _scale(node, node.inputs, lambda v: v, context)


def _div(node: gs.Node, output: int, context: Context) -> Lowered:
    if context.is_constant(node.inputs[0]):
        return None
    factor = context.operand(node, 1)
    if factor is not None and context.is_constant(factor):
        value = context.facts.value(factor.name)
        if value is None or not np.all(value):
            return Obstacle("values", "it divides by zero")
    return _scale(node, node.inputs, lambda v: 1.0 / v, context)


def _scale(
    node: gs.Node, operands: Sequence[gs.Tensor], change: Callable[[Array], Array], context: Context
) -> Lowered:
    constants = [t for t in operands if context.is_constant(t)]
    flowing = [t for t in operands if not context.is_constant(t)]
    if len(constants) != 1 or len(flowing) != 1:
        return None
    factor = context.per_channel(constants[0], flowing[0])
    if not isinstance(factor, PerChannel):
        return factor
    step = context.step(node)
    return single(factor.scale(flowing[0].name, change, step), step)


def _batch_normalization(node: gs.Node, output: int, context: Context) -> Lowered:
    if output:
        return None
    if attribute(node, "training_mode", 0) or sum(bool(t.name) for t in node.outputs) > 1:
        return Obstacle("training", "it is in training mode: its statistics depend on the batch")
    if not attribute(node, "spatial", 1):
        return Obstacle("attributes", "spatial=0: its statistics differ from position to position")
    shape = context.shape(node.inputs[0])
    if shape is None or len(shape) < 2 or not isinstance(shape[1], int):
        return Obstacle("shape", f"the channels of {node.inputs[0].name} are not known")
    channels = shape[1]
    for tensor in node.inputs[1:5]:
        if not context.is_constant(tensor):
            return context.variable(tensor)
        if context.static_shape(tensor) != (channels,):
            return Obstacle("attributes", f"{tensor.name} has not {channels} entries")
    gamma, beta, mean, variance = (context.array(t.name) for t in node.inputs[1:5])
    # Attributes are float32, and so is the default of one: it shows in a model in double.
    epsilon = float(attribute(node, "epsilon", float(np.float32(1e-5))))
    if not np.all(variance() + epsilon > 0):
        return Obstacle("values", f"{node.inputs[4].name} holds a negative variance")
    scale = Lazy(lambda g, v: g / np.sqrt(v + epsilon), gamma, variance)
    shift = Lazy(lambda b, m, s: b - m * s, beta, mean, scale)
    step = context.step(node)
    term = diagonal(node.inputs[0].name, scale, channels, 1, len(shape), step)
    return single(term, step, Bias(shift, 1, channels))


RULES: dict[str, Rule] = {
    "Add": _add,
    "Sum": _add,
    "Sub": _sub,
    "Neg": _neg,
    "Mean": _mean,
    "Mul": _mul,
    "Div": _div,
    "BatchNormalization": _batch_normalization,
}
