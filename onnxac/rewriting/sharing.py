"""Fused weights that are equal are stored once.

Convolutions that shared a weight, and were merged with the same scale each, would each have a
copy of the result: the file would grow for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

import numpy as np
import onnx_graphsurgeon as gs


def share_constants(graph: gs.Graph) -> None:
    """Let equal constants that were added to a graph be one. Linear in their bytes."""
    first: dict[Hashable, gs.Constant] = {}
    known: dict[int, gs.Constant] = {}
    for node in graph.nodes:
        for index, tensor in enumerate(node.inputs):
            if isinstance(tensor, gs.Constant):
                if id(tensor) not in known:
                    values = np.ascontiguousarray(tensor.values)
                    digest = hashlib.sha256(values.tobytes()).digest()
                    key = (str(values.dtype), values.shape, digest)
                    known[id(tensor)] = first.setdefault(key, tensor)
                if known[id(tensor)] is not tensor:
                    node.inputs[index] = known[id(tensor)]
