"""Operands that nodes compute at run time though they follow: targets of Reshapes, zero states.

A pass over the graph behind the rewriting.

Requires  nodes in topological order; facts on the tensors that the file had.
Ensures   every tensor that is left has the value that it had; names that are needed stay; the
          graph has no node more.

All elements go somewhere, so of a target one extent may be left open: it is -1. Those that the
input has at the same place are 0, which copies them. So what computes a target of numbers, copies
and one other extent is not needed. Where one is left open that was not, no other may be 0: an
empty tensor does not tell what is left open.

A recurrent layer begins with zeros where no state is given.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from onnx import numpy_helper

from onnxac.graph.model import Model
from onnxac.graph.names import Names
from onnxac.graph.rewiring import Rewiring
from onnxac.inference.dims import Dim, Extent
from onnxac.inference.facts import Facts

# Inputs that are states at the beginning.
_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}


def settle_operands(
    model: Model, facts: Facts, named: frozenset[str], kept: frozenset[str]
) -> list[gs.Node]:
    """Write down what operands come to, or leave them out; returns the nodes that went by that.

    named  tensors needed by their very name: outputs, and what subgraphs read
    kept   outputs of nodes to leave alone
    """
    names = Names(model)
    changed = False
    for node in model.graph.nodes:
        if any(t.name in kept for t in node.outputs) or not facts.is_standard(node.domain, node.op):
            continue
        if node.op == "Reshape" and len(node.inputs) == 2:
            target = _target(node, facts)
            if target is not None:
                name = names.unique(f"{node.outputs[0].name}.shape")
                node.inputs[1] = gs.Constant(name, np.asarray(target, np.int64))
                changed = True
        for place in _STATES.get(node.op, ()):
            if place < len(node.inputs) and _is_zero(node.inputs[place], model, facts):
                node.inputs[place] = gs.Variable.empty()
                changed = True
    return Rewiring(model.graph, named, kept).apply() if changed else []


def _target(node: gs.Node, facts: Facts) -> list[int] | None:
    """The target in numbers; None where it is that already, or can't be."""
    source, operand = node.inputs
    length = facts.shape(operand.name)
    if not operand.inputs or facts.is_constant(operand.name) or length is None:
        return None
    if len(length) != 1 or not isinstance(length[0], int) or node.attrs.get("allowzero"):
        return None
    shape = facts.shape(source.name) or ()
    held: tuple[Dim | None, ...] = facts.symbol(operand.name) or (None,) * length[0]
    target: list[int] = []
    others: list[Dim | None] = []
    for place, entry in enumerate(held):
        if isinstance(entry, int) and entry != -1:
            target.append(entry)
            continue
        others.append(entry)
        copied = isinstance(entry, Extent) and place < len(shape) and shape[place] == entry
        target.append(0 if copied else -1)
    # Where one was open before, what is empty is no other matter than it was.
    empty = [e for e in others if not isinstance(e, Extent) or e.least(inputs=1) < 1]
    told = len(others) < 2 or -1 in others or not empty
    return target if target.count(-1) <= 1 and told else None


def _is_zero(tensor: gs.Tensor, model: Model, facts: Facts) -> bool:
    """Whether all that the tensor holds is 0, however large it is."""
    if not tensor.name:
        return False
    maker = tensor.inputs[0] if tensor.inputs else None
    origin = None if maker is None else model.origin(maker)
    if maker is not None and origin is not None and facts.is_standard(maker.domain, maker.op):
        if maker.op == "Expand":
            return _is_zero(maker.inputs[0], model, facts)
        if maker.op == "ConstantOfShape":
            return not any(np.any(numpy_helper.to_array(a.t)) for a in origin.attribute)
    value = facts.value(tensor.name)
    return value is not None and not np.any(value)
