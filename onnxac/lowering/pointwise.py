"""Elementwise operators: sums, and scales and shifts by per-channel constants.

BatchNormalization   y = γ·(x − μ)/√(σ² + ε) + β          Ioffe & Szegedy 2015, algorithm 2
Add, Sub, Sum, Mean  y = ±a ± b, and shifts by constants
Mul, Div, Neg        y = c·x
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.algebra import AffineConv, AffineSum, Deferred, Obstacle
from onnxac.algebra.affine import number
from onnxac.algebra.kernel import Array
from onnxac.lowering.context import (
    Context,
    Lowered,
    PerChannel,
    Rule,
    attribute,
    diagonal,
    equal_shapes,
    same,
)


def _sum(node: gs.Node, signs: Sequence[float], context: Context) -> Lowered:
    """Σ signs·inputs: activations become terms, constants the bias."""
    flowing = [t for t in node.inputs if not context.is_constant(t)]
    if not flowing:
        return None
    if not equal_shapes(flowing, context) and len(flowing) > 1:
        return Obstacle("broadcast", "its operands may differ in shape")
    shifts: list[tuple[PerChannel, float]] = []
    for tensor, sign in zip(node.inputs, signs, strict=True):
        if context.is_constant(tensor):
            shift = context.per_channel(tensor, flowing[0])
            if not isinstance(shift, PerChannel):
                return shift
            if shift.layout is not None or float(shift.values()):
                shifts.append((shift, sign))
    layouts = {(s.layout, s.size) for s, _ in shifts if s.layout is not None}
    if len(layouts) > 1:
        return Obstacle("broadcast", "its constants lie along different axes")
    step = context.step(node)
    terms: list[tuple[str, AffineConv]] = []
    for tensor, sign in zip(node.inputs, signs, strict=True):
        if not context.is_constant(tensor):
            conv = number(sign, (step,))
            for layout, size in layouts:
                conv = conv.laid_out(layout or 0, size)
            terms.append((tensor.name, conv))
    return AffineSum(tuple(terms), _bias(shifts), frozenset({step}))


def _bias(shifts: Sequence[tuple[PerChannel, float]]) -> Deferred[Array] | None:
    if not shifts:
        return None
    needs = [s.values for s, _ in shifts]
    return Deferred(lambda: np.asarray(sum(sign * s.values() for s, sign in shifts)), *needs)


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
    return AffineSum(
        tuple((t.name, number(1.0 / count, (step,))) for t in node.inputs), None, frozenset({step})
    )


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
    return AffineSum(((flowing[0].name, factor.scale(change, step)),), None, frozenset({step}))


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
            return Obstacle("constant", context.why_not(tensor))
        if context.static_shape(tensor) != (channels,):
            return Obstacle("attributes", f"{tensor.name} has not {channels} entries")
    gamma, beta, mean, variance = (context.array(t.name) for t in node.inputs[1:5])
    epsilon = float(attribute(node, "epsilon", 1e-5))
    if not np.all(variance() + epsilon > 0):
        return Obstacle("values", f"{node.inputs[4].name} holds a negative variance")
    scale = Deferred(lambda: gamma() / np.sqrt(variance() + epsilon))
    shift = Deferred(lambda: beta() - mean() * scale(), scale)
    step = context.step(node)
    conv = diagonal(scale, channels, len(shape) - 2, step)
    return AffineSum(((node.inputs[0].name, conv),), shift, frozenset({step}))


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
