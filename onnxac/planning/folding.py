"""Constant subgraphs that exporters leave behind, as initializers.

A computed constant is stored where that hardly enlarges the file: an Expand of a number to
a large tensor stays an Expand, but the anchors of a detector, which take a dozen nodes to compute,
are stored.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.inference.facts import Facts
from onnxac.inference.stored import Values

# Bytes that a stored constant may add to the file, beyond what its own nodes and leaves took,
_SLACK = 256
# or, for each node that computes it, so many, up to this share of what the weights take.
_SLACK_PER_NODE = 2048
_SHARE = 1 / 256


class Folding:
    """Decides which constants of a graph are stored.

    fixed  names that have to be made by their node: model outputs, what subgraphs read
    """

    def __init__(self, facts: Facts, fixed: frozenset[str]) -> None:
        self._facts, self._fixed = facts, fixed
        self._worth: dict[str, bool] = {}
        self._most = facts.weight_bytes() * _SHARE

    @property
    def is_needed(self) -> bool:
        """Whether any node makes a constant."""
        return self._facts.makes_constants

    def stores(self, name: str) -> bool:
        """Whether a reader of constant `name` gets an initializer instead."""
        if name not in self._worth:
            self._worth[name] = (
                self._facts.is_made(name) and name not in self._fixed and self._is_worth(name)
            )
        return self._worth[name]

    def _is_worth(self, name: str) -> bool:
        if self._facts.is_dequantized(name):
            # What is not merged stays quantized.
            return False
        (saved, nodes), size = self._facts.chain_size(name), self._facts.nbytes(name)
        slack = max(_SLACK, min(nodes * _SLACK_PER_NODE, self._most))
        return size is not None and size <= saved + slack and self._facts.value(name) is not None

    def value(self, name: str) -> Values:
        """The constant that `stores` said yes to."""
        value = self._facts.value(name)
        assert value is not None, name
        return np.asarray(value)

    def needed(self, nodes: Iterable[gs.Node]) -> dict[str, str]:
        """Activations whose type or shape a constant is computed from that is not stored."""
        kept = [n for n in self._fixed if self._facts.is_made(n)]
        for node in nodes:
            if not self._facts.is_computed_by(node):
                kept += [
                    t.name
                    for t in node.inputs
                    if self._facts.is_made(t.name) and not self.stores(t.name)
                ]
        return {
            read: f"{name} is computed from its shape"
            for name in dict.fromkeys(kept)
            for read in self._facts.type_reads(name)
        }
