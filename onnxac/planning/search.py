"""The search for substitutions that pay, over one region of connected linear tensors.

No weight is read: kernels are `Lazy`. Nothing is changed here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import onnx

from onnxac.algebra import Obstacle, Sum, substitute
from onnxac.algebra.term import Term, reading
from onnxac.inference.casts import widest
from onnxac.planning.links import Links
from onnxac.planning.outcome import Blocked, Change, Outcome, Redefinition
from onnxac.planning.precision import rounding
from onnxac.planning.prices import Prices
from onnxac.planning.reasons import dearer
from onnxac.recipes.cost import NOTHING, Cost, total

# What a step may cost: (before, after) → whether it is taken.
Policy = Callable[[Cost, Cost], bool]


# Whether what saves nothing is taken, how many readers a tensor may have, and how many terms. A sum
# that is put into what only rearranges it can't be merged any more: its terms come first.
_WAITING = (
    (False, math.inf, math.inf),
    (True, 1, 1),
    (True, 1, math.inf),
    (True, math.inf, math.inf),
)


@dataclass
class Definition:
    """A linear tensor while the plan is made.

    cost   that of its present definition
    parts  tensors that were put into it; none while it is as it was
    """

    sum: Sum
    cost: Cost
    parts: frozenset[str] = frozenset()
    version: int = 0


class Search:
    """One search over one region, under one policy."""

    def __init__(
        self,
        region: dict[str, Sum],
        costs: dict[str, Cost],
        pinned: dict[str, str],
        named: frozenset[str],
        prices: Prices,
        policy: Policy,
    ) -> None:
        self._facts, self._prices, self._policy = prices.facts, prices, policy
        self._pinned, self._named = pinned, named
        self._own = {t: costs[t] for t in region}
        self._live = {t: Definition(s, costs[t]) for t, s in region.items()}
        self._readers: dict[str, dict[str, None]] = defaultdict(dict)
        for tensor, definition in region.items():
            for source in definition.sources:
                self._readers[source][tensor] = None
        self._blocked: dict[str, Obstacle] = {}
        self._tried: dict[str, tuple[int, ...]] = {}
        # Tensors that wait for when nothing is left to do with the others.
        self._shared: dict[str, None] = {}
        # Tensors that are gone, each with what had been put into it.
        self._gone: dict[str, frozenset[str]] = {}
        self._first = {t: d.sum for t, d in self._live.items()}
        self._merged: dict[tuple[str, str], tuple[tuple[int, int], Definition | Obstacle]] = {}
        self.declined = False

    def run(self) -> None:
        """Substitute until nothing changes, and give back what nothing came of.

        A tensor with one reader goes first, where that saves time: nothing is written twice by
        that. Others wait: they may themselves be what takes in what they are made of. `_WAITING`
        is the order in which they come.
        """
        order = list(reversed(self._live))
        while self._sweep(order) or any(self._wait(o, m, ties=t) for t, o, m in _WAITING):
            pass
        for tensor in [t for t, d in self._live.items() if d.parts]:
            self._read_equals(tensor)

    def _sweep(self, order: list[str]) -> bool:
        """Consider whatever changed; whether anything came of it."""
        stale = (t for t in order if t in self._live and self._stale(t))
        taken = [self._consider(t, lambda readers, saves: readers == 1 and saves) for t in stale]
        return any(taken)

    def _wait(self, most: float, terms: float, *, ties: bool) -> bool:
        """Consider the tensors that wait and have at most so many readers, and terms."""
        waiting, self._shared = self._shared, {}
        taken = False
        for tensor in waiting:
            if tensor not in self._live or not self._readers[tensor]:
                continue
            if len(self._live[tensor].sum.terms) > terms:
                self._shared[tensor] = None
                continue
            taken |= self._consider(
                tensor, lambda readers, saves: readers <= most and (ties or saves)
            )
        return taken

    def _stale(self, tensor: str) -> bool:
        """Whether the tensor or a reader changed since it was last considered."""
        readers = self._readers[tensor]
        stamp = (self._live[tensor].version, *(self._live[r].version for r in readers))
        if self._tried.get(tensor) == stamp:
            return False
        self._tried[tensor] = stamp
        return bool(readers)

    def _consider(self, tensor: str, now: Callable[[int, bool], bool]) -> bool:
        """Substitute the tensor where it pays.

        now  whether so many readers may take it in already, where that saves time or does not
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
                if not now(len(taken), after.time < 0.999999 * before.time):
                    self._shared[tensor] = None
                    return False
                self._commit(tensor, taken, whole=True)
                return True
            refused = dearer(before, after, (d.sum for d in taken.values()))
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
        """The reader with the tensor put in; what waits is not worked out again."""
        stamp = (self._live[reader].version, self._live[tensor].version)
        known = self._merged.get((reader, tensor))
        if known is not None and known[0] == stamp:
            return known[1]
        found = self._put_in(reader, tensor)
        self._merged[reader, tensor] = (stamp, found)
        return found

    def _put_in(self, reader: str, tensor: str) -> Definition | Obstacle:
        old = self._live[reader]
        rounded = rounding(old.sum, reader, tensor, self._live[tensor].sum, self._facts.dtype)
        if rounded is not None:
            return rounded
        merged = substitute(
            old.sum,
            tensor,
            self._live[tensor].sum,
            self._facts.shape,
            reader,
            _tolerance(self._facts.dtype(tensor) or 1),
        )
        if isinstance(merged, Obstacle):
            return merged
        parts = old.parts | self._live[tensor].parts | {tensor}
        return Definition(merged, self._cost(merged, reader, parts), parts, old.version + 1)

    def _cost(self, definition: Sum, tensor: str, parts: frozenset[str]) -> Cost:
        return self._prices.of(definition, tensor, self._wide(tensor, parts))

    def _wide(self, tensor: str, parts: frozenset[str]) -> int | None:
        """The widest element type that a tensor, or what was put into it, was computed in."""
        return widest(self._facts.dtype(t) for t in (tensor, *parts))

    def _commit(self, tensor: str, readers: dict[str, Definition], *, whole: bool) -> None:
        for reader, definition in readers.items():
            # Where the tensor stays, the reader does not hang on what became of it.
            own = definition.parts if whole else self._live[reader].parts | {tensor}
            self._live[reader] = Definition(
                definition.sum, definition.cost, own, definition.version
            )
            for source in definition.sum.sources:
                self._readers[source][reader] = None
            del self._readers[tensor][reader]
            self._merged.pop((reader, tensor), None)
        if whole:
            self._gone[tensor] = self._live[tensor].parts
            for source in self._live[tensor].sum.sources:
                self._readers[source].pop(tensor, None)
            del self._live[tensor]
            self._blocked.pop(tensor, None)

    def _read_equals(self, reader: str) -> None:
        """Read tensors that terms are equal to, where that is no dearer than to compute them.

        So what a sum only adds up stays as it was, and what is there anyway is not computed twice.
        """
        for term in self._live[reader].sum.terms:
            equal = term.equals
            if equal is None or term not in self._live[reader].sum.terms:
                continue
            old = self._live[reader]
            biases = tuple(b for b in old.sum.biases if not any(b is e for e in equal.bias))
            if len(biases) + len(equal.bias) != len(old.sum.biases):
                continue
            terms = tuple(reading(equal.tensor) if t is term else t for t in old.sum.terms)
            without = Sum(terms, biases, old.sum.steps)
            again = self._again(equal.tensor, term)
            cost = self._cost(without, reader, old.parts)
            if (cost + (again.cost if again else NOTHING)).is_within(old.cost):
                if _is_same(without, self._first[reader]):
                    self._live[reader] = Definition(self._first[reader], self._own[reader])
                else:
                    parts = old.parts - self._gone.get(equal.tensor, frozenset()) - {equal.tensor}
                    self._live[reader] = Definition(without, cost, parts, old.version + 1)
                if again is not None:
                    self._live[equal.tensor] = again

    def _again(self, tensor: str, term: Term) -> Definition | None:
        """The definition of a tensor that was substituted away; None where it is still there."""
        if tensor in self._live:
            return None
        assert term.equals is not None
        first = self._first[tensor]
        before = first.terms[0]
        if len(first.terms) == 1 and before.kernel is term.kernel and before.source == term.source:
            return Definition(first, self._own[tensor])
        definition = Sum((replace(term, equals=None),), term.equals.bias, first.steps)
        cost = self._cost(definition, tensor, self._gone[tensor])
        return Definition(definition, cost, self._gone[tensor])

    def outcome(self) -> Outcome:
        """What of it is cheaper than the nodes it replaces."""
        found = Outcome(blocked=[Blocked(t, o) for t, o in self._blocked.items()])
        for tensor, definition in self._live.items():
            if tensor not in self._named and self._is_alias(tensor, definition):
                found.aliases[tensor] = definition.sum.sources[0]
        for component in self._components():
            kept = [t for t in component if t in self._live and t not in found.aliases]
            changed = [t for t in kept if self._live[t].parts]
            before = total(self._own[t] for t in component)
            after = total(self._live[t].cost for t in kept)
            pays = after.is_within(before) and (
                after.nodes < before.nodes or after.time < 0.999 * before.time
            )
            if self._prices.eager and not pays:
                differs = abs(after.time - before.time) > 0.001 * before.time
                pays = differs and after.is_worth_a_try(before)
            found.time += after.time if pays else before.time
            if changed and pays:
                made = tuple(
                    Redefinition(t, self._settled(t), self._wide(t, self._live[t].parts))
                    for t in changed
                )
                found.changes.append(Change(made, before, after, self._prices.eager))
        return found

    def _is_alias(self, tensor: str, definition: Definition) -> bool:
        """Whether the tensor is another one; a view that only renames unit axes is none."""
        source = definition.sum.sources[0]
        return (
            len(definition.sum.terms) == 1
            and (definition.sum.terms[0].is_source or not definition.cost.nodes)
            and not definition.sum.biases
            and self._facts.dtype(source) == self._facts.dtype(tensor)
        )

    def _components(self) -> list[list[str]]:
        """Tensors that hang together: what was put into what."""
        links = Links(self._first)
        for tensor, definition in self._live.items():
            for part in definition.parts - self._live.keys():
                links.join(part, tensor)
        return links.groups()

    def _settled(self, tensor: str) -> Sum:
        """The definition, with the steps of all that went into it."""
        live = self._live[tensor]
        steps = frozenset().union(*(self._first[p].steps for p in (tensor, *live.parts)))
        return replace(live.sum, steps=steps)


@cache
def _tolerance(kind: int) -> float:
    """How far two roundings of one constant of a type lie apart, relative to its size."""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
    return 8 * float(np.finfo(dtype).eps) if np.issubdtype(dtype, np.floating) else 2.0**-5


def _is_same(definition: Sum, first: Sum) -> bool:
    """Whether a definition is a sum of tensors again, as it was at first."""
    return (
        all(t.is_source for t in (*definition.terms, *first.terms))
        and sorted(t.source for t in definition.terms) == sorted(t.source for t in first.terms)
        and set(map(id, definition.biases)) == set(map(id, first.biases))
    )
