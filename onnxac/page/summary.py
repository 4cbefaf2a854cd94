"""The top of the page: the verdict, the totals, and the operators before and after."""

from __future__ import annotations

from onnxac.render import numbers
from onnxac.render.totals import Total

from .facts import Facts
from .html import Markup, join, name, tag

OPERATORS_SHOWN = 6

_ICONS = {
    "equal": "M4 12.5l5 5L20 6.5",
    "differs": "M6 6l12 12M18 6L6 18",
    "unknown": "M5 12h14",
}


def summary(facts: Facts) -> Markup:
    """What a reader takes away in ten seconds."""
    left = tag("div", _headline(facts), _totals(facts.totals), class_="lead")
    return tag("section", left, _operators(facts), class_="hero", aria_label="Summary")


def _headline(facts: Facts) -> Markup:
    verdict = facts.verdict
    icon = tag(
        "svg",
        tag("path", d=_ICONS[verdict.state]),
        viewBox="0 0 24 24",
        class_="icon",
        aria_hidden="true",
    )
    proof = tag("span", icon, tag("span", verdict.headline), class_=f"verdict {verdict.state}")
    title = tag("h1", tag("span", facts.headline, class_="count"), " ", proof)
    runtime = facts.verification.runtime if facts.verification else ""
    parts = [part for part in (verdict.how, runtime) if part]
    how = f"{'; '.join(parts)}." if parts else "The two models were not run against each other."
    return join((title, tag("p", f"{how[0].upper()}{how[1:]}", class_="how"), _method(facts)))


def _method(facts: Facts) -> Markup | None:
    if facts.report is not None:
        return None
    m = facts.matching
    pairs = numbers.plural(len(m.unchanged) + len(m.changed), "pair")
    text = f"No report of a run was given: nodes were matched by {m.method} ({pairs})."
    return tag("p", text, class_="how")


def _totals(totals: list[Total]) -> Markup:
    return tag("dl", *map(_total, totals), class_="totals")


def _total(total: Total) -> Markup:
    was = tag("span", tag("span", "was ", class_="sr"), total.before_text, class_="was")
    delta = tag("span", total.change, class_=f"delta {total.trend}")
    value = tag("dd", tag("b", total.after_text), " ", was, " ", delta)
    return tag("div", tag("dt", total.label), value, _bar(total, max(total.before, total.after)))


def _bar(total: Total, largest: float) -> Markup:
    shares = f"--b:{total.before / (largest or 1):.1%};--a:{total.after / (largest or 1):.1%}"
    return tag("span", class_="bar", aria_hidden="true", style=shares)


def _operators(facts: Facts) -> Markup:
    rows = facts.operators
    shown, hidden = rows[:OPERATORS_SHOWN], rows[OPERATORS_SHOWN:]
    largest = max((max(t.before, t.after) for t in rows), default=1)
    parts = [_table(shown, largest)]
    if hidden:
        what = numbers.plural(len(hidden), "further operator type")
        parts.append(tag("details", tag("summary", what), _table(hidden, largest)))
    return tag("div", tag("h2", "Operators"), *parts, class_="operators")


def _table(rows: list[Total], largest: float) -> Markup:
    names = ("Operator", "Before", "After", "Change")
    head = tag("thead", tag("tr", *(tag("th", n, scope="col") for n in names)))
    return tag("table", head, tag("tbody", *(_row(t, largest) for t in rows)))


def _row(total: Total, largest: float) -> Markup:
    return tag(
        "tr",
        tag("th", name(total.label, 30), _bar(total, largest), scope="row"),
        tag("td", total.before_text),
        tag("td", total.after_text),
        tag("td", total.change, class_=f"delta {total.trend}"),
    )
