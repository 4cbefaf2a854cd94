"""What was left alone and why: grouped by the reason, for every form."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.text import Text

from onnxac.diff import numbers
from onnxac.render.words import node_name, one_line
from onnxac.report import NodeRef, Refusal

GROUPS_SHOWN, NAMES_SHOWN = 8, 3


@dataclass(frozen=True)
class Group:
    """Nodes that one rule kept apart for one reason. Their names in it are "this node"."""

    rule: str
    reason: str
    nodes: tuple[NodeRef, ...]


def grouped(refusals: Iterable[Refusal]) -> list[Group]:
    """Refusals by reason, the commonest first."""
    found: dict[tuple[str, str], list[Refusal]] = defaultdict(list)
    for refusal in refusals:
        found[refusal.rule, _unnamed(refusal)].append(refusal)
    groups = [
        # A reason that holds once is told as it is, with its name.
        Group(rule, reason if len(same) > 1 else same[0].reason, tuple(r.node for r in same))
        for (rule, reason), same in found.items()
    ]
    return sorted(groups, key=lambda g: (-len(g.nodes), g.rule))


def _unnamed(refusal: Refusal) -> str:
    """The reason without the node's name, which may be as short as a letter of some word."""
    name = refusal.node.name
    alone = rf"(?<![\w/.]){re.escape(name)}(?![\w/.])"
    return re.sub(alone, "this node", refusal.reason) if name else refusal.reason


def refused(refusals: tuple[Refusal, ...], details: bool) -> Iterator[Text]:
    """The groups as lines: the reason, and whom it met."""
    if not refusals:
        return
    yield Text(f"Left alone: {numbers.plural(len(refusals), 'candidate')}", "bold")
    yield Text()
    groups = grouped(refusals)
    for group in groups if details else groups[:GROUPS_SHOWN]:
        times = f"{len(group.nodes)} × " if len(group.nodes) > 1 else ""
        yield Text.assemble(f"  {times}{one_line(group.reason)} ", (f"[{group.rule}]", "dim"))
        shown = group.nodes if details else group.nodes[:NAMES_SHOWN]
        hidden = len(group.nodes) - len(shown)
        names = ", ".join(node_name(n) for n in shown)
        yield Text(f"      {names}{f', and {hidden:,} more' if hidden else ''}", "dim")
    if len(groups) > GROUPS_SHOWN and not details:
        more = numbers.plural(len(groups) - GROUPS_SHOWN, "more reason")
        yield Text(f"  and {more}; -v shows them", "dim")
