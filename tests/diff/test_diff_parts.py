"""Numbers, drawings, the terminal's text, and the mapping for Model Explorer."""

from __future__ import annotations

import dataclasses
import io
import re

import pytest
from diff_models import acnet, fusion, info, reported
from onnx import ModelProto
from rich.console import Console

from onnxac.page import Known, draw_text, gather, match, model_explorer_mapping
from onnxac.page.drawing import draw
from onnxac.render import numbers as n
from onnxac.render.columns import UNLIMITED
from onnxac.render.lattice import Lattice
from onnxac.render.words import steps
from onnxac.report import Branch, FusedOperator, NodeRef, Report


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (3.01e-7, "3.1e-7"), (3e-7, "3e-7"), (9.99e-7, "1e-6"), (0.02, "2e-2")],
)
def test_an_error_is_rounded_up(value: float, text: str) -> None:
    assert n.magnitude(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (18_742_336, "18.7 MB"),
        (2 * 10**12, "2.00 TB"),
    ],
)
def test_sizes(value: int, text: str) -> None:
    assert n.size(value) == text


def test_changes() -> None:
    assert n.percent(200, 50) == "−75 %"
    assert n.percent(2533, 11) == "−99.5 %"
    assert n.percent(11, 0) == "−100 %"
    assert n.percent(3, 3) == "±0"
    assert n.percent(0, 3) == "new"
    assert n.difference(1200, 0) == "−1,200"
    assert n.plural(2, "branch") == "2 branches"
    assert n.plural(1, "branch") == "1 branch"
    assert n.plural(2, "further output") == "2 further outputs"


def branch(taps: tuple[int, ...], origin: tuple[int, ...], dilation: tuple[int, ...]) -> Branch:
    return Branch((NodeRef("c", "Conv"),), taps, dilation, origin, 1)


@pytest.mark.parametrize(
    ("taps", "given", "cells"),
    [
        ((3, 3), branch((1, 3), (1, 0), (1, 1)), {(1, 0), (1, 1), (1, 2)}),
        ((5, 5), branch((2, 2), (0, 1), (4, 2)), {(0, 1), (0, 3), (4, 1), (4, 3)}),
        ((4,), branch((2,), (1,), (2,)), {(0, 1), (0, 3)}),
        # A third axis: slices side by side with a gap of one column.
        ((2, 2, 2), branch((2, 1, 1), (0, 1, 0), (1, 1, 1)), {(1, 0), (1, 3)}),
    ],
)
def test_taps_land_on_their_cells(
    taps: tuple[int, ...], given: Branch, cells: set[tuple[int, int]]
) -> None:
    lattice = Lattice.of(taps)
    assert lattice is not None
    assert lattice.cells(given) == cells


def operator(taps: tuple[int, ...], branches: tuple[Branch, ...]) -> FusedOperator:
    base = fusion(0).operators[0]
    return dataclasses.replace(base, taps=taps, branches=branches)


def test_a_large_kernel_stays_a_small_drawing() -> None:
    big = (branch((31, 31), (0, 0), (1, 1)), branch((5, 5), (13, 13), (1, 1)))
    drawing = draw(operator((31, 31), big))
    assert drawing is not None
    assert len(drawing.content) < 12_000


def test_many_branches_are_counted_not_drawn() -> None:
    drawing = draw(operator((3, 3), tuple(branch((3, 3), (0, 0), (1, 1)) for _ in range(40))))
    assert drawing is not None
    assert "and 28 more" in drawing.content


@pytest.mark.parametrize("taps", [(), (0, 3), (3, 3, 3, 3), (3, 2000)])
def test_what_can_not_be_drawn_is_left_to_words(taps: tuple[int, ...]) -> None:
    assert draw(operator(taps, fusion(0).operators[0].branches)) is None


def test_a_branch_of_hundreds_of_nodes_has_a_short_title() -> None:
    ops = ["Conv", "Shape", "Gather", "Pad", "ScatterND", "BatchNormalization"] * 100
    long = Branch(tuple(NodeRef("n", op) for op in ops), (3, 3), (1, 1), (0, 0), 1)
    assert steps(long, 19) == "Conv·BN·…"
    wordy = dataclasses.replace(long, nodes=(NodeRef("n", "A" * 300), NodeRef("n", "B" * 300)))
    assert len(steps(wordy, 19)) < 25
    assert steps(dataclasses.replace(long, nodes=())) == "identity"


def shown(before: ModelProto, after: ModelProto, known: Known) -> str:
    out = io.StringIO()
    console = Console(file=out, width=UNLIMITED, color_system=None, highlight=False, markup=False)
    console.print(*draw_text(before, after, gather(before, after, known)), sep="\n")
    return out.getvalue()


def told(before: ModelProto, after: ModelProto, report: Report) -> str:
    return shown(before, after, Known(report))


def test_the_terminal_gets_the_same_content() -> None:
    text = told(*reported())
    assert text.startswith("12 nodes → 4. Equal within 2.1e-7.\n")
    assert re.search(r"  5 → 1  b0/merged  3×3 \+ 1×3 \+ 3×1  Conv 3×3 +8 → 8 +1 +1\n", text)
    assert "not-linear  2 × Relu is not linear" in text
    assert "equal within 2.1e-7 on the output (tolerance 1e-5), 3 runs" in text


def test_the_terminal_obeys_no_name() -> None:
    text = told(*reported(1, lambda name: f"\x1b[2J\x9b31m\u202e{name}\r\n\x07"))
    assert not any(c < " " and c != "\n" for c in text)
    assert "\x9b" not in text
    assert "\u202e" not in text


def test_the_terminal_without_a_report() -> None:
    before, after = acnet()
    known = Known(before=info(before, "a.onnx"), after=info(after, "b.onnx"))
    text = shown(before, after, known)
    assert "Nodes were matched by names." in text
    assert "·  b0/merged  3 Conv, 2 Add → 1 Conv" in text
    assert "before a.onnx" in text


def test_the_mapping_for_model_explorer() -> None:
    before, after, report = reported(1)
    mapping = model_explorer_mapping(before, after, match(before, after, report))
    assert mapping == {
        "type": "sync_navigation",
        "mappingEntries": [
            {
                "leftNodeIds": ["b0/square", "b0/hor", "b0/ver", "b0/add0", "b0/add1"],
                "rightNodeIds": ["b0/merged"],
            },
            {"leftNodeIds": ["b0/relu"], "rightNodeIds": ["b0/relu"]},
        ],
        "disableMappingFallback": True,
        "showDiffHighlights": True,
    }


def test_the_mapping_leaves_out_names_that_say_nothing() -> None:
    before, after, report = reported(2, lambda name: "" if "relu" in name else "same")
    mapping = model_explorer_mapping(before, after, match(before, after, report))
    assert mapping["mappingEntries"] == []
