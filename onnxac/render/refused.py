"""What was left alone and why: by rule, what one can act on first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich.console import RenderableType
from rich.text import Text

from onnxac.render import numbers
from onnxac.render.columns import Entry, item
from onnxac.render.rules import ROUTINE, order
from onnxac.render.safe import one_line
from onnxac.render.words import node_name, within
from onnxac.report import Refusal
from onnxac.report.refusals import Group, grouped

# Two for each reason.
LINES_SHOWN, NAMES_SHOWN = 10, 3


def by_rule(refusals: Iterable[Refusal]) -> list[Group]:
    """The groups by rule: first the rules that one can do something about, routine last."""
    return sorted(grouped(refusals), key=lambda g: order(g.rule))


def refused(refusals: Sequence[Refusal], details: bool) -> Iterator[RenderableType]:
    """The groups as lines: the rule, the reason, and whom it met."""
    if not refusals:
        return
    yield Text(f"Left alone: {numbers.plural(len(refusals), 'candidate')}", "bold")
    yield Text()
    groups = by_rule(refusals)
    shown = groups if details else [g for g in groups if g.rule not in ROUTINE]
    routine = sum(len(g.nodes) for g in groups) - sum(len(g.nodes) for g in shown)
    hidden = 0 if details else max(0, len(shown) - LINES_SHOWN // 2)
    shown = shown[: len(shown) - hidden]
    width = max((len(g.rule) for g in shown), default=0)
    for rule, same in groupby(shown, key=lambda g: g.rule):
        label = f"  {one_line(rule):{width}}  "
        for group in same:
            yield Entry(Text(label, "cyan"), Text.assemble(_reason(group)))
            yield Entry(Text(" " * len(label)), Text(_nodes(group, details), "dim"))
            label = " " * len(label)
    if hidden:
        yield item(f"and {numbers.plural(hidden, 'more reason')}; -v shows them", "dim")
    if routine:
        candidates = numbers.plural(routine, "more candidate" if shown else "candidate")
        yield item(f"{candidates} that would not pay; -v shows them", "dim")


def _reason(group: Group) -> str:
    times = f"{len(group.nodes):,} × " if len(group.nodes) > 1 else ""
    return f"{times}{one_line(group.reason)}"


def _nodes(group: Group, details: bool) -> str:
    shown = group.nodes if details else group.nodes[:NAMES_SHOWN]
    hidden = len(group.nodes) - len(shown)
    more = f", and {hidden:,} more" if hidden else ""
    return f"at {', '.join(map(node_name, shown))}{more}{within(group.places)}"
