"""The top of the page: the verdict, the totals, and the operators before and after."""

from __future__ import annotations

from onnxac.render import numbers

from .facts import Facts, Total
from .html import Markup, join, name, tag

OPERATORS_SHOWN = 8

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
    return join((title, tag("p", verdict.detail, class_="how"), _method(facts)))


def _method(facts: Facts) -> Markup | None:
    if facts.report is not None:
        return None
    m = facts.matching
    pairs = numbers.plural(len(m.unchanged) + len(m.changed), "pair")
    text = f"No report of a run was given: nodes were matched by {m.method} ({pairs})."
    return tag("p", text, class_="how")


def _totals(totals: tuple[Total, ...]) -> Markup:
    return tag("dl", *map(_total, totals), class_="totals")


def _total(total: Total) -> Markup:
    largest = max(total.before, total.after) or 1
    bar = tag(
        "span",
        class_="bar",
        aria_hidden="true",
        style=f"--b:{total.before / largest:.1%};--a:{total.after / largest:.1%}",
    )
    was = tag("span", tag("span", "was ", class_="sr"), total.before_text, class_="was")
    value = tag("dd", tag("b", total.after_text), " ", was, " ", _delta(total.before, total.after))
    return tag("div", tag("dt", total.label), value, bar)


def _delta(before: float, after: float) -> Markup:
    trend = "same" if before == after else "less" if after < before else "more"
    return tag("span", numbers.percent(before, after), class_=f"delta {trend}")


def _operators(facts: Facts) -> Markup:
    rows = facts.operators
    shown, hidden = rows[:OPERATORS_SHOWN], rows[OPERATORS_SHOWN:]
    largest = max((max(b, a) for _, b, a in rows), default=1) or 1
    parts = [tag("table", _table_head(), tag("tbody", *(_row(*r, largest) for r in shown)))]
    if hidden:
        body = tag("table", _table_head(), tag("tbody", *(_row(*r, largest) for r in hidden)))
        what = numbers.plural(len(hidden), "further operator type")
        parts.append(tag("details", tag("summary", what), body))
    title = tag("h2", "Operators")
    return tag("div", title, *parts, class_="operators")


def _table_head() -> Markup:
    names = ("Operator", "Before", "After", "Change")
    return tag("thead", tag("tr", *(tag("th", n, scope="col") for n in names)))


def _row(operator: str, before: int, after: int, largest: int) -> Markup:
    trend = "same" if before == after else "less" if after < before else "more"
    bar = tag(
        "span",
        class_="bar",
        aria_hidden="true",
        style=f"--b:{before / largest:.1%};--a:{after / largest:.1%}",
    )
    return tag(
        "tr",
        tag("th", name(operator, 30), bar, scope="row"),
        tag("td", numbers.count(before)),
        tag("td", numbers.count(after)),
        tag("td", numbers.difference(before, after), class_=f"delta {trend}"),
    )
