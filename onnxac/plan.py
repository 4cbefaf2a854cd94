"""The plan: which definitions are substituted into which.

    for T in linear tensors, from the outputs to the inputs:
        if every reader of T can take T's definition in exactly, and that costs no more
        than T and the readers cost apart: substitute it, and T is gone
    until nothing changes

A reader may also take in a definition that others keep alive, where that makes the reader
itself cheaper. No weight is read: kernels are `Deferred`. Nothing is changed here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxac.algebra import AffineSum, Obstacle, substitute
from onnxac.arrange import Arrangement, arrange, size
from onnxac.cost import Cost, total
from onnxac.facts import Facts, Shape, static


@dataclass(frozen=True)
class Blocked:
    """A substitution, or a whole node, that was left alone: `tensor` names its output."""

    tensor: str
    obstacle: Obstacle


@dataclass(frozen=True)
class Redefinition:
    """A tensor that gets a new definition, and how that is written."""

    tensor: str
    definition: AffineSum
    arrangement: Arrangement


@dataclass(frozen=True)
class Change:
    """Redefinitions that hold only together: each relies on tensors the others make needless."""

    redefinitions: tuple[Redefinition, ...]
    before: Cost
    after: Cost


@dataclass
class Plan:
    """What to change, in graph order, and what was left alone.

    aliases  tensor → the tensor that it equals, for those that nobody needs by name
    """

    changes: list[Change] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    blocked: list[Blocked] = field(default_factory=list)


@dataclass
class Definition:
    """A linear tensor while the plan is made. `cost` is that of its present definition."""

    sum: AffineSum
    cost: Cost
    original: bool = True
    version: int = 0


class Planner:
    """Makes one plan from the lowered tensors of a graph.

    definitions  tensor → its definition, in graph order
    pinned       tensor → why it has to stay, for those that something else reads
    named        tensors whose very name is needed: outputs, and what subgraphs read
    """

    def __init__(
        self, definitions: dict[str, AffineSum], costs: dict[str, Cost], pinned: dict[str, str],
        named: frozenset[str], facts: Facts,
    ) -> None:
        self._named = named
        self._facts = facts
        self._pinned = pinned
        self._live = {t: Definition(s, costs[t]) for t, s in definitions.items()}
        self._own = dict(costs)
        self._readers: dict[str, dict[str, None]] = defaultdict(dict)
        for tensor, definition in definitions.items():
            for source in definition.sources:
                self._readers[source][tensor] = None
        self._blocked: dict[str, Obstacle] = {}
        self._tried: dict[str, tuple[int, ...]] = {}
        # What was put where: removed tensor → readers; for the accounts at the end.
        self._into: list[tuple[str, str]] = []

    def make(self) -> Plan:
        """Substitute until nothing changes, then keep what pays."""
        order = list(reversed(self._live))
        changed = True
        while changed:
            changed = False
            for tensor in order:
                if tensor in self._live and self._stale(tensor):
                    changed |= self._consider(tensor)
        return self._settle()

    def _stale(self, tensor: str) -> bool:
        stamp = (self._live[tensor].version,) + tuple(
            self._live[r].version for r in self._readers[tensor]
        )
        if self._tried.get(tensor) == stamp:
            return False
        self._tried[tensor] = stamp
        return bool(self._readers[tensor])

    def _consider(self, tensor: str) -> bool:
        here = self._live[tensor]
        taken: dict[str, Definition] = {}
        refused: Obstacle | None = None
        for reader in self._readers[tensor]:
            merged = self._substituted(reader, tensor)
            if isinstance(merged, Obstacle):
                refused = merged
            else:
                taken[reader] = merged
        if refused is None and tensor not in self._pinned:
            before = total([here.cost, *(self._live[r].cost for r in taken)])
            after = total([d.cost for d in taken.values()])
            if after.time <= before.time:
                self._commit(tensor, taken, whole=True)
                return True
            refused = _dearer(before, after)
        cheaper = {
            r: d for r, d in taken.items()
            if d.cost.time < self._live[r].cost.time and d.cost.nodes <= self._live[r].cost.nodes
        }
        if cheaper:
            self._commit(tensor, cheaper, whole=False)
            return True
        if tensor in self._pinned and refused is None:
            refused = Obstacle("reader", self._pinned[tensor])
        if refused is not None:
            self._blocked[tensor] = refused
        return False

    def _substituted(self, reader: str, tensor: str) -> Definition | Obstacle:
        old = self._live[reader]
        shape = self._facts.shape(tensor)
        merged = substitute(
            old.sum, tensor, self._live[tensor].sum, _lengths(shape, old.sum), self._tolerance(tensor)
        )
        if isinstance(merged, Obstacle):
            return merged
        return Definition(
            merged, arrange(merged, reader, self._facts).cost, False, old.version + 1
        )

    def _tolerance(self, tensor: str) -> float:
        """How far two roundings of one constant lie apart, relative to its size."""
        dtype = onnx.helper.tensor_dtype_to_np_dtype(self._facts.dtype(tensor) or 1)
        return 8 * float(np.finfo(dtype).eps) if np.issubdtype(dtype, np.floating) else 2.0**-5

    def _commit(self, tensor: str, readers: dict[str, Definition], *, whole: bool) -> None:
        for reader, definition in readers.items():
            self._live[reader] = definition
            for source in definition.sum.sources:
                self._readers[source][reader] = None
            del self._readers[tensor][reader]
            if whole:
                self._into.append((tensor, reader))
        if whole:
            for source in self._live[tensor].sum.sources:
                self._readers[source].pop(tensor, None)
            del self._live[tensor]
            self._blocked.pop(tensor, None)

    def _settle(self) -> Plan:
        """Keep the components that are strictly cheaper than they were."""
        parent = {t: t for t in self._own}

        def root(tensor: str) -> str:
            while parent[tensor] != tensor:
                parent[tensor] = parent[parent[tensor]]
                tensor = parent[tensor]
            return tensor

        for inner, reader in self._into:
            parent[root(inner)] = root(reader)
        members: dict[str, list[str]] = defaultdict(list)
        for tensor in self._own:
            members[root(tensor)].append(tensor)
        plan = Plan(blocked=[Blocked(t, o) for t, o in self._blocked.items()])
        for tensor, definition in self._live.items():
            if tensor not in self._named and _is_alias(definition.sum):
                plan.aliases[tensor] = definition.sum.sources[0]
        for component in members.values():
            changed = [t for t in component 
                if t in self._live and not self._live[t].original and t not in plan.aliases]
            if not changed:
                continue
            before = total([self._own[t] for t in component])
            after = total([self._live[t].cost for t in component if t in self._live])
            if after.nodes < before.nodes or (after.nodes == before.nodes and after.time < before.time * 0.999):
                plan.changes.append(Change(tuple(
                    Redefinition(t, self._live[t].sum, arrange(self._live[t].sum, t, self._facts))
                    for t in changed
                ), before, after))
        return plan


def _is_alias(definition: AffineSum) -> bool:
    return (
        len(definition.terms) == 1
        and definition.bias is None
        and definition.terms[0][1].unit
        and definition.terms[0][1].is_pointwise
    )


def _dearer(before: Cost, after: Cost) -> Obstacle:
    if math.isinf(after.nodes):
        return Obstacle("operator", "no ONNX operator computes the merged form")
    if after.macs > before.macs:
        return Obstacle(
            "cost", f"merging takes {after.macs:,.0f} multiply-adds instead of {before.macs:,.0f}"
        )
    return Obstacle("cost", "merging would run longer: it moves more data, or needs more nodes")


def _lengths(shape: Shape | None, reader: AffineSum) -> list[int | None]:
    if shape is not None:
        return static(shape)
    return [None] * max((len(c.axes or ()) for _, c in reader.terms), default=0)


def node_cost(node: gs.Node, output: str, definition: AffineSum, facts: Facts) -> Cost:
    """Cost of the node as it is in the graph."""
    if node.op in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
        return arrange(definition, output, facts).cost
    elements = size(facts.shape(output))
    read = sum(size(facts.shape(s)) for s in definition.sources)
    macs = 0.0
    if node.op == "AveragePool":
        macs = elements * math.prod(a.taps for a in definition.terms[0][1].axes or ())
    return Cost(lone=macs, elements=read + elements, nodes=1)

