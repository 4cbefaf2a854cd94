"""The one self-contained HTML file.

The page reads from top to bottom without scripts and without Netron. Scripts add search,
keys, the colour scheme, and two Netron panes; the page's own policy forbids every request.
"""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from pathlib import PurePath

from onnx import ModelProto

from onnxac.render import numbers
from onnxac.report import ModelInfo, Report, Verification

from .cards import cards
from .details import left_alone, proof, provenance
from .facts import Facts, Known, gather
from .html import Markup, embedded_json, join, name, tag
from .panes import Panes, build_panes, packed
from .summary import summary

# Nothing may be fetched, from anywhere; scripts and frames are the page's own.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; "
    "img-src data: blob:; worker-src blob:; frame-src 'self'; form-action 'none'; base-uri 'none'"
)

# Bytes of JSON.
REPORT_PACKED_OVER = 60_000

STYLES = ("page.css", "cards.css", "panes.css")
SCRIPTS = ("page.js", "geometry.js", "links.js", "panes.js")
FRAME_FILES = ("frame.css", "frame.js")


def render_html(  # noqa: PLR0913 - the one entry point, and all its options are keywords
    before: ModelProto,
    after: ModelProto,
    report: Report | None = None,
    *,
    netron: bool = True,
    command: str | None = None,
    verification: Verification | None = None,
    before_info: ModelInfo | None = None,
    after_info: ModelInfo | None = None,
) -> str:
    """The visual diff of two models as one HTML file.

    With `report` it shows each fusion; without it, any two models can be compared.
    `before_info` and `after_info` say which files they are, where no report does.
    `netron` adds two panes of the installed netron package; where that is missing or too
    different, the page says so and goes without.
    """
    facts = gather(before, after, Known(report, verification, command, before_info, after_info))
    return draw_page(before, after, facts, netron=netron)


def draw_page(before: ModelProto, after: ModelProto, facts: Facts, *, netron: bool = True) -> str:
    """`render_html` of what has been gathered before."""
    panes = _panes(before, after, facts) if netron else Panes.none()
    items, symbols = cards(
        facts.matching,
        facts.report,
        (before, after),
        facts.verification,
    )
    body = (
        _bar(facts),
        tag(
            "main",
            summary(facts),
            _bench(facts, items, panes),
            left_alone(facts),
            proof(facts),
            provenance(facts),
        ),
        tag("footer", panes.notice),
        symbols,
        _report(facts.report),
        panes.data,
        *(tag("script", Markup(asset(s))) for s in SCRIPTS),
    )
    return f"<!doctype html>\n{tag('html', _head(facts), tag('body', *body), lang='en')}\n"


def _panes(before: ModelProto, after: ModelProto, facts: Facts) -> Panes:
    inside = {name: asset(name) for name in FRAME_FILES}
    return build_panes(before, after, facts.matching, inside)


def asset(file: str) -> str:
    """The text of one of the files beside this module."""
    return files(__package__).joinpath("assets", file).read_text(encoding="utf-8")


def _head(facts: Facts) -> Markup:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{facts.headline} {facts.verdict.headline} — onnxac diff"),
        *(tag("style", Markup(asset(s))) for s in STYLES),
    )


def _bar(facts: Facts) -> Markup:
    names = (_file(facts.before, "before"), " → ", _file(facts.after, "after"))
    return tag(
        "header",
        tag("a", "Skip to the changes", href="#changes", class_="skip"),
        tag("p", tag("b", "onnxac"), " diff", class_="brand"),
        tag("p", *names, class_="which"),
        tag(
            "button",
            "◐ Auto",
            id="theme",
            type="button",
            hidden=True,
            aria_label="Colour scheme: auto",
        ),
        class_="bar-top",
    )


def _file(info: ModelInfo, fallback: str) -> Markup:
    return name(PurePath(info.path).name, 48) if info.path else tag("span", fallback)


def _bench(facts: Facts, items: Markup, panes: Panes) -> Markup:
    rail = tag(
        "div",
        tag("header", heading(facts), _legend(facts), _search(facts), _keys()),
        listed(facts, items),
        class_="rail",
    )
    return tag("section", rail, panes.section, class_="bench", aria_labelledby="changes")


def heading(facts: Facts) -> Markup:
    """What the list of changes is called, and how many there are."""
    text = "Merged " if facts.report is not None else "Changed "
    return tag("h2", text, tag("span", numbers.count(_found(facts)), class_="n"), id="changes")


def _found(facts: Facts) -> int:
    return len(facts.report.changes) if facts.report else len(facts.matching.counterparts)


def listed(facts: Facts, items: Markup) -> Markup:
    """The cards as a list, or that there are none."""
    if not _found(facts):
        return tag("p", "The two graphs have the same nodes.", class_="dim")
    empty = tag("p", "Nothing matches.", class_="dim", id="nothing", hidden=True)
    return join((tag("ol", items, class_="cards"), empty))


def _legend(facts: Facts) -> Markup | None:
    if facts.report is None or not facts.report.fusions:
        return None
    text = (
        "Each grid is a kernel. On the left the branches, each on the cells its weights land on; "
        "on the right the one kernel they became, every cell in the colours of its branches."
    )
    return tag("p", text, class_="legend")


def _search(facts: Facts) -> Markup:
    fusions = facts.report.fusions if facts.report else ()
    kinds = Counter(f"{o.node.op} {numbers.extent(o.taps)}" for f in fusions for o in f.operators)
    options = [tag("option", "All kinds", value="")]
    options += [tag("option", f"{kind} ({n})", value=kind) for kind, n in kinds.most_common(20)]
    box = tag(
        "input",
        type="search",
        id="search",
        placeholder="Search",
        aria_label="Search",
    )
    pick = tag("select", *options, id="kind", aria_label="Kind") if len(kinds) > 1 else None
    status = tag("output", id="found", class_="dim", aria_live="polite")
    return tag("form", box, pick, status, class_="search", role="search", hidden=True)


def _keys() -> Markup:
    """What the keyboard does, beside what it does it to."""
    keys = (
        ("/", "search"),
        ("j k", "cards"),
        ("Enter", "show"),
        ("t", "colours"),
    )
    hints = join(tag("span", tag("kbd", key), " ", what) for key, what in keys)
    return tag("p", hints, class_="keys", hidden=True)


def _report(report: Report | None) -> Markup | None:
    """The report as JSON, readable as it stands; a long one is packed like the graphs."""
    if report is None:
        return None
    data = embedded_json(report.to_dict())
    if len(data) > REPORT_PACKED_OVER:
        return packed("report", data.encode())
    return tag("script", data, id="report", type="application/json")
