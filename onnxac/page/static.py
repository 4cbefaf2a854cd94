"""The part of the page that needs neither scripts nor graphs, for a notebook or a mail."""

from __future__ import annotations

from onnx import ModelProto

from onnxac.report import Report

from .cards import cards
from .details import left_alone, proof, provenance
from .facts import Facts, Known, gather
from .html import Markup, join, tag
from .page import STYLES, asset, heading, listed
from .summary import summary

POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"
HEIGHT = "36em"

Models = tuple[ModelProto, ModelProto]


def static_page(report: Report) -> str:
    """What a report alone says, as one HTML page without scripts."""
    return static_of(*_of(report))


def framed_report(report: Report) -> str:
    """`static_page` in a frame."""
    return framed(*_of(report))


def framed(facts: Facts, models: Models) -> str:
    """The page in a frame, so that its styles and those around it don't meet."""
    style = f"width:100%;height:{HEIGHT};border:0"
    return tag("iframe", sandbox="", srcdoc=static_of(facts, models), style=style, title="onnxac")


def static_of(facts: Facts, models: Models) -> str:
    """The page of two models, without scripts."""
    items, symbols = cards(facts.matching, facts.report, models, facts.verification)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{facts.headline} {facts.verdict.headline}"),
        *(tag("style", Markup(asset(style))) for style in STYLES),
    )
    changes = tag("section", tag("div", heading(facts), listed(facts, items), class_="rail"))
    parts = (summary(facts), changes, left_alone(facts), proof(facts), provenance(facts))
    body = tag("body", tag("main", join(parts)), symbols)
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _of(report: Report) -> tuple[Facts, Models]:
    # A report says all that is shown here; the graphs themselves are not.
    models = ModelProto(), ModelProto()
    return gather(*models, Known(report)), models
