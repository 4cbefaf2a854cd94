"""The search for substitutions that pay, over one region of connected linear tensors.

No weight is read: kernels are `Deferred`. Nothing is changed here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx

from onnxac.algebra import AffineSum, Obstacle, substitute
from onnxac.inference.dims import Shape, static
from onnxac.inference.facts import Facts
from onnxac.planning.cost import Cost, total
from onnxac.planning.recipes import Arrangement, arrange

# What a step may cost: (before, after) → whether it is taken.
Policy = Callable[[Cost, Cost], bool]


@dataclass(frozen=True, slots=True)
class Blocked:
    """A substitution, or a whole node, that was left alone: `tensor` names its output."""

    tensor: str
    obstacle: Obstacle


@dataclass(frozen=True, slots=True)
class Redefinition:
    """A tensor that gets a new definition, and how that is written."""

    tensor: str
    definition: AffineSum
    arrangement: Arrangement


@dataclass(frozen=True, slots=True)
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


class Links:
    """Disjoint sets of tensors, by union-find."""

    def __init__(self, tensors: Iterable[str]) -> None:
        self._parent = {t: t for t in tensors}

    def root(self, tensor: str) -> str:
        """The tensor that stands for the set."""
        while self._parent[tensor] != tensor:
            self._parent[tensor] = self._parent[self._parent[tensor]]
            tensor = self._parent[tensor]
        return tensor

    def join(self, a: str, b: str) -> None:
        """Make one set of two."""
        self._parent[self.root(a)] = self.root(b)

    def groups(self) -> list[list[str]]:
        """The sets, each in the order in which the tensors were given."""
        found: dict[str, list[str]] = defaultdict(list)
        for tensor in self._parent:
            found[self.root(tensor)].append(tensor)
        return list(found.values())


@dataclass
class Outcome(Plan):
    """A plan for one region, and the time that the region takes under it."""

    time: float = 0.0


class Search:
    """One search over one region, under one policy."""

    def __init__(
        self,
        region: dict[str, AffineSum],
        costs: dict[str, Cost],
        pinned: dict[str, str],
        named: frozenset[str],
        facts: Facts,
        policy: Policy,
    ) -> None:
        self._facts, self._pinned, self._named, self._policy = facts, pinned, named, policy
        self._own = {t: costs[t] for t in region}
        self._live = {t: Definition(s, costs[t]) for t, s in region.items()}
        self._readers: dict[str, dict[str, None]] = defaultdict(dict)
        for tensor, definition in region.items():
            for source in definition.sources:
                self._readers[source][tensor] = None
        self._blocked: dict[str, Obstacle] = {}
        self._tried: dict[str, tuple[int, ...]] = {}
        # Tensors with several readers, for when nothing is left to do with the others.
        self._shared: dict[str, None] = {}
        self._links = Links(region)
        self._first = {t: d.sum for t, d in self._live.items()}
        # What was put into each tensor, in order, and tensors that are gone by it.
        self._taken: dict[str, list[tuple[str, AffineSum]]] = defaultdict(list)
        self._gone: dict[str, Definition] = {}
        self.declined = False

    def run(self) -> None:
        """Substitute until nothing changes, and give back what nothing came of.

        A tensor with one reader goes first: nothing is written twice by that. One with several
        waits: it may itself be what takes in what it is made of. Of these, those that save
        time come before those that only save nothing.
        """
        order = list(reversed(self._live))
        while self._sweep(order) or self._share(ties=False) or self._share(ties=True):
            pass
        for tensor in [t for t, d in self._live.items() if not d.original]:
            self._give_back(tensor)

    def _sweep(self, order: list[str]) -> bool:
        """Consider whatever changed; whether anything came of it."""
        stale = (t for t in order if t in self._live and self._stale(t))
        taken = [self._consider(t, lambda saved: False) for t in stale]
        return any(taken)

    def _share(self, *, ties: bool) -> bool:
        """Consider the tensors that wait; whether anything came of it."""
        waiting, self._shared = self._shared, {}
        live = (t for t in waiting if t in self._live and self._readers[t])
        taken = [self._consider(t, lambda saved: ties or saved > 0) for t in live]
        return any(taken)

    def _stale(self, tensor: str) -> bool:
        """Whether the tensor or a reader changed since it was last considered."""
        readers = self._readers[tensor]
        stamp = (self._live[tensor].version, *(self._live[r].version for r in readers))
        if self._tried.get(tensor) == stamp:
            return False
        self._tried[tensor] = stamp
        return bool(readers)

    def _consider(self, tensor: str, shares: Callable[[float], bool]) -> bool:
        """Substitute the tensor where it pays.

        shares  whether several readers may take it in for what that saves, in nanoseconds
        """
        taken: dict[str, Definition] = {}
        refused: Obstacle | None = None
        for reader in self._readers[tensor]:
            merged = self._substituted(reader, tensor)
            if isinstance(merged, Obstacle):
                refused = merged
            else:
                taken[reader] = merged
        if refused is None and tensor in self._pinned:
            refused = Obstacle("reader", self._pinned[tensor])
        if refused is None:
            before = total([self._live[tensor].cost, *(self._live[r].cost for r in taken)])
            after = total([d.cost for d in taken.values()])
            if self._policy(before, after):
                if len(taken) > 1 and not shares(before.time - after.time):
                    self._shared[tensor] = None
                    return False
                self._commit(tensor, taken, whole=True)
                return True
            refused = _dearer(before, after)
            self.declined = True
        cheaper = {
            r: d
            for r, d in taken.items()
            if d.cost.is_within(self._live[r].cost) and d.cost.time < self._live[r].cost.time
        }
        if cheaper:
            self._commit(tensor, cheaper, whole=False)
            return True
        self._blocked[tensor] = refused
        return False

    def _substituted(self, reader: str, tensor: str) -> Definition | Obstacle:
        old = self._live[reader]
        lengths = _lengths(self._facts.shape(tensor), old.sum)
        merged = substitute(
            old.sum, tensor, self._live[tensor].sum, lengths, self._tolerance(tensor)
        )
        if isinstance(merged, Obstacle):
            return merged
        return Definition(merged, arrange(merged, reader, self._facts).cost, False, old.version + 1)

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
            self._taken[reader].append((tensor, self._live[tensor].sum))
            if whole:
                self._links.join(tensor, reader)
        if whole:
            if len(readers) == 1:
                self._gone[tensor] = self._live[tensor]
            for source in self._live[tensor].sum.sources:
                self._readers[source].pop(tensor, None)
            del self._live[tensor]
            self._blocked.pop(tensor, None)

    def _give_back(self, reader: str) -> None:
        """Let tensors live again that the reader only adds up: their nodes stay as they are."""
        pieces = arrange(self._live[reader].sum, reader, self._facts).pieces
        alone = {(p.source, id(p.conv.kernel)) for p in pieces if p.kind != "direct"}
        for tensor, taken in list(self._taken[reader]):
            terms = [(s, id(c.kernel)) for s, c in taken.terms]
            if tensor in self._gone and len(terms) == 1 and terms[0] in alone:
                without = self._replayed(reader, leaving=tensor)
                apart = without.cost + self._gone[tensor].cost
                if apart.is_within(self._live[reader].cost):
                    self._live[reader] = without
                    self._live[tensor] = self._gone.pop(tensor)
                    self._taken[reader] = [t for t in self._taken[reader] if t[0] != tensor]

    def _replayed(self, reader: str, leaving: str) -> Definition:
        """The reader's definition without the substitution of one tensor."""
        made = self._first[reader]
        for tensor, inner in self._taken[reader]:
            if tensor != leaving and tensor in made.sources:
                lengths = _lengths(self._facts.shape(tensor), made)
                found = substitute(made, tensor, inner, lengths, self._tolerance(tensor))
                if isinstance(found, Obstacle):
                    return self._live[reader]
                made = found
        if leaving not in made.sources:
            return self._live[reader]
        cost = arrange(made, reader, self._facts).cost
        return Definition(made, cost, made is self._first[reader], self._live[reader].version + 1)

    def outcome(self) -> Outcome:
        """What of it is cheaper than the nodes it replaces."""
        found = Outcome(blocked=[Blocked(t, o) for t, o in self._blocked.items()])
        for tensor, definition in self._live.items():
            if tensor not in self._named and _is_alias(definition.sum):
                found.aliases[tensor] = definition.sum.sources[0]
        for component in self._links.groups():
            kept = [t for t in component if t in self._live and t not in found.aliases]
            changed = [t for t in kept if not self._live[t].original]
            before = total(self._own[t] for t in component)
            after = total(self._live[t].cost for t in kept)
            pays = after.is_within(before) and (
                after.nodes < before.nodes or after.time < 0.999 * before.time
            )
            found.time += after.time if pays else before.time
            if changed and pays:
                made = [
                    Redefinition(t, self._live[t].sum, arrange(self._live[t].sum, t, self._facts))
                    for t in changed
                ]
                found.changes.append(Change(tuple(made), before, after))
        return found


def _is_alias(definition: AffineSum) -> bool:
    ((_, conv),) = definition.terms if len(definition.terms) == 1 else ((None, None),)
    return (
        conv is not None
        and conv.axes is None
        and conv.unit
        and not conv.view
        and not definition.perm
        and definition.bias is None
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
