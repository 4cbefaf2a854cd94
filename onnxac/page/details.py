"""The rest of the page: what was left alone, the proof output by output, and the files."""

from __future__ import annotations

from onnxac.render import numbers
from onnxac.render.verdict import difference, is_within
from onnxac.render.words import operator_type
from onnxac.report import ModelInfo, NodeRef, OutputDifference, Verification
from onnxac.report.refusals import Group

from .facts import Facts
from .html import Markup, join, name, tag

GROUPS_SHOWN = 80
REFUSALS_SHOWN = 60
OUTPUTS_SHOWN = 60
NOTES_SHOWN = 5


def left_alone(facts: Facts) -> Markup | None:
    """Candidates that were not merged, by the rule that kept them."""
    if facts.report is None:
        return None
    total = sum(len(g.nodes) for g in facts.refused)
    title = tag("h2", "Left alone ", tag("span", numbers.count(total), class_="n"), id="alone")
    if not total:
        return tag("section", title, tag("p", "Nothing that could have been merged.", class_="dim"))
    note = tag(
        "p", "Candidates that were looked at and kept as they are, with the reason.", class_="dim"
    )
    shown = facts.refused[:GROUPS_SHOWN]
    more = len(facts.refused) - len(shown)
    groups = [_rule(g, opened=total <= 12) for g in shown]
    if more:
        text = f"and {numbers.plural(more, 'further reason')}, in the embedded report"
        groups.append(tag("p", text, class_="dim"))
    return tag("section", title, note, *groups, class_="alone", aria_labelledby="alone")


def _rule(group: Group, *, opened: bool) -> Markup:
    shown = group.nodes[:REFUSALS_SHOWN]
    more = len(group.nodes) - len(shown)
    items = [_left(n) for n in shown]
    if more:
        items.append(tag("li", f"and {numbers.count(more)} more", class_="dim"))
    number = tag("span", numbers.count(len(group.nodes)), class_="n")
    rule = tag("code", group.rule)
    head = tag("summary", tag("bdi", group.reason[:600]), " ", rule, " ", number)
    return tag("details", head, tag("ul", *items), open=opened)


def _left(node: NodeRef) -> Markup:
    return tag("li", name(node.name), " ", tag("small", operator_type(node.op)), class_="refusal")


def proof(facts: Facts) -> Markup | None:
    """The comparison in ONNX Runtime, output by output."""
    check = facts.verification
    if check is None:
        return None
    names = ("Output", "Largest difference", "Largest value", "Relative", "Allowed")
    head = tag("thead", tag("tr", *(tag("th", n, scope="col") for n in names)))
    shown = check.outputs[:OUTPUTS_SHOWN]
    table = tag("table", head, tag("tbody", *map(_output, shown)))
    more = len(check.outputs) - len(shown)
    rest = tag("p", f"and {numbers.plural(more, 'further output')}", class_="dim") if more else None
    title = tag("h2", "Proof", id="proof")
    parts = (
        title,
        _runs(check),
        tag("div", table, class_="scroll", tabindex=0, role="region", aria_labelledby="proof"),
        rest,
    )
    return tag("section", *parts, class_="proof", aria_labelledby="proof")


def _output(output: OutputDifference) -> Markup:
    error, allowed = output.texts()
    values = (numbers.plain(output.max_abs), numbers.plain(output.scale), error, allowed)
    good = is_within(output)
    mark = tag(
        "span", "✓" if good else "✗", class_="equal" if good else "differs", aria_hidden="true"
    )
    word = tag("span", "within: " if good else "beyond: ", class_="sr")
    cells = (tag("td", v) for v in values)
    title = tag("th", mark, " ", word, name(output.name), scope="row", title=difference(output))
    return tag("tr", title, *cells)


def _runs(check: Verification) -> Markup:
    shapes = "; ".join(
        ", ".join(f"{key} {numbers.extent(shape)}" for key, shape in run.items())
        for run in check.shapes[:6]
    )
    text = f"{check.runtime}; {numbers.plural(check.runs, 'run')}"
    inputs = tag("bdi", shapes[:600]) if shapes else None
    line = tag("p", text, Markup(", input sizes ") if inputs else None, inputs, ".", class_="dim")
    notes = [tag("p", tag("bdi", s[:600]), class_="dim") for s in check.skipped]
    if len(notes) <= NOTES_SHOWN:
        return join((line, *notes))
    more = tag("summary", f"{len(notes) - NOTES_SHOWN + 1:,} more notes")
    return join((line, *notes[: NOTES_SHOWN - 1], tag("details", more, *notes[NOTES_SHOWN - 1 :])))


def provenance(facts: Facts) -> Markup:
    """Which files, which versions, which command."""
    rows = [
        *_model("Before", facts.before),
        *_model("After", facts.after),
        ("Matched by", Markup("the report of the run") if facts.report else facts.matching.method),
    ]
    if facts.report is not None:
        rows += [(tool, version) for tool, version in facts.report.tools.items()]
    made = facts.report.command if facts.report else None
    shown = facts.command if facts.command != made else None
    for title, command in (("Made by", made), ("Shown by", shown)):
        if command:
            rows.append((title, tag("code", tag("bdi", command[:4000]))))
    entries = (tag("div", tag("dt", key), tag("dd", value)) for key, value in rows)
    title = tag("h2", "Files and versions", id="files")
    return tag("section", title, tag("dl", *entries, class_="files"), aria_labelledby="files")


def _model(side: str, info: ModelInfo) -> list[tuple[str, Markup]]:
    about = f"opset {info.opset}, IR {info.ir_version}"
    producer = tag("bdi", f", {info.producer[:200]}") if info.producer else None
    path = name(info.path, 120) if info.path else tag("span", "in memory", class_="dim")
    return [
        (side, path),
        (f"{side}, SHA-256", tag("code", info.sha256, class_="hash")),
        (f"{side}, format", join((about, producer))),
    ]
