"""Where factors stop, told as refusals: the node, and why none can pass there."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxac.equalizing.channels import Slots
from onnxac.equalizing.walk import Walk
from onnxac.report import NodeRef, Refusal

RULE = "equalize"


def stops(found: Walk) -> list[Refusal]:
    """One refusal for each node at which the channels of some weight end.

    The last tensor before an output is not worth telling: nothing that reads it has a weight.
    """
    told = {
        (id(s.node), s.reason): Refusal(ref(s.node), RULE, f"{s.reason}: its ranges stay")
        for s in found.unusable
    }
    read = {r for w in found.weights if w.columns is not None for r in _roots(found, w.columns)}
    for weight in found.weights:
        if weight.rows is None:
            continue
        for root in _roots(found, weight.rows):
            stop = found.union.stop(root)
            if stop is None:
                continue
            is_end = any(t.name in found.named for t in stop.node.outputs)
            if is_end and root not in read:
                continue
            made = name_of(weight.node)
            reason = f"{stop.reason}: the channels that {made} makes keep their ranges"
            told.setdefault((id(stop.node), stop.reason), Refusal(ref(stop.node), RULE, reason))
    return list(told.values())


def _roots(found: Walk, slots: Slots) -> list[int]:
    return [int(r) for r in found.union.roots(slots).tolist()]


def name_of(node: gs.Node) -> str:
    """The node's name, or what it makes."""
    return str(node.name or (node.outputs[0].name if node.outputs else ""))


def ref(node: gs.Node) -> NodeRef:
    """The node, as a report names it."""
    return NodeRef(name_of(node), node.op)
