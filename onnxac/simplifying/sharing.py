"""Fused weights that are equal are stored once.

Convolutions that shared a weight, and were merged with the same scale each, would each have a
copy of the result: the file would grow for it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable

import numpy as np
import onnx_graphsurgeon as gs


def share_constants(graph: gs.Graph) -> None:
    """Let equal constants that were added to a graph be one.

    Only those that another one equals in type and shape are hashed: linear in their bytes.
    """
    alike: dict[Hashable, dict[int, gs.Constant]] = defaultdict(dict)
    for node in graph.nodes:
        for tensor in node.inputs:
            if isinstance(tensor, gs.Constant):
                key = str(tensor.values.dtype), tensor.values.shape
                alike[key][id(tensor)] = tensor
    instead: dict[int, gs.Constant] = {}
    for group in alike.values():
        if len(group) > 1:
            first: dict[bytes, gs.Constant] = {}
            for identity, tensor in group.items():
                instead[identity] = first.setdefault(_digest(tensor), tensor)
    for node in graph.nodes:
        for index, tensor in enumerate(node.inputs):
            if instead.get(id(tensor), tensor) is not tensor:
                node.inputs[index] = instead[id(tensor)]


def _digest(tensor: gs.Constant) -> bytes:
    values = np.ascontiguousarray(tensor.values).reshape(-1)
    return hashlib.sha256(values.view(np.uint8).data).digest()
