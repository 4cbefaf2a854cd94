"""One card for each group of channels that was equalized."""

from __future__ import annotations

from onnxac.render import numbers
from onnxac.render.equalized import factors, width
from onnxac.report import Equalization

from .html import Markup, name, tag
from .listed import entry, proof

_TITLE = 60


def factor_card(number: int, change: Equalization) -> Markup:
    """What was divided by which factors, and between which nodes."""
    head = tag(
        "header",
        tag("h3", name(change.tensor, _TITLE, breaks=True), title=change.tensor[: _TITLE * 6]),
        tag("p", tag("b", numbers.count(width(change))), " channels", class_="chip"),
    )
    how = "powers of two" if change.powers else "exact factors"
    told = tag(
        "p", tag("b", "equalized", class_="op"), tag("span", how), tag("span", factors(change)),
        class_="facts",
    )  # fmt: skip
    rows = (
        entry("divided in", change.makers),
        entry("handed on by", change.passing),
        entry("multiplied in", change.readers),
    )
    listed = tag("details", tag("summary", "Nodes and names"), tag("dl", *rows))
    return tag(
        "li",
        tag(
            "article", head, told, proof(change.certificate), listed, class_="card", id=f"e{number}"
        ),
    )
