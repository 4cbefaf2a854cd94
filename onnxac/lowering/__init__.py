"""Operators as affine sums: one small function per operator.

All knowledge of attributes, opsets and layouts lives in this package.

In   a node, the number of one of its outputs, and a `Context`: what `inference` knows.
Out  the output's definition over the node's inputs, a `Sum`; an `Obstacle` where the operator
     could be linear but this node is not, with the reason; None where there is nothing to say
     (a Mul of two activations is simply not linear).

Requires nothing of the node: whatever an exporter wrote is read, or refused. Ensures that a sum
is exactly what the operator's definition in the standard says, at every size and for every value
of the weights. The graph is not changed, and no other node is looked at.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxac.algebra import Obstacle, Sum
from onnxac.inference.constants import OLDEST_OPSET
from onnxac.lowering import (
    blocks,
    channels,
    identities,
    matmul,
    movement,
    pointwise,
    resampling,
    shapes,
    windowed,
)
from onnxac.lowering.context import Context, Lowered, Rule

RULES: dict[str, Rule] = {
    **identities.RULES,
    **pointwise.RULES,
    **windowed.RULES,
    **movement.RULES,
    **channels.RULES,
    **matmul.RULES,
    **shapes.RULES,
    **blocks.RULES,
    **resampling.RULES,
}

__all__ = ["RULES", "Context", "Lowered", "lower"]


def lower(node: gs.Node, output: int, context: Context) -> Lowered:
    """Definition of the node's output number `output`; see the package's docstring."""
    rule = RULES.get(node.op)
    name = node.outputs[output].name
    if rule is None or not context.is_standard(node):
        return None
    if context.opset < OLDEST_OPSET:
        return Obstacle(
            "opset",
            f"operators of opset {context.opset} are not read; {OLDEST_OPSET} is the oldest",
        )
    fault = context.facts.fault(name)
    if fault is not None:
        return Obstacle("attributes", fault)
    if not context.is_float(name):
        return None
    found = rule(node, output, context)
    if isinstance(found, Sum) and any(not s for s in found.sources):
        return Obstacle("attributes", f"{node.op} lacks an input")
    return found
