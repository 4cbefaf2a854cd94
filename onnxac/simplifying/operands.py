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
from onnx import NodeProto

from onnxac.graph.model import Model
from onnxac.graph.names import Names
from onnxac.graph.rewiring import Rewiring
from onnxac.inference.dims import Dim, Extent
from onnxac.inference.facts import Facts
from onnxac.simplifying.uniform import holds_only

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
                _let_zeros_copy(node, model)
                changed = True
        for at in _STATES.get(node.op, ()):
            if at < len(node.inputs) and holds_only(node.inputs[at], 0, model, facts):
                node.inputs[at] = gs.Variable.empty()
                changed = True
    return Rewiring(model.graph, named, kept).apply() if changed else []


def _let_zeros_copy(node: gs.Node, model: Model) -> None:
    """Take `allowzero` off a node, as it was read."""
    origin = model.origin(node)
    if node.attrs.pop("allowzero", 0) and origin is not None:
        bare = NodeProto()
        bare.CopyFrom(origin)
        del bare.attribute[:]
        bare.attribute.extend(a for a in origin.attribute if a.name != "allowzero")
        model.adopt(node, bare)


def _target(node: gs.Node, facts: Facts) -> list[int] | None:
    """The target in numbers; None where it is that already, or can't be."""
    source, operand = node.inputs
    length = facts.shape(operand.name)
    if not operand.inputs or facts.is_constant(operand.name) or length is None:
        return None
    if len(length) != 1 or not isinstance(length[0], int):
        return None
    shape = facts.shape(source.name) or ()
    held: tuple[Dim | None, ...] = facts.symbol(operand.name) or (None,) * length[0]
    target: list[int] = []
    others: list[Dim | None] = []
    empty = False
    for place, entry in enumerate(held):
        if isinstance(entry, int) and entry != -1:
            if not entry and node.attrs.get("allowzero"):
                return None
            target.append(entry)
            continue
        others.append(entry)
        if isinstance(entry, Extent) and place < len(shape) and shape[place] == entry:
            target.append(0)
            empty |= entry.least(inputs=1) < 1
        else:
            target.append(-1)
    # Where one was open before, what is empty is no other matter than it was.
    told = len(others) < 2 or -1 in others or not empty
    return target if target.count(-1) <= 1 and told else None
