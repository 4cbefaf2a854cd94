"""One card for each fusion: what it was, what it became, and which cell came from where."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto

from onnxac.render import numbers
from onnxac.render.safe import labels
from onnxac.render.verdict import difference
from onnxac.render.words import (
    branch_title,
    channels,
    kernel,
    own_branches,
    pads,
    shared_nodes,
    title,
)
from onnxac.report import (
    FusedOperator,
    Fusion,
    NodeRef,
    Report,
    Verification,
)

from .drawing import WIDTH, Drawing, colour, draw
from .factors import factor_card
from .html import Markup, join, name, tag
from .listed import NAMES_SHOWN, entry, node_list, proof
from .pairing import Matching
from .regions import Region, constants, kinds, regions

TITLE_LENGTH = 60


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


def cards(
    matching: Matching,
    report: Report | None,
    models: tuple[ModelProto, ModelProto],
    check: Verification | None,
) -> tuple[Markup, Markup]:
    """All cards, and the drawings that they refer to."""
    gallery = Gallery()
    if report is not None:
        fusions = report.fusions
        shown = labels(map(title, fusions), TITLE_LENGTH)
        items = [_fusion_card(i, shown[title(f)], f, gallery, check) for i, f in enumerate(fusions)]
        items += [factor_card(i, c) for i, c in enumerate(report.equalizations)]
        return join(items), gallery.definitions()
    found = regions(matching, *models)
    shown = labels((r.title for r in found), TITLE_LENGTH)
    items = [_region_card(r, shown[r.title]) for r in found]
    return join((*items, _constants(constants(matching, *models)))), gallery.definitions()


def _card(i: int, head: Sequence[object], *parts: Markup | None) -> Markup:
    card = tag("article", tag("header", *head), *parts, class_="card", id=f"c{i}", data_group=i)
    return tag("li", card)


def _fusion_card(
    i: int, label: str, fusion: Fusion, gallery: Gallery, check: Verification | None
) -> Markup:
    gone, new = len(fusion.removed), len(fusion.added)
    chip = tag(
        "p", numbers.plural(gone, "node"), " → ", tag("b", numbers.count(new)), class_="chip"
    )
    parts: list[Markup | None] = []
    if fusion.place:
        parts.append(tag("p", "in ", name(fusion.place), class_="dim"))
    for operator in fusion.operators:
        parts += [_picture(operator, gallery), _operator_facts(operator)]
    parts += [_cost(fusion), proof(fusion.certificate), _error(fusion, check)]
    parts += [_names(fusion), _button(label)]
    return _card(i, (_title(label, title(fusion)), chip), *parts)


def _region_card(region: Region, label: str) -> Markup:
    sides = (
        tag("div", _count_chip(n, kind), _kinds(n), node_list(n), class_="side")
        for n, kind in ((region.gone, "before"), (region.new, "after"))
    )
    return _card(region.counterpart, (_title(label, region.title),), *sides, _button(label))


def _constants(groups: list[int]) -> Markup | None:
    """One line for all constants that became initializers, or the reverse."""
    if not groups:
        return None
    text = f"{numbers.plural(len(groups), 'constant')} moved between nodes and initializers."
    return tag("li", tag("p", text, class_="dim"))


def _title(label: str, whole: str) -> Markup:
    return tag("h3", name(label, len(label), breaks=True), title=whole[: TITLE_LENGTH * 6])


def _picture(operator: FusedOperator, gallery: Gallery) -> Markup | None:
    drawing = draw(operator)
    titles = ", ".join(branch_title(b) for b in own_branches(operator))
    taps = numbers.extent(operator.taps)
    label = f"{numbers.plural(len(operator.branches), 'branch')}: {titles}. Merged: {taps}."
    return gallery.show(drawing, label) if drawing else tag("p", label, class_="dim")


def _operator_facts(o: FusedOperator) -> Markup:
    facts = {"channels": channels(o), "pads": pads(o), "group": numbers.count(o.group)}
    entries = (tag("span", key, " ", tag("b", value)) for key, value in facts.items())
    return tag("p", tag("b", kernel(o), class_="op"), *entries, class_="facts")


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
        tag("p", tag("span", "error ", tag("b", difference(found[0]))), class_="facts")
        if found
        else None
    )


def _names(fusion: Fusion) -> Markup:
    rows: list[Markup] = []
    for operator in fusion.operators:
        for i, branch in enumerate(own_branches(operator)):
            swatch = tag("i", class_=f"swatch {colour(i)}", aria_hidden="true")
            title = join((swatch, branch_title(branch), _group_note(branch.group)))
            rows.append(entry(title, branch.nodes))
        if shared := shared_nodes(operator):
            rows.append(entry("together", shared))
    rows.append(entry("became", fusion.added))
    return tag("details", tag("summary", "Nodes and names"), tag("dl", *rows))


def _group_note(group: int) -> str:
    return f", {group} groups" if group > 1 else ""


def _count_chip(nodes: Sequence[NodeRef], kind: str) -> Markup:
    return tag("p", tag("b", numbers.plural(len(nodes), "node")), f" {kind}", class_=f"chip {kind}")


def _kinds(nodes: Sequence[NodeRef]) -> Markup | None:
    """How many nodes of which type, where there are more than are named."""
    return tag("p", kinds(nodes), class_="facts") if len(nodes) > NAMES_SHOWN else None


def _button(what: str) -> Markup:
    label = f"Show {what} in both graphs"
    return tag(
        "button", "Show in both graphs", class_="show", type="button", aria_label=label, hidden=True
    )
