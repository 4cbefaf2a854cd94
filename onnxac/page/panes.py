"""The two Netron panes: their place in the page, and the data that the scripts unpack."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass

from onnx import ModelProto

from onnxac.render import numbers

from .html import Markup, join, tag
from .index import GraphIndex
from .neighbourhood import excerpt, neighbourhood
from .netron import Netron, read_netron
from .pairing import Matching
from .slim import without_weights

SIDES = ("before", "after")
# Nodes of both graphs beyond which it is seconds until they are drawn.
LARGE = 400

# Netron is by Lutz Roeder and others, under the MIT licence, which asks for this notice.
LICENCE = """Copyright (c) Lutz Roeder

Permission is hereby granted, free of charge, to any person obtaining a copy of this software \
and associated documentation files (the "Software"), to deal in the Software without \
restriction, including without limitation the rights to use, copy, modify, merge, publish, \
distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the \
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or \
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING \
BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND \
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, \
DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, \
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


@dataclass(frozen=True)
class Panes:
    """The parts of the page that the panes need: a section, its data, and a notice."""

    section: Markup
    data: Markup
    notice: Markup

    @staticmethod
    def none(reason: str = "") -> Panes:
        """No panes, and a sentence why."""
        notice = (
            tag("p", f"Graphs side by side: {reason}.", class_="notice") if reason else Markup()
        )
        return Panes(Markup(), Markup(), notice)


def build_panes(
    before: ModelProto, after: ModelProto, matching: Matching, frame_files: dict[str, str]
) -> Panes:
    """The panes, or none with the reason. `frame_files` run inside each pane's frame."""
    indexes = GraphIndex(before), GraphIndex(after)
    operators = {(_domain(n.domain), n.op_type) for index in indexes for n in index.nodes}
    netron = read_netron(operators)
    if isinstance(netron, str):
        return Panes.none(netron)
    viewer = {**netron.__dict__, "frame": frame_files}
    slim = without_weights(before), without_weights(after)
    data = join(
        (
            packed("netron", json.dumps(viewer).encode()),
            *(packed(s, m.SerializeToString()) for s, m in zip(SIDES, slim, strict=True)),
            *_surroundings(slim, indexes, matching),
            packed("links", json.dumps(links(*indexes, matching)).encode()),
        )
    )
    return Panes(_section(indexes, matching), data, _notice(netron))


def _surroundings(
    slim: tuple[ModelProto, ModelProto], indexes: tuple[GraphIndex, GraphIndex], matching: Matching
) -> list[Markup]:
    """Of graphs that take long to draw, the part around the change that is shown first."""
    if sum(len(i.nodes) for i in indexes) <= LARGE or not matching.counterparts:
        return []
    first = matching.counterparts[0]
    near = [
        excerpt(model, index, neighbourhood(index, seeds))
        for model, index, seeds in zip(slim, indexes, (first.before, first.after), strict=True)
    ]
    if not all(m.graph.node for m in near):
        return []
    return [packed(f"near-{s}", m.SerializeToString()) for s, m in zip(SIDES, near, strict=True)]


def links(b: GraphIndex, a: GraphIndex, matching: Matching) -> dict[str, object]:
    """The matching for the scripts, which know a node by the first tensor that it writes."""
    return {
        "before": [_output(b, i) for i in range(len(b.nodes))],
        "after": [_output(a, j) for j in range(len(a.nodes))],
        "removed": matching.removed,
        "added": matching.added,
        "changed": matching.changed,
        "unchanged": matching.unchanged,
        "groups": [(c.before, c.after) for c in matching.counterparts],
        "near": _near(b, matching),
    }


def _near(b: GraphIndex, matching: Matching) -> list[tuple[int, int]]:
    """For removed nodes without a counterpart, such as folded constants: whose group they feed."""
    group = {i: g for g, c in enumerate(matching.counterparts) for i in c.before}
    near: dict[int, int] = {}
    # Writers stand before readers, so that a reader is settled when its writers are asked.
    for i in sorted(set(matching.removed) - group.keys(), reverse=True):
        found = (group.get(u, near.get(u)) for u in b.users(i))
        g = next((g for g in found if g is not None), None)
        if g is not None:
            near[i] = g
    return list(near.items())


def _output(index: GraphIndex, i: int) -> str:
    return next((name for name in index.nodes[i].output if name), "")


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def packed(key: str, data: bytes) -> Markup:
    """Data for a script to unpack: gzip in base64, in an element named after it."""
    # No time stamp: the same models make the same page.
    text = base64.b64encode(gzip.compress(data, 9, mtime=0)).decode("ascii")
    return tag("script", Markup(text), id=f"data-{key}", type="application/gzip+base64")


def _section(indexes: tuple[GraphIndex, GraphIndex], matching: Matching) -> Markup:
    legend = (
        tag("span", tag("i", class_=f"swatch {kind}", aria_hidden="true"), kind)
        for kind in ("removed", "added", "changed", "unchanged")
        if getattr(matching, kind)
    )
    linked = tag(
        "label",
        tag("input", type="checkbox", id="linked", checked=True),
        "scroll and zoom together",
    )
    wide = tag("button", "Hide the list", id="wide", type="button", aria_pressed="false")
    bar = tag("div", tag("p", *legend, class_="key"), linked, wide, class_="pane-bar")
    sides = (
        _pane(side, len(i.nodes)) for side, i in zip(("before", "after"), indexes, strict=True)
    )
    frames = tag("div", *sides, class_="frames")
    trouble = tag("p", id="trouble", class_="notice", role="alert", hidden=True)
    total = sum(len(i.nodes) for i in indexes)
    panes = tag(
        "div",
        bar,
        frames,
        class_="panes",
        id="panes",
        data_nodes=total,
        data_large=total > LARGE or None,
        hidden=True,
    )
    paper = "The two graphs are drawn on the page itself, not on paper: open its file in a browser."
    return join((panes, trouble, tag("p", paper, class_="paper")))


def _pane(side: str, nodes: int) -> Markup:
    more = tag("span", class_="more", role="status")
    count = f" {numbers.plural(nodes, 'node')}"
    title = tag("figcaption", tag("b", side.capitalize()), count, more, class_="caption")
    wait = tag("p", "Drawing the graph…", class_="wait", role="status")
    place = tag("div", wait, class_="place", id=f"pane-{side}")
    return tag("figure", title, place, class_=side)


def _notice(netron: Netron) -> Markup:
    text = f"The graphs are drawn by Netron {netron.version}, whose files are part of this page."
    licence = tag("details", tag("summary", "Netron's licence (MIT)"), tag("pre", LICENCE))
    return tag("div", tag("p", text), licence, class_="notice")
