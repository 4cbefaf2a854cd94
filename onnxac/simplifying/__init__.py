"""A graph → the same graph with fewer nodes, whatever its operators compute.

In   `graph.model.Model` and what `inference` knows of it.
Out  the same model, changed in place, and the nodes that are gone.

Requires that `graph.fixed` names what has to stay. Ensures that every tensor that is left has
the value, shape and element type that it had. Before lowering: nodes that do nothing,
nodes that compute the same. After rewriting: operands that follow, chains of Reshapes and
Transposes, equal weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxac.graph.fixed import Fixed
from onnxac.graph.model import Model
from onnxac.inference.facts import Facts
from onnxac.simplifying.conditions import without_conditions
from onnxac.simplifying.duplicates import merge_duplicates
from onnxac.simplifying.noops import drop_noops
from onnxac.simplifying.operands import settle_operands
from onnxac.simplifying.reshapes import join_reshapes
from onnxac.simplifying.sequences import without_sequences
from onnxac.simplifying.sharing import share_constants

__all__ = [
    "Gone",
    "join_reshapes",
    "settle_operands",
    "share_constants",
    "simplify",
    "without_conditions",
    "without_sequences",
]


@dataclass(frozen=True)
class Gone:
    """What was dropped before anything was lowered.

    idle      nodes that did nothing
    repeated  nodes that computed what another one computes
    """

    idle: tuple[gs.Node, ...]
    repeated: tuple[gs.Node, ...]


def simplify(model: Model, facts: Facts, fixed: Fixed) -> Gone:
    """Drop what is idle or repeated."""
    idle = drop_noops(model, facts, fixed.named, fixed.kept)
    repeated = merge_duplicates(model, facts, fixed.named, fixed.kept)
    return Gone(tuple(idle), tuple(repeated))
