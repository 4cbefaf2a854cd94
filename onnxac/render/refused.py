"""What was left alone and why: grouped by the reason, for every form."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from onnxac.render import numbers
from onnxac.render.words import node_name, one_line
from onnxac.report import Refusal
from onnxac.report.refusals import grouped

GROUPS_SHOWN, NAMES_SHOWN = 8, 3


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
