"""Fused weights that are equal are stored once.

Convolutions that shared a weight, and were merged with the same scale each, would each have a
copy of the result: the file would grow for it. Small ones, such as axes, are also compared with
those that the file has.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Hashable

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.inference.facts import Facts
from onnxac.inference.stored import Values

# Constants with more elements are compared with others that were added only.
_SMALL = 1024
# So many elements tell nearly all constants apart.
_FIRST = 16


def share_constants(graph: gs.Graph, facts: Facts) -> None:
    """Let equal constants that were added to a graph be one, or that which is there.

    Only those that another one equals in type, shape and first elements are hashed.
    """
    alike: dict[Hashable, dict[int, gs.Constant]] = defaultdict(dict)
    others: dict[str, gs.Tensor] = {}
    for node in graph.nodes:
        for tensor in node.inputs:
            if isinstance(tensor, gs.Constant):
                alike[_kind(tensor.values)][id(tensor)] = tensor
            elif not tensor.inputs and facts.is_constant(tensor.name):
                others[tensor.name] = tensor
    there = _stored(others, facts, alike.keys())
    instead: dict[int, gs.Tensor] = {}
    for kind, group in alike.items():
        first: dict[bytes, gs.Tensor] = there.get(kind, {})
        if len(group) > 1 or first:
            for identity, tensor in group.items():
                instead[identity] = first.setdefault(_digest(tensor.values), tensor)
    for node in graph.nodes:
        for index, tensor in enumerate(node.inputs):
            if instead.get(id(tensor), tensor) is not tensor:
                node.inputs[index] = instead[id(tensor)]


def _stored(
    tensors: dict[str, gs.Tensor], facts: Facts, wanted: Collection[Hashable]
) -> dict[Hashable, dict[bytes, gs.Tensor]]:
    """Small tensors that the file has, by their kind, and by their digest."""
    found: dict[Hashable, dict[bytes, gs.Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        value = facts.value(name) if facts.count(name) <= _SMALL else None
        if value is not None and _kind(value) in wanted:
            found[_kind(value)].setdefault(_digest(value), tensor)
    return found


def _kind(values: Values) -> Hashable:
    """What equal constants have in common, and is known at once."""
    return str(values.dtype), values.shape, values.flat[:_FIRST].tobytes()


def _digest(values: Values) -> bytes:
    flat = np.ascontiguousarray(values).reshape(-1)
    return hashlib.sha256(flat.view(np.uint8).data).digest()
