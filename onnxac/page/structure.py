"""Pairs nodes of two graphs that have no names in common.

Each node gets labels: its operator, attributes and constant shapes first, then round by
round those of its neighbours (the Weisfeiler-Leman colouring). From the widest
neighbourhood to the narrowest, nodes whose label occurs equally often on both sides are
paired in order, and every pair then spreads to the inputs and readers that fit. Every step
is linear in the size of the graphs.
"""

from __future__ import annotations

from collections import defaultdict

from .index import GraphIndex
from .pairing import Pair

ROUNDS = 6


def pair_by_structure(b: GraphIndex, a: GraphIndex, known: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """Further pairs, beside those in `known`, found by the shape of the graphs alone."""
    return _Pairing(b, a, known).run()


class _Pairing:
    def __init__(self, b: GraphIndex, a: GraphIndex, known: tuple[Pair, ...]) -> None:
        self.b, self.a = b, a
        self.to_after = dict(known)
        self.to_before = {j: i for i, j in known}
        self.labels_b, self.labels_a = _labels(b), _labels(a)
        self.known = frozenset(known)

    def run(self) -> tuple[Pair, ...]:
        self._spread(list(self.known))
        for depth in range(ROUNDS, -1, -1):
            self._pair_label(depth)
        return tuple(sorted(set(self.to_after.items()) - self.known))

    def _pair_label(self, depth: int) -> None:
        left = _free(self.labels_b[depth], self.to_after)
        right = _free(self.labels_a[depth], self.to_before)
        fresh: list[Pair] = []
        for label, nodes in left.items():
            others = right.get(label, [])
            if len(nodes) == len(others):
                fresh += zip(nodes, others, strict=True)
        for i, j in fresh:
            self._take(i, j)
        self._spread(fresh)

    def _take(self, i: int, j: int) -> None:
        self.to_after[i] = j
        self.to_before[j] = i

    def _spread(self, pairs: list[Pair]) -> None:
        pending = list(pairs)
        while pending:
            i, j = pending.pop()
            for s, t in self._neighbours(i, j):
                if self._fits(s, t):
                    self._take(s, t)
                    pending.append((s, t))

    def _neighbours(self, i: int, j: int) -> list[Pair]:
        b, a = self.b, self.a
        found = [
            (b.producer[x], a.producer[y])
            for x, y in zip(b.inputs(i), a.inputs(j), strict=False)
            if x in b.producer and y in a.producer
        ]
        for x, y in zip(b.nodes[i].output, a.nodes[j].output, strict=False):
            left = _lone(b.readers.get(x, []), self.labels_b[0], self.to_after)
            right = _lone(a.readers.get(y, []), self.labels_a[0], self.to_before)
            found += [(left[k], right[k]) for k in left.keys() & right.keys()]
        return found

    def _fits(self, i: int, j: int) -> bool:
        free = i not in self.to_after and j not in self.to_before
        return free and self.labels_b[0][i] == self.labels_a[0][j]


def _free(labels: list[int], taken: dict[int, int]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        if i not in taken:
            groups[label].append(i)
    return groups


def _lone(nodes: list[int], labels: list[int], taken: dict[int, int]) -> dict[int, int]:
    groups: dict[int, set[int]] = defaultdict(set)
    for i in nodes:
        if i not in taken:
            groups[labels[i]].add(i)
    return {label: next(iter(group)) for label, group in groups.items() if len(group) == 1}


def _labels(index: GraphIndex) -> list[list[int]]:
    rounds = [[_own_label(index, i) for i in range(len(index.nodes))]]
    links = [_links(index, i) for i in range(len(index.nodes))]
    for _ in range(ROUNDS):
        last = rounds[-1]
        rounds.append(
            [
                hash((last[i], tuple(last[s] for s in up), tuple(sorted(last[r] for r in down))))
                for i, (up, down) in enumerate(links)
            ]
        )
    return rounds


def _links(index: GraphIndex, i: int) -> tuple[list[int], list[int]]:
    return list(index.sources(i)), list(dict.fromkeys(index.users(i)))


def _own_label(index: GraphIndex, i: int) -> int:
    node = index.nodes[i]
    constants = tuple(
        (slot, tuple(index.initializers[name].dims))
        for slot, name in enumerate(node.input)
        if name in index.initializers
    )
    return hash((node.op_type, node.domain, attributes_of(index, i), len(node.input), constants))


def attributes_of(index: GraphIndex, i: int) -> frozenset[bytes]:
    """The attributes of node `i`, in a form that compares equal when they are."""
    return frozenset(a.SerializeToString(deterministic=True) for a in index.nodes[i].attribute)
