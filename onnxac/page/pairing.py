"""What a matching is, and the pairs that names alone give."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .index import GraphIndex, Key

Pair = tuple[int, int]


@dataclass(frozen=True)
class Counterpart:
    """Nodes that stand for one another, as positions in the two graphs' node lists."""

    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class Matching:
    """How two graphs correspond. All numbers are positions in `graph.node`.

    method        "report", "names", "structure", or "names, then structure"
    removed       nodes of the first graph that are gone
    added         nodes of the second graph that are new
    unchanged     pairs that are the same node
    changed       pairs that are the same node with other weights or attributes;
                  none with a report, which has them in a fusion
    counterparts  many to many: what was replaced by what. With a report, one for each
                  of its fusions in their order. A side may be empty
    """

    method: str
    removed: tuple[int, ...]
    added: tuple[int, ...]
    unchanged: tuple[Pair, ...]
    changed: tuple[Pair, ...]
    counterparts: tuple[Counterpart, ...]


def rest(index: GraphIndex, taken: Iterable[int]) -> tuple[int, ...]:
    """Positions of all nodes that are not in `taken`."""
    used = set(taken)
    return tuple(i for i in range(len(index.nodes)) if i not in used)


def pair_by_name(
    b: GraphIndex,
    a: GraphIndex,
    *,
    skip_before: Iterable[int] = (),
    skip_after: Iterable[int] = (),
) -> tuple[Pair, ...]:
    """Nodes of the same type that write a tensor of the same name, or have the same name."""
    used_b, used_a = set(skip_before), set(skip_after)
    pairs: list[Pair] = []

    def take(i: int, j: int) -> None:
        pairs.append((i, j))
        used_b.add(i)
        used_a.add(j)

    for i, node in enumerate(b.nodes):
        j = next((a.producer[o] for o in node.output if o in a.producer), None)
        if j is None or i in used_b or j in used_a:
            continue
        if node.op_type == a.nodes[j].op_type and node.domain == a.nodes[j].domain:
            take(i, j)
    left, right = _unique_names(b, used_b), _unique_names(a, used_a)
    for key in left.keys() & right.keys():
        take(left[key], right[key])
    return tuple(sorted(pairs))


def _unique_names(index: GraphIndex, used: set[int]) -> dict[Key, int]:
    free = {k: [i for i in v if i not in used] for k, v in index.by_key.items() if k[0]}
    return {k: v[0] for k, v in free.items() if len(v) == 1}
