"""The same content as the page, as text for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from onnx import ModelProto

from onnxac.render import numbers
from onnxac.report import FusedOperator, Fusion, ModelInfo, Report, Verification
from onnxac.report.refusals import Group

from .cards import error_text, fusion_title
from .drawing import branch_title, own_branches
from .facts import Facts, Known, gather
from .html import clean, shorten
from .pairing import Counterpart

FUSIONS_SHOWN = 100
NAMES_SHOWN = 4

# Characters that turn the direction of text around, and the line breaks that `clean` keeps.
_TURNING = dict.fromkeys(
    (9, 10, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),
    "\ufffd",
)


def render_text(
    before: ModelProto,
    after: ModelProto,
    report: Report | None = None,
    *,
    command: str | None = None,
    verification: Verification | None = None,
    before_info: ModelInfo | None = None,
    after_info: ModelInfo | None = None,
) -> str:
    """The diff of two models as lines of text, without control characters but line feeds."""
    facts = gather(before, after, Known(report, verification, command, before_info, after_info))
    return draw_text(before, after, facts)


def draw_text(before: ModelProto, after: ModelProto, facts: Facts) -> str:
    """`render_text` of what has been gathered before."""
    blocks = (
        _summary(facts),
        _operators(facts),
        _fusions(facts.report.fusions) if facts.report else _regions(facts, before, after),
        _left_alone(facts.refused),
        _proof(facts.verification),
        _files(facts),
    )
    return "\n\n".join("\n".join(lines) for block in blocks if (lines := list(block))) + "\n"


def line(text: str, limit: int = 70) -> str:
    """A name from a model on one line, with nothing in it that a terminal obeys."""
    return clean(shorten(text, limit)).translate(_TURNING) or "(unnamed)"


def _table(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Columns in line: the first to the left, the others to the right."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *others in cells:
        rest = (c.rjust(w) for c, w in zip(others, widths[1:], strict=True))
        yield f"  {first.ljust(widths[0])}  {'  '.join(rest)}".rstrip()


def _summary(facts: Facts) -> Iterator[str]:
    yield f"{facts.headline} {facts.verdict.headline}"
    yield facts.verdict.detail
    if facts.report is None:
        yield f"Nodes were matched by {facts.matching.method}."
    yield ""
    yield from _table((t.label, t.before_text, "→", t.after_text, t.delta) for t in facts.totals)


def _operators(facts: Facts) -> Iterator[str]:
    changed = [row for row in facts.operators if row[1] != row[2]]
    if changed:
        yield "Operators"
        yield from _table(
            (line(op, 40), numbers.count(b), "→", numbers.count(a), numbers.difference(b, a))
            for op, b, a in changed
        )


def _fusions(fusions: tuple[Fusion, ...]) -> Iterator[str]:
    yield f"Merged {numbers.count(len(fusions))}"
    for fusion in fusions[:FUSIONS_SHOWN]:
        nodes = numbers.plural(len(fusion.removed), "node")
        yield f"  {line(fusion_title(fusion))}  ({nodes} → {len(fusion.added)})"
        for operator in fusion.operators:
            yield f"    {_operator(operator)}"
    if len(fusions) > FUSIONS_SHOWN:
        yield f"  and {numbers.count(len(fusions) - FUSIONS_SHOWN)} more"


def _operator(o: FusedOperator) -> str:
    branches = Counter(line(branch_title(b), 60) for b in own_branches(o))
    merged = " + ".join(f"{n}× ({b})" if n > 1 else f"({b})" for b, n in branches.items())
    pads = " ".join(map(str, o.pads)) or "0"
    kernel = f"{line(o.node.op, 30)} {numbers.extent(o.taps)}"
    shape = f"{o.in_channels} → {o.out_channels} channels, pads {pads}"
    stride = "" if set(o.stride) <= {1} else f", stride {numbers.extent(o.stride)}"
    groups = "" if o.group == 1 else f", {o.group} groups"
    return f"{merged} = {kernel}, {shape}{stride}{groups}"


def _regions(facts: Facts, before: ModelProto, after: ModelProto) -> Iterator[str]:
    groups = facts.matching.counterparts
    yield f"Changed {numbers.count(len(groups))}"
    for group in groups[:FUSIONS_SHOWN]:
        yield f"  {_region(group, before, after)}"
    if len(groups) > FUSIONS_SHOWN:
        yield f"  and {numbers.count(len(groups) - FUSIONS_SHOWN)} more"


def _region(group: Counterpart, before: ModelProto, after: ModelProto) -> str:
    sides = []
    for model, indices in ((before, group.before), (after, group.after)):
        kinds = Counter(model.graph.node[i].op_type for i in indices).most_common(6)
        sides.append(", ".join(f"{n} {line(op, 30)}" for op, n in kinds) or "nothing")
    model, last = (after, group.after[-1]) if group.after else (before, group.before[-1])
    node = model.graph.node[last]
    return f"{line(node.name or next(iter(node.output), ''))}: {sides[0]} → {sides[1]}"


def _left_alone(groups: tuple[Group, ...]) -> Iterator[str]:
    if groups:
        yield f"Left alone {numbers.count(sum(len(g.nodes) for g in groups))}"
    for group in groups[:FUSIONS_SHOWN]:
        number = len(group.nodes)
        times = f"{number} × " if number > 1 else ""
        yield f"  {times}{line(group.reason, 300)} [{line(group.rule)}]"
        names = [line(r.name, 50) for r in group.nodes[:NAMES_SHOWN]]
        more = f", and {number - NAMES_SHOWN} more" if number > NAMES_SHOWN else ""
        yield f"    {', '.join(names)}{more}"


def _proof(check: Verification | None) -> Iterator[str]:
    if check is not None:
        yield f"Proof ({line(check.runtime)}; {numbers.plural(check.runs, 'run')})"
        yield from _table(
            ("✓ " * (o.relative <= o.tolerance) + line(o.name, 50), error_text(o))
            for o in check.outputs[:FUSIONS_SHOWN]
        )
        yield from (f"  {line(s, 300)}" for s in check.skipped)


def _files(facts: Facts) -> Iterator[str]:
    yield "Files"
    for side, info in (("before", facts.before), ("after", facts.after)):
        path = line(info.path or "in memory", 90)
        yield f"  {side:<7} {path}  sha256 {info.sha256[:16]}"
