"""Parts that cards of all kinds have: lists of nodes, and what was shown."""

from __future__ import annotations

from collections.abc import Sequence

from onnxac.render import numbers
from onnxac.render.certificates import sentence
from onnxac.render.safe import one_line
from onnxac.render.words import node_name, operator_type
from onnxac.report import FAILS, HOLDS, Certificate, NodeRef

from .html import Markup, join, name, tag

# Names of one branch that a card lists; the rest is in the embedded report.
NAMES_SHOWN = 6


def proof(found: Certificate | None) -> Markup | None:
    """What was shown of the change, from the two graphs alone."""
    if found is None:
        return None
    word = {HOLDS: "✓ holds", FAILS: "✗ fails"}.get(found.verdict, "? open")
    said = tag("bdi", one_line(sentence(found), 600))
    return tag("p", tag("span", "certificate ", tag("b", word)), tag("span", said), class_="facts")


def entry(title: str, nodes: tuple[NodeRef, ...]) -> Markup:
    """Nodes under a heading, in a list of definitions."""
    return join((tag("dt", title), tag("dd", node_list(nodes))))


def node_list(nodes: Sequence[NodeRef]) -> Markup:
    """The first of some nodes, and how many more there are."""
    if not nodes:
        return tag("p", "none", class_="dim")
    items = [
        tag("li", name(node_name(n), 100), " ", tag("small", operator_type(n.op)))
        for n in nodes[:NAMES_SHOWN]
    ]
    if len(nodes) > NAMES_SHOWN:
        items.append(tag("li", f"and {numbers.count(len(nodes) - NAMES_SHOWN)} more", class_="dim"))
    return tag("ul", *items, class_="names")
