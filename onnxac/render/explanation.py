"""Why a model would be merged as it would, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from onnxac.render import numbers
from onnxac.render.certificates import certificates, marked
from onnxac.render.columns import Column, Columns, Entry, item
from onnxac.render.equalized import equalized, factors
from onnxac.render.merged import merged
from onnxac.render.ranges import ranges
from onnxac.render.refused import by_rule, refused
from onnxac.render.rules import ROUTINE, advice
from onnxac.render.safe import one_line
from onnxac.render.words import (
    branch,
    changed,
    channels,
    kernel,
    node_name,
    operator_type,
    pads,
    saved,
    within,
)
from onnxac.report import Branch, Fusion, NodeRef, Report


def explanation(report: Report, details: bool) -> Iterator[RenderableType]:
    """Everything that was seen: what would be merged, and by which rules the rest was not."""
    yield from merged(report, details, verb="Can be merged:")
    yield from _savings(report.fusions)
    yield from equalized(report, details, verb="Can be equalized:")
    yield from ranges(report)
    judged = [f for f in report.changes if f.certificate is not None]
    if judged:
        yield Text()
        yield from certificates(judged, [f.certificate for f in judged if f.certificate], details)
    left = list(refused(report.refusals, details))
    if left:
        yield Text()
        yield from left
        yield from _rules(report, details)


def _savings(fusions: tuple[Fusion, ...]) -> Iterator[Entry]:
    if fusions:
        nodes, macs = saved(fusions)
        work = f" and {numbers.short(macs)} multiply-adds" if macs else ""
        yield item(f"saves {numbers.plural(nodes, 'node')}{work}", "green")
        kinds = ", ".join(sorted({one_line(k) for f in fusions for k in f.kinds}))
        if kinds:
            yield item(f"kinds: {kinds}", "dim")


def _rules(report: Report, details: bool) -> Iterator[RenderableType]:
    met = dict.fromkeys(g.rule for g in by_rule(report.refusals))
    rules = [rule for rule in met if advice(rule) and (details or rule not in ROUTINE)]
    if not rules:
        return
    yield Text()
    yield Text("Rules", "bold")
    yield Text()
    width = max(map(len, rules))
    for rule in rules:
        yield Entry(Text(f"  {rule:{width}}  ", "cyan"), Text(advice(rule), "dim"))


def node_explanation(report: Report, node: NodeRef) -> Iterator[RenderableType]:
    """Everything that concerns one node."""
    yield Text.assemble(("Node ", "dim"), (node_name(node), "bold"), f"  {operator_type(node.op)}")
    fusions = [f for f in report.fusions if _concerns(f, node)]
    scaled = [c for c in report.equalizations if node in (*c.makers, *c.passing, *c.readers)]
    refusals = [r for r in report.refusals if r.node.name == node.name]
    for fusion in fusions:
        yield Text()
        yield from _fusion(fusion)
    for change in scaled:
        yield Text()
        yield Text.assemble(("✓ ", "green"), f"can be equalized, by {factors(change)}")
        yield Text(f"    with {one_line(change.tensor)}", "dim")
    for refusal in refusals:
        yield Text()
        rule = one_line(refusal.rule)
        yield Text.assemble(("✗ ", "yellow"), f"{one_line(refusal.reason)} ", (f"[{rule}]", "cyan"))
        yield Entry(Text("  "), Text(advice(refusal.rule), "dim"))
    if not fusions and not refusals and not scaled:
        yield Text()
        yield Text("Takes no part: it is not linear, or there is nothing linear beside it.")


def _concerns(fusion: Fusion, node: NodeRef) -> bool:
    branches = (b for o in fusion.operators for b in o.branches)
    return node in (*fusion.removed, *fusion.added, *(n for b in branches for n in b.nodes))


def _fusion(fusion: Fusion) -> Iterator[RenderableType]:
    yield Text.assemble(
        ("✓ ", "green"), f"can be merged, {changed(fusion)} nodes{within([fusion.place])}"
    )
    for operator in fusion.operators:
        what = Text.assemble(
            (kernel(operator), "bold"),
            f", {channels(operator)} channels, pads {pads(operator)}, group {operator.group}",
        )
        yield Entry(Text("  "), what)
        yield Text(f"    as {node_name(operator.node)}, of {one_line(operator.source)}", "dim")
        table = Columns((Column(""), Column("", style="dim", rank=1), Column("", names=True)))
        for part in operator.branches:
            names = " → ".join(map(node_name, part.nodes)) or "the source itself"
            table.add(f"    {branch(part)}", _place(part), names)
        yield table
    if fusion.certificate is not None:
        yield Entry(Text("  certified: ", "dim"), marked(fusion.certificate, ""))
    yield from _savings((fusion,))


def _place(part: Branch) -> str:
    where = f"at {','.join(map(str, part.origin))}" if any(part.origin) else ""
    dilated = (
        f"dilation {numbers.extent(part.dilation)}" if any(d != 1 for d in part.dilation) else ""
    )
    return " ".join(filter(None, (where, dilated)))
