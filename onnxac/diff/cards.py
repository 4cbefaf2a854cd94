"""One card for each fusion: what it was, what it became, and which cell came from where."""

from __future__ import annotations

from collections import Counter

from onnx import ModelProto, NodeProto

from onnxac.render import numbers
from onnxac.report import FusedOperator, Fusion, NodeRef, OutputDifference, Verification

from .drawing import (
    WIDTH,
    Drawing,
    branch_title,
    colour,
    draw,
    own_branches,
    shared_nodes,
)
from .html import Markup, join, name, tag
from .pairing import Counterpart, Matching

# Names of one branch that a card lists; the rest is in the embedded report.
NAMES_SHOWN = 6


class Gallery:
    """Drawings by content: a network repeats its blocks, and each is stored once."""

    def __init__(self) -> None:
        self._ids: dict[Drawing, str] = {}

    def show(self, drawing: Drawing, label: str) -> Markup:
        """An `<svg>` that shows a drawing."""
        key = self._ids.setdefault(drawing, f"d{len(self._ids)}")
        box = f"0 0 {WIDTH} {drawing.height:g}"
        return tag(
            "svg",
            tag("use", href=f"#{key}"),
            viewBox=box,
            class_="drawing",
            role="img",
            aria_label=label,
        )

    def definitions(self) -> Markup:
        """The stored drawings, for once in the page."""
        symbols = (tag("symbol", d.content, id=key) for d, key in self._ids.items())
        return tag("svg", *symbols, class_="symbols", aria_hidden="true", focusable="false")


def fusion_card(i: int, fusion: Fusion, gallery: Gallery, check: Verification | None) -> Markup:
    """The card of one fusion of a report."""
    parts: list[Markup | None] = [_head(fusion)]
    for operator in fusion.operators:
        parts += [_picture(operator, gallery), _operator_facts(operator)]
    parts += [_cost(fusion), _error(fusion, check), _names(fusion), _button(fusion_title(fusion))]
    return tag("li", tag("article", *parts, class_="card", id=f"c{i}", data_group=i))


def region_card(i: int, group: Counterpart, before: ModelProto, after: ModelProto) -> Markup:
    """The card of nodes that stand for one another in two models without a report."""
    gone = [before.graph.node[k] for k in group.before]
    new = [after.graph.node[k] for k in group.after]
    title = _label((new or gone)[-1])
    sides = (
        tag("div", _count_chip(n, kind), _kinds(n), _node_list([_ref(x) for x in n]), class_="side")
        for n, kind in ((gone, "before"), (new, "after"))
    )
    head = tag("header", tag("h3", name(title, 46, breaks=True)))
    body = (head, *sides, _button(title))
    return tag("li", tag("article", *body, class_="card", id=f"c{i}", data_group=i))


def cards(
    matching: Matching,
    fusions: tuple[Fusion, ...] | None,
    models: tuple[ModelProto, ModelProto],
    check: Verification | None,
) -> tuple[Markup, Markup]:
    """All cards, and the drawings that they refer to."""
    gallery = Gallery()
    if fusions is not None:
        items = [fusion_card(i, f, gallery, check) for i, f in enumerate(fusions)]
    else:
        items = [region_card(i, g, *models) for i, g in enumerate(matching.counterparts)]
    return join(items), gallery.definitions()


def fusion_title(fusion: Fusion) -> str:
    """The name of a fusion: that of the first operator it made."""
    made = (*(o.node for o in fusion.operators), *fusion.added)
    return next((n.name for n in made if n.name), fusion.output)


def _head(fusion: Fusion) -> Markup:
    gone, new = len(fusion.removed), len(fusion.added)
    chip = tag(
        "p", numbers.plural(gone, "node"), " → ", tag("b", numbers.count(new)), class_="chip"
    )
    return tag("header", tag("h3", name(fusion_title(fusion), 46, breaks=True)), chip)


def _picture(operator: FusedOperator, gallery: Gallery) -> Markup | None:
    drawing = draw(operator)
    titles = ", ".join(branch_title(b) for b in own_branches(operator))
    taps = numbers.extent(operator.taps)
    label = f"{numbers.plural(len(operator.branches), 'branch')}: {titles}. Merged: {taps}."
    return gallery.show(drawing, label) if drawing else tag("p", label, class_="dim")


def _operator_facts(o: FusedOperator) -> Markup:
    facts = [("channels", f"{numbers.count(o.in_channels)} → {numbers.count(o.out_channels)}")]
    facts.append(("pads", " ".join(map(str, o.pads)) or "0"))
    facts.append(("stride", numbers.extent(o.stride)))
    if any(d != 1 for d in o.dilation):
        facts.append(("dilation", numbers.extent(o.dilation)))
    facts.append(("groups", numbers.count(o.group)))
    title = tag("b", f"{o.node.op} {numbers.extent(o.taps)}", class_="op")
    return tag("p", title, *(tag("span", k, " ", tag("b", v)) for k, v in facts), class_="facts")


def _cost(fusion: Fusion) -> Markup | None:
    if fusion.macs_before is None or fusion.macs_after is None:
        return None
    b, a = fusion.macs_before, fusion.macs_after
    text = f"{numbers.short(b)} → {numbers.short(a)} ({numbers.percent(b, a)})"
    return tag("p", tag("span", "multiply-adds ", tag("b", text)), class_="facts")


def _error(fusion: Fusion, check: Verification | None) -> Markup | None:
    """The measured error, where the fused tensor is one that was compared."""
    found = [o for o in check.outputs if o.name == fusion.output] if check else []
    return (
        tag("p", tag("span", "error ", tag("b", error_text(found[0]))), class_="facts")
        if found
        else None
    )


def error_text(output: OutputDifference) -> str:
    """How far an output is off, and how far it may be."""
    off, allowed = numbers.magnitude(output.relative), numbers.magnitude(output.tolerance)
    return f"{off} of {allowed} allowed"


def _names(fusion: Fusion) -> Markup:
    rows: list[Markup] = []
    for operator in fusion.operators:
        for i, branch in enumerate(own_branches(operator)):
            swatch = tag("i", class_=f"swatch {colour(i)}", aria_hidden="true")
            title = join((swatch, branch_title(branch), _group_note(branch.group)))
            rows.append(_entry(title, branch.nodes))
        if shared := shared_nodes(operator):
            rows.append(_entry("together", shared))
    rows.append(_entry("became", fusion.added))
    return tag("details", tag("summary", "Nodes and names"), tag("dl", *rows))


def _entry(title: str, nodes: tuple[NodeRef, ...]) -> Markup:
    return join((tag("dt", title), tag("dd", _node_list(nodes))))


def _group_note(group: int) -> str:
    return f", {group} groups" if group > 1 else ""


def _node_list(nodes: tuple[NodeRef, ...] | list[NodeRef]) -> Markup:
    if not nodes:
        return tag("p", "none", class_="dim")
    items = [tag("li", name(n.name, 100), " ", tag("small", n.op)) for n in nodes[:NAMES_SHOWN]]
    if len(nodes) > NAMES_SHOWN:
        items.append(tag("li", f"and {numbers.count(len(nodes) - NAMES_SHOWN)} more", class_="dim"))
    return tag("ul", *items, class_="names")


def _count_chip(nodes: list[NodeProto], kind: str) -> Markup:
    return tag("p", tag("b", numbers.plural(len(nodes), "node")), f" {kind}", class_=f"chip {kind}")


def _kinds(nodes: list[NodeProto]) -> Markup | None:
    """How many nodes of which type, where there are more than are named."""
    if len(nodes) <= NAMES_SHOWN:
        return None
    kinds = Counter(n.op_type for n in nodes).most_common(6)
    return tag("p", ", ".join(f"{n} {op}" if n > 1 else op for op, n in kinds), class_="facts")


def _ref(node: NodeProto) -> NodeRef:
    return NodeRef(_label(node), node.op_type)


def _label(node: NodeProto) -> str:
    return node.name or next((o for o in node.output if o), "")


def _button(what: str) -> Markup:
    label = f"Show {what[:80]} in both graphs"
    return tag(
        "button", "Show in both graphs", class_="show", type="button", aria_label=label, hidden=True
    )
