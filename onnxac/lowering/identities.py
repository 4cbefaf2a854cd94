"""Operators that, as this node is set, hand their input on: y = x."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.lowering.context import Context, Lowered, Rule, attribute, same


def _identity(node: gs.Node, output: int, context: Context) -> Lowered:
    return same(node, context)


def _dropout(node: gs.Node, output: int, context: Context) -> Lowered:
    training = context.operand(node, 2)
    if training is not None:
        value = context.facts.value(training.name) if context.is_constant(training) else None
        if value is None or bool(np.any(value)):
            return None
    return same(node, context) if output == 0 else None


def _cast(node: gs.Node, output: int, context: Context) -> Lowered:
    """Between float types; where it may be folded is planned (`planning.precision`)."""
    source = node.inputs[0].name
    if context.facts.dtype(source) == context.facts.dtype(node.outputs[0].name):
        return same(node, context)
    return same(node, context) if context.is_float(source) else None


def _leaky_relu(node: gs.Node, output: int, context: Context) -> Lowered:
    return same(node, context) if attribute(node, "alpha", 0.01) == 1 else None


def _prelu(node: gs.Node, output: int, context: Context) -> Lowered:
    slope = node.inputs[1]
    if not context.is_constant(slope):
        return None
    value = context.facts.value(slope.name)
    return same(node, context) if value is not None and bool(np.all(value == 1)) else None


def _clip(node: gs.Node, output: int, context: Context) -> Lowered:
    bounds = []
    for index, name, free in ((1, "min", -np.inf), (2, "max", np.inf)):
        tensor = context.operand(node, index)
        value = attribute(node, name, free)
        if tensor is not None:
            found = context.facts.value(tensor.name) if context.is_constant(tensor) else None
            if found is None or found.size != 1:
                return None
            value = float(np.asarray(found).reshape(()))
        bounds.append(value)
    largest = float(np.finfo(np.float32).max)
    return same(node, context) if bounds[0] <= -largest and bounds[1] >= largest else None


def _single(node: gs.Node, output: int, context: Context) -> Lowered:
    return same(node, context) if len(node.inputs) == 1 else None


RULES: dict[str, Rule] = {
    "Identity": _identity,
    "Dropout": _dropout,
    "Cast": _cast,
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "Clip": _clip,
    "Max": _single,
    "Min": _single,
}
