"""Tensors that no rewrite may take away."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from onnxac.graph.model import Model, captured_by


@dataclass(frozen=True)
class Fixed:
    """What a rewrite has to leave.

    outputs   outputs of the model
    captured  tensors that are read inside of a subgraph
    kept      outputs of the nodes to leave alone
    """

    outputs: tuple[str, ...]
    captured: frozenset[str]
    kept: frozenset[str]

    @property
    def named(self) -> frozenset[str]:
        """Tensors that are needed by their very name."""
        return self.captured.union(self.outputs)


def fixed(model: Model, keep: Sequence[str] = ()) -> Fixed:
    """What has to stay in a model; `keep` are name patterns of nodes to leave alone."""
    nodes = (n for n in model.graph.nodes if any(fnmatch.fnmatchcase(n.name, p) for p in keep))
    return Fixed(
        tuple(t.name for t in model.graph.outputs),
        frozenset(captured_by(filter(None, map(model.origin, model.graph.nodes)))),
        frozenset(t.name for n in nodes for t in n.outputs if t.name),
    )


def unmatched(model: Model, keep: Sequence[str]) -> list[str]:
    """The patterns of `keep` that no node has a name like."""
    names = [n.name for n in model.graph.nodes]
    return [p for p in keep if not any(fnmatch.fnmatchcase(n, p) for n in names)]
