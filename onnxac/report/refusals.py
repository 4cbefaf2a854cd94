"""What was left alone, grouped by the reason: the same in a terminal and on a page."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from onnxac.report import NodeRef, Refusal


@dataclass(frozen=True)
class Group:
    """Nodes that one rule kept apart for one reason. Their names in it are "this node".

    places  the bodies that they are in, each once; "" stands for the main graph
    """

    rule: str
    reason: str
    nodes: tuple[NodeRef, ...]
    places: tuple[str, ...] = ("",)


def grouped(refusals: Iterable[Refusal]) -> list[Group]:
    """Refusals by reason, the commonest first."""
    found: dict[tuple[str, str], list[Refusal]] = defaultdict(list)
    for refusal in refusals:
        found[refusal.rule, _unnamed(refusal)].append(refusal)
    groups = [
        # A reason that holds once is told as it is, with its name.
        Group(
            rule,
            reason if len(same) > 1 else same[0].reason,
            tuple(r.node for r in same),
            tuple(dict.fromkeys(r.place for r in same)),
        )
        for (rule, reason), same in found.items()
    ]
    return sorted(groups, key=lambda g: (-len(g.nodes), g.rule))


def _unnamed(refusal: Refusal) -> str:
    """The reason without the node's name, which may be as short as a letter of some word."""
    name = refusal.node.name
    alone = rf"(?<![\w/.]){re.escape(name)}(?![\w/.])"
    return re.sub(alone, "this node", refusal.reason) if name else refusal.reason
