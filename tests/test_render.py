"""The forms of a report: what they say, and that no name from a model breaks them."""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cli_harness import ACNET, MODELS, NETWORK, ROOT
from rich.console import Console, RenderableType

from onnxac import Options, optimize
from onnxac.equalizing import stops
from onnxac.gate import UNREADABLE, Finding, Problem
from onnxac.pipeline import inspect
from onnxac.render import gate, merged, words
from onnxac.render.document import read_report, to_json
from onnxac.render.explanation import explanation, node_explanation
from onnxac.render.kernels import pictures
from onnxac.render.latency import comparison, latency
from onnxac.render.markdown import to_markdown
from onnxac.render.proof import proof
from onnxac.render.refused import LINES_SHOWN, refused
from onnxac.render.rules import RULES
from onnxac.render.safe import LONGEST, cut, labels, one_line
from onnxac.render.terminal import told
from onnxac.render.totals import table
from onnxac.render.verdict import verdict
from onnxac.report import (
    SLOWER,
    Branch,
    FusedOperator,
    Fusion,
    GraphStats,
    Latency,
    ModelInfo,
    NodeRef,
    OutputDifference,
    Refusal,
    Report,
    Verification,
    schema,
)
from onnxac.report.refusals import grouped

HOSTILE = "/a|b`c`<b>&[red]\x1b[31m\r\n| x |\u202e::%0A\x07"


def shown(parts: Iterable[RenderableType], width: int = 140) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, highlight=False, markup=False)
    console.print(*parts, sep="\n")
    return out.getvalue()


def branch(
    taps: tuple[int, ...], *ops: str, origin: tuple[int, ...] = (), name: str = "n"
) -> Branch:
    nodes = tuple(NodeRef(name, op) for op in ops)
    return Branch(nodes, taps, (1,) * len(taps), origin or (0,) * len(taps), 1)


def operator(*branches: Branch, taps: tuple[int, ...] = (3, 3), name: str = "y") -> FusedOperator:
    ones = (1,) * len(taps)
    return FusedOperator(
        NodeRef(name, "Conv"), name, 4, 8, taps, ones, ones, (1,) * (2 * len(taps)), 1, branches
    )


def fusion(*operators: FusedOperator, name: str = "y") -> Fusion:
    removed = tuple(NodeRef(f"{name}{i}", "Conv") for i in range(3))
    return Fusion(name, removed, tuple(o.node for o in operators), operators, 3_000_000, 1_000_000)


THREE = operator(
    branch((3, 3), "Conv", "BatchNormalization", "Add"),
    branch((3, 1), "Conv", "Add", origin=(0, 1)),
    branch((1, 3), "Conv", "Add", origin=(1, 0)),
)


def report(*fusions: Fusion, refusals: tuple[Refusal, ...] = (), name: str = "m.onnx") -> Report:
    before = GraphStats(30, {"Conv": 3, "Add": 2}, 1000, 5000, 3_000_000)
    after = GraphStats(1, {"Conv": 1}, 100, 500, 1_000_000)
    infos = [ModelInfo(name, "0" * 64, 8, 17, "test", s) for s in (before, after)]
    return Report(infos[0], infos[1], fusions, refusals, 0, verification(2e-7), {"onnxac": "0"})


def verification(relative: float, outputs: int = 1) -> Verification:
    difference = OutputDifference("y", relative * 2, 2.0, relative, 2.0**-20)
    return Verification((difference,) * outputs, 5, ({"x": (1, 2)},), "onnxruntime 1")


# Words.


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (branch((3, 1), "Slice", "Conv", "BatchNormalization", "Add"), "3×1"),
        (branch((1, 1), "BatchNormalization", "Add"), "BN"),
        (branch((1, 1), "Add"), "identity"),
        (branch((2, 2), "AveragePool", "Add"), "2×2 mean"),
        (branch((), "MatMul"), "1"),
    ],
)
def test_a_branch_in_a_word(given: Branch, told: str) -> None:
    assert words.branch(given) == told


def test_branches_are_a_sum() -> None:
    both = branch((1, 1), "Conv"), branch((1, 1), "Conv")
    assert words.branches(operator(branch((3, 3), "Conv"), *both)) == "3×3 + 2 · 1×1"
    assert words.branches(operator(branch((3, 3), "Conv", "BatchNormalization"))) == "Conv·BN"


def test_what_is_usual_is_not_told() -> None:
    assert words.kernel(THREE) == "Conv 3×3"
    odd = replace(THREE, stride=(2, 2), dilation=(1, 2), pads=(1, 0, 1, 0))
    assert words.kernel(odd) == "Conv 3×3, stride 2, dilation 1×2"
    assert (words.pads(THREE), words.pads(odd)) == ("1", "1,0,1,0")


@pytest.mark.parametrize(
    ("ms", "text"), [(0.0421, "42.1 µs"), (3.071, "3.07 ms"), (1250.4, "1,250 ms")]
)
def test_milliseconds(ms: float, text: str) -> None:
    assert words.milliseconds(ms) == text


def test_a_long_name_is_cut_in_the_middle() -> None:
    assert cut("a/name", 10) == "a/name"
    assert cut("/stages.0/stages.0.1/conv/Conv", 24) == "/stages.0…/conv/Conv"
    assert one_line("a" * 50 + "z", 10) == "aaa…aaaaaz"
    assert len(one_line("x" * 1_000_000)) == LONGEST


def test_one_line_is_one_line() -> None:
    clean = one_line(HOSTILE)
    assert clean.isprintable()
    assert "/a|b`c`<b>&[red]" in clean


# The terminal.


def test_pictures_are_of_the_commonest_kernels() -> None:
    single = fusion(operator(branch((3, 3), "Conv")))
    line = operator(branch((3,), "Conv"), branch((1,), "Conv", origin=(1,)), taps=(3,))
    drawn = [shown([p]).rstrip() for p in pictures([fusion(THREE)] * 2 + [single, fusion(line)])]
    assert drawn == [
        "  ■ ■ ■    · ■ ·    · · ·    ■ ■ ■\n"
        "  ■ ■ ■  + · ■ ·  + ■ ■ ■  = ■ ■ ■   2 times\n"
        "  ■ ■ ■    · ■ ·    · · ·    ■ ■ ■",
        "  ■ ■ ■  + · ■ ·  = ■ ■ ■",
    ]


def test_a_picture_shows_holes_of_a_dilated_branch() -> None:
    dilated = replace(branch((2, 2), "Conv"), dilation=(2, 2))
    (picture,) = pictures([fusion(operator(dilated, branch((1, 1), "Conv", origin=(1, 1))))])
    assert shown([picture]).splitlines()[0].split("  ")[1] == "■ · ■"


def test_long_lists_are_cut_until_details_are_asked_for() -> None:
    many = report(*[fusion(replace(THREE, node=NodeRef(f"k{i}", "Conv"))) for i in range(50)])
    assert shown(told(many, "a", "b", False)).count("  3 → 1  ") == merged.FUSIONS_SHOWN
    assert "and 30 more; -v shows them" in shown(told(many, "a", "b", False))
    assert shown(told(many, "a", "b", True)).count("  3 → 1  ") == 50


def test_many_operator_types_are_cut() -> None:
    after = report().after.stats
    ops = {f"Op{i:02}": 50 - i for i in range(20)} | {"Conv": 3}
    text = shown([table(replace(after, ops=ops), after, None, details=False)])
    assert re.search(r"Nodes .*\n  Conv +3 +1 +−2 *\n  Op00 ", text)
    assert re.search(r"11 further types +396 +0 +−396", text)
    assert "further" not in shown([table(replace(after, ops=ops), after, None, details=True)])


def test_reasons_are_grouped_without_the_name() -> None:
    refusals = tuple(
        Refusal(NodeRef(n, "Conv"), "border", f"padding reads past {n}") for n in ("p", "q")
    )
    (group,) = grouped(refusals)
    assert (group.reason, [n.name for n in group.nodes]) == (
        "padding reads past this node",
        ["p", "q"],
    )
    assert grouped(refusals[:1])[0].reason == "padding reads past p"


def left_alone(details: bool, *refusals: Refusal) -> list[str]:
    return shown(refused(refusals, details)).splitlines()[2:]


def test_many_reasons_are_cut() -> None:
    many = [Refusal(NodeRef(f"n{i}", "Conv"), "r", f"reason {i}") for i in range(20)]
    lines = left_alone(False, *many)
    assert len(lines) == LINES_SHOWN + 1
    assert lines[-1] == "  and 15 more reasons; -v shows them"
    assert sum("reason " in line for line in left_alone(True, *many)) == 20


def test_reasons_stand_by_rule_and_what_is_no_news_waits() -> None:
    def refusal(name: str, rule: str, reason: str) -> Refusal:
        return Refusal(NodeRef(name, "Conv"), rule, reason)

    given = (
        refusal("a", "cost", "merging takes 9 multiply-adds instead of 3"),
        refusal("b", "border", "padding reads past b"),
        refusal("c", "training", "it is in training mode"),
        refusal("d", "border", "it ends early"),
    )
    assert left_alone(False, *given) == [
        "  training  it is in training mode",
        "            at c",
        "  border    padding reads past b",
        "            at b",
        "            it ends early",
        "            at d",
        "  1 more candidate that would not pay; -v shows them",
    ]
    assert "  cost      merging takes" in "\n".join(left_alone(True, *given))
    assert left_alone(False, given[0]) == ["  1 candidate that would not pay; -v shows them"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (verification(3.4e-7), "equal within 3.4e-7 on the output (tolerance 9.5e-7), 5 runs"),
        (verification(0, 2), "equal to the bit on every output, 5 runs"),
        (verification(1e-3, 2), "different by 1e-3 on every output (tolerance 9.5e-7), 5 runs"),
        (replace(verification(0), outputs=()), "nothing could be compared"),
        (None, "not verified"),
    ],
)
def test_the_verdict(given: Verification | None, told: str) -> None:
    assert verdict(given).sentence == told


def test_what_was_not_compared_is_always_told() -> None:
    skipped = replace(verification(0), skipped=("size 7 is rejected by the original",))
    assert "size 7" in shown(proof(skipped, details=False))


def test_of_many_tensors_that_were_not_compared_the_rest_is_counted() -> None:
    many = replace(verification(0), skipped=tuple(f"'t{i}' is left out" for i in range(50)))
    brief = shown(proof(many, details=False))
    assert brief.count("is left out") == 4
    assert "and 46 more notes; -v shows them" in brief
    assert shown(proof(many, details=True)).count("is left out") == 50


@pytest.mark.parametrize(
    ("after", "spread", "said"),
    [(5.0, 0.1, "2.00× as fast."), (20.0, 0.1, "2.00× as slow."), (9.9, 1.0, "No difference")],
)
def test_latency_is_judged_by_its_spread(after: float, spread: float, said: str) -> None:
    found = Latency(10.0, after, spread, spread, 10.0 / after, 50, 0, "CPU")
    assert comparison(found).startswith(said)
    assert "threads as it likes" in shown(latency(found, "a", "b"))


def test_each_rule_has_an_advice() -> None:
    """Rules are named where obstacles are made; nobody should meet one without help."""
    used = set()
    for path in (ROOT / "onnxac").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Obstacle":
                rule = node.args[0]
                assert isinstance(rule, ast.Constant), f"{path}:{node.lineno}"
                used.add(rule.value)
    assert used | {stops.RULE, SLOWER} == RULES.keys()


# Machine formats.


@pytest.fixture(scope="module")
def real() -> Report:
    found: Report = optimize(NETWORK, Options(latency=True, command="onnxac"))[1]
    return found


def test_the_schema_is_that_of_the_dataclasses() -> None:
    held = files("onnxac.report").joinpath("report.schema.json").read_text(encoding="utf-8")
    assert json.loads(held) == schema.report_schema(), "run `make schema`"


def test_real_reports_fit_their_schema(real: Report, tmp_path: Path) -> None:
    validator = jsonschema.Draft202012Validator(schema.report_schema())
    validator.check_schema(schema.report_schema())
    names = ("acb_p1/Ldhw", "concat_mixed/D", "linear_bn/L", "acb_1d/B")
    for found in (real, *(inspect(MODELS / "onnx" / f"{n}.onnx") for n in names)):
        path = tmp_path / "report.json"
        path.write_text(to_json(found), encoding="utf-8")
        validator.validate(json.loads(path.read_text(encoding="utf-8")))
        assert read_report(path) == found


def test_the_schema_rejects_other_things(real: Report) -> None:
    validator = jsonschema.Draft202012Validator(schema.report_schema())
    changes: list[dict[str, Any]] = [
        {"schema": 2},
        {"extra": 1},
        {"folded": "3"},
        {"fusions": [{}]},
    ]
    for change in changes:
        assert not validator.is_valid(real.to_dict() | change)


def test_markdown(real: Report) -> None:
    text = to_markdown(real)
    assert text.startswith("### onnxac: `D.onnx`, 23 nodes → 11\n")
    assert "✅ equal within" in text
    assert "| **Nodes** | 23 | 11 | −52 % |" in text
    assert "as fast |" in text
    refused = replace(real, refusals=(Refusal(NodeRef("n", "Conv"), "cost", "a | b"),))
    text = to_markdown(refused)
    assert text.count("<details>") == text.count("</details>") == 2
    rows = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    cells = {row.count("|") for row in rows}
    assert cells == {5, 8, 4}


def test_markdown_has_a_limit(real: Report) -> None:
    short = to_markdown(real, limit=1000)
    assert len(short.encode()) < 1000
    assert "too long for this place" in short


# Names that would break out.


def test_labels_tell_names_apart() -> None:
    """As in ghostnetv3: what differs is neither at the beginning nor at the end."""
    names = [
        f"/blocks/blocks.{i}/blocks.{i}.0/ghost{g}/primary/branches.0/Conv_fused"
        for i in range(12)
        for g in (1, 2)
    ]
    for limit in (20, 40, 60, 100):
        assert len(set(labels(names, limit).values())) == len(names)
    assert labels(names[:2], 30)[names[0]] == "…/ghost1/…ches.0/Conv_fused"
    assert labels(["a", "a", "b"], 30) == {"a": "a", "b": "b"}


def test_labels_of_what_nobody_reads_are_numbered() -> None:
    names = ["x" * 5000 + str(i) + "y" * 5000 for i in range(3)]
    found = labels(names, 40)
    assert [label[-4:] for label in found.values()] == [" (1)", " (2)", " (3)"]
    assert max(map(len, found.values())) < 50


@pytest.fixture
def hostile() -> Report:
    bad = branch((3, 3), "Conv", "Add", name=HOSTILE)
    refusal = Refusal(NodeRef(HOSTILE, HOSTILE), "border", f"padding reads past {HOSTILE}")
    one = fusion(operator(bad, bad, name=HOSTILE), name=HOSTILE)
    return replace(report(one, refusals=(refusal,), name=HOSTILE), folded=1)


def test_terminals_obey_no_name(hostile: Report) -> None:
    text = shown(told(hostile, HOSTILE, HOSTILE, True)) + shown(explanation(hostile, True))
    text += shown(node_explanation(hostile, NodeRef(HOSTILE, HOSTILE)))
    assert all(line.isprintable() for line in text.splitlines())
    assert "[red]" in text


def test_markdown_obeys_no_name(hostile: Report) -> None:
    text = to_markdown(hostile)
    assert "\r" not in text
    assert "\x1b" not in text
    # In code nothing is obeyed, and nothing in it ends it.
    assert "<b>" not in re.sub(r"`[^`]*`", "", text)
    for line in text.splitlines():
        # Whatever a name holds, rows keep their cells: ends that are not escaped.
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") in (4, 5, 8), line


def test_pipelines_obey_no_name(hostile: Report) -> None:
    finding = Finding(HOSTILE, None, (Problem(UNREADABLE, HOSTILE),))
    assert gate.to_github([finding]).count("\n") == 1
    properties = gate.to_github([finding]).removeprefix("::error ").split("::")[0]
    assert properties.count(",") == 1
    assert "%250A" in properties
    assert gate.to_text([finding]).splitlines()[0].isprintable()
    for written in (gate.to_gitlab, gate.to_json):
        json.loads(written([finding]))


def test_a_node_without_a_name_has_one() -> None:
    assert words.node_name(NodeRef("", "Conv")) == "(Conv)"
    assert ACNET.exists()


def test_a_branch_is_drawn_on_its_own_cells_whatever_was_merged_first() -> None:
    """Marks of a sum that is put into a copy keep the taps of each branch."""
    report = optimize(ROOT / "models" / "onnx" / "acb_p1" / "L.onnx", Options(verify=False))[1]
    (operator,) = report.fusions[0].operators
    assert sorted(b.taps for b in operator.branches) == [(1, 3), (3, 1), (3, 3)]
