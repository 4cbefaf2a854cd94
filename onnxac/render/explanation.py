"""Why a model would be merged as it would, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onnxac.render import numbers
from onnxac.render.merged import merged
from onnxac.render.refused import refused
from onnxac.render.rules import advice
from onnxac.render.words import branch, channels, extent, kernel, node_name, one_line, pads, saved
from onnxac.report import Branch, Fusion, NodeRef, Report
from onnxac.report.refusals import Group, grouped


def explanation(report: Report, details: bool) -> Iterator[RenderableType]:
    """Everything that was seen: what would be merged, and by which rules the rest was not."""
    yield from merged(report, details, verb="Can be merged:")
    yield from _savings(report.fusions)
    left = list(refused(report.refusals, details))
    if left:
        yield Text()
        yield from left
        yield Text()
        yield Text("Rules", "bold")
        yield Text()
        yield _rules(grouped(report.refusals))


def _savings(fusions: tuple[Fusion, ...]) -> Iterator[Text]:
    if fusions:
        nodes, macs = saved(fusions)
        work = f" and {numbers.short(macs)} multiply-adds" if macs else ""
        yield Text(f"  saves {numbers.plural(nodes, 'node')}{work}", "green")


def _rules(groups: list[Group]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for rule in dict.fromkeys(g.rule for g in groups):
        table.add_row(Text(f"  {rule}", "cyan"), Text(advice(rule), "dim"))
    return table


def node_explanation(report: Report, node: NodeRef) -> Iterator[RenderableType]:
    """Everything that concerns one node."""
    yield Text.assemble((node_name(node, None), "bold"), f"  {one_line(node.op, 30)}")
    fusions = [f for f in report.fusions if _concerns(f, node)]
    refusals = [r for r in report.refusals if r.node.name == node.name]
    for fusion in fusions:
        yield Text()
        yield from _fusion(fusion)
    for refusal in refusals:
        yield Text()
        yield Text.assemble(
            ("✗ ", "yellow"), f"{one_line(refusal.reason)} ", (f"[{refusal.rule}]", "cyan")
        )
        yield Padding(Text(advice(refusal.rule), "dim"), (0, 0, 0, 2))
    if not fusions and not refusals:
        yield Text()
        yield Text("Takes no part: it is not linear, or there is nothing linear beside it.")


def _concerns(fusion: Fusion, node: NodeRef) -> bool:
    branches = (b for o in fusion.operators for b in o.branches)
    return node in (*fusion.removed, *fusion.added, *(n for b in branches for n in b.nodes))


def _fusion(fusion: Fusion) -> Iterator[RenderableType]:
    count = f"{len(fusion.removed)} → {len(fusion.added)} nodes"
    yield Text.assemble(("✓ ", "green"), f"can be merged, {count}")
    for operator in fusion.operators:
        yield Text.assemble(
            f"  {node_name(operator.node)}: ",
            (kernel(operator), "bold"),
            f", {channels(operator)} channels, pads {pads(operator)}, group {operator.group},"
            f" of {one_line(operator.source, 60)}",
        )
        table = Table.grid(padding=(0, 2, 0, 0))
        for part in operator.branches:
            names = " → ".join(node_name(n) for n in part.nodes) or "the source itself"
            table.add_row(f"    {branch(part)}", Text(_place(part), "dim"), names)
        yield table
    yield from _savings((fusion,))


def _place(part: Branch) -> str:
    where = f"at {','.join(map(str, part.origin))}" if any(part.origin) else ""
    dilated = f"dilation {extent(part.dilation)}" if any(d != 1 for d in part.dilation) else ""
    return " ".join(filter(None, (where, dilated)))
