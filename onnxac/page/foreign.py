"""Two models that onnxac did not make: the pairs, and what was replaced by what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from onnx import TensorProto

from .index import GraphIndex
from .pairing import Counterpart, Matching, Pair, pair_by_name, rest
from .structure import attributes_of, pair_by_structure

Item = tuple[str, int]


def match_foreign(b: GraphIndex, a: GraphIndex) -> Matching:
    """Pairs by name, then by structure; what is left is removed, or added."""
    named = pair_by_name(b, a)
    shaped = _plausible(b, a, named, pair_by_structure(b, a, named))
    pairs = sorted((*named, *shaped))
    changed = tuple((i, j) for i, j in pairs if not _same(b, i, a, j))
    altered = set(changed)
    removed = rest(b, (i for i, _ in pairs))
    added = rest(a, (j for _, j in pairs))
    return Matching(
        method=_method(bool(named), bool(shaped)),
        removed=removed,
        added=added,
        unchanged=tuple(p for p in pairs if p not in altered),
        changed=changed,
        counterparts=_Regions(b, a, dict(pairs)).counterparts(removed, added, changed),
    )


def _plausible(
    b: GraphIndex, a: GraphIndex, named: tuple[Pair, ...], shaped: tuple[Pair, ...]
) -> tuple[Pair, ...]:
    """The pairs found by structure, less those that differ and stand beside what is unmatched.

    Where a block of branches became one node, that node is new, even if it looks like one
    of the branches. Where all nodes have partners, other weights are just other weights.
    """
    pairs = (*named, *shaped)
    kept_b, kept_a = {i for i, _ in pairs}, {j for _, j in pairs}

    def is_inside(index: GraphIndex, i: int, kept: set[int]) -> bool:
        return all(n in kept for n in (*index.sources(i), *index.users(i)))

    return tuple(
        (i, j)
        for i, j in shaped
        if (is_inside(b, i, kept_b) and is_inside(a, j, kept_a)) or _same(b, i, a, j)
    )


def _method(named: bool, shaped: bool) -> str:
    if named == shaped:
        return "names, then structure"
    return "names" if named else "structure"


def _same(b: GraphIndex, i: int, a: GraphIndex, j: int) -> bool:
    left, right = b.nodes[i], a.nodes[j]
    if len(left.input) != len(right.input) or attributes_of(b, i) != attributes_of(a, j):
        return False
    return all(
        _same_tensor(b.initializers.get(x), a.initializers.get(y))
        for x, y in zip(left.input, right.input, strict=True)
    )


def _same_tensor(x: TensorProto | None, y: TensorProto | None) -> bool:
    if x is None or y is None:
        return x is y
    if x.data_type != y.data_type or list(x.dims) != list(y.dims):
        return False
    # Comparing bytes first spares the copy of every weight that is stored the usual way.
    if x.raw_data or y.raw_data:
        return x.raw_data == y.raw_data
    x, y = _unnamed(x), _unnamed(y)
    return x == y


def _unnamed(tensor: TensorProto) -> TensorProto:
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.ClearField("name")
    copy.ClearField("doc_string")
    return copy


class _Sets:
    """Disjoint sets of nodes of either graph, with path halving."""

    def __init__(self) -> None:
        self.parent: dict[Item, Item] = {}

    def find(self, x: Item) -> Item:
        self.parent.setdefault(x, x)
        while self.parent[x] != x:
            self.parent[x] = self.parent[self.parent[x]]
            x = self.parent[x]
        return x

    def join(self, items: Iterable[Item]) -> None:
        roots = [self.find(x) for x in items]
        for root in roots[1:]:
            self.parent[self.find(root)] = self.find(roots[0])


class _Regions:
    """Connected unmatched nodes, joined across the graphs by the matched nodes around them."""

    def __init__(self, b: GraphIndex, a: GraphIndex, to_after: dict[int, int]) -> None:
        self.b, self.a, self.to_after = b, a, to_after
        self.sets = _Sets()

    def counterparts(
        self, removed: tuple[int, ...], added: tuple[int, ...], changed: tuple[Pair, ...]
    ) -> tuple[Counterpart, ...]:
        for side, index, nodes in (("b", self.b, removed), ("a", self.a, added)):
            free = set(nodes)
            for i in nodes:
                self.sets.join([(side, i), *((side, s) for s in index.sources(i) if s in free)])
        for i, j in changed:
            self.sets.join([("b", i), ("a", j)])
        self._join_at_borders(removed, added, changed)
        return self._collect()

    def _join_at_borders(
        self, removed: tuple[int, ...], added: tuple[int, ...], changed: tuple[Pair, ...]
    ) -> None:
        names = {self.to_after[i]: i for i in self.to_after}
        places: dict[object, list[Item]] = defaultdict(list)
        for i in removed:
            for mark in self._marks(self.b, i, {k: k for k in self.to_after}):
                places[mark].append(("b", i))
        for j in added:
            for mark in self._marks(self.a, j, names):
                places[mark].append(("a", j))
        for group in places.values():
            if {side for side, _ in group} == {"a", "b"}:
                self.sets.join(group)
        self._join_to_changed(removed, {i for i, _ in changed})

    def _marks(self, index: GraphIndex, i: int, pair_of: dict[int, int]) -> Iterator[object]:
        """Where node `i` touches the matched part: who reads it, and what it writes."""
        for r in index.users(i):
            if r in pair_of:
                yield "reader", pair_of[r]
        outputs = [v.name for v in index.graph.output]
        for name in index.nodes[i].output:
            if name in outputs:
                yield "output", outputs.index(name)

    def _join_to_changed(self, removed: tuple[int, ...], altered: set[int]) -> None:
        """A node that went into its neighbour's weights stands for that neighbour."""
        for i in removed:
            near = [n for n in (*self.b.sources(i), *self.b.users(i)) if n in altered]
            if near:
                self.sets.join([("b", i), ("b", near[0])])

    def _collect(self) -> tuple[Counterpart, ...]:
        groups: dict[Item, dict[str, list[int]]] = defaultdict(lambda: {"b": [], "a": []})
        for item in list(self.sets.parent):
            groups[self.sets.find(item)][item[0]].append(item[1])
        found = (Counterpart(tuple(sorted(g["b"])), tuple(sorted(g["a"]))) for g in groups.values())
        return tuple(sorted(found, key=lambda c: (c.before or c.after, c.after)))
