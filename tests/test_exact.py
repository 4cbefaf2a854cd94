"""The main property: whatever is fused, ONNX Runtime gives the same bits.

Random networks in exact arithmetic (`networks`, `exact`) are optimized and run on integers,
dynamic ones at several sizes. Outputs have to be equal to the bit; nothing is tolerated.
"""

from __future__ import annotations

import numpy as np
import onnx
from drawing import Drawn
from exact import attempted, feeds, is_empty_inside, operators, session
from hypothesis import assume, event, given, note
from networks import acnet_blocks, blocks, graphs, heads, matrices, moved, transposed
from onnx import ModelProto

from onnxac.pipeline import Options, optimize
from onnxac.report import Report


def optimized(drawn: Drawn) -> tuple[ModelProto, Report]:
    before = drawn.model.SerializeToString()
    result, report = optimize(drawn.model, Options(verify=False))
    assert drawn.model.SerializeToString() == before, "the input has been changed"
    return result, report


def assert_same_bits(drawn: Drawn, result: ModelProto) -> None:
    """Both give equal outputs wherever the original runs at all."""
    original, changed = session(drawn.model), session(result)
    ran = 0
    for seed, sizes in enumerate(drawn.sizes):
        values = feeds(drawn.model, seed, sizes)
        expected = attempted(original, values)
        if expected is None:
            continue
        found = attempted(changed, values)
        if found is None and is_empty_inside(drawn.model, values):
            # Moved in front of a convolution, a crop that left nothing behind it leaves too little.
            continue
        assert found is not None, f"does not run at {sizes}"
        ran += 1
        for value, want, have in zip(result.graph.output, expected, found, strict=True):
            assert np.array_equal(have, want), f"{value.name} differs at {sizes}"
    assume(ran)


def assert_no_worse(report: Report) -> None:
    """No more nodes, and no more multiply-adds than what was merged took, pools included."""
    assert report.after.stats.nodes <= report.before.stats.nodes
    for fusion in report.fusions:
        if fusion.macs_before is not None and fusion.macs_after is not None:
            assert fusion.macs_after <= fusion.macs_before


def check(drawn: Drawn) -> Report:
    note(str(drawn))
    result, report = optimized(drawn)
    note(f"after: {operators(result)}")
    onnx.checker.check_model(result)
    assert_same_bits(drawn, result)
    assert_no_worse(report)
    event(f"fusions: {len(report.fusions)}")
    return report


@given(acnet_blocks())
def test_an_acnet_block_becomes_one_convolution(drawn: Drawn) -> None:
    report = check(drawn)
    left = dict(report.after.stats.ops)
    left.pop("Relu", None)
    # One channel by itself, one tap: that is a scale and a shift.
    plain = [left.pop(op, 0) for op in ("Conv", "Mul", "BatchNormalization")]
    assert sum(plain) == 1, report.after.stats.ops
    assert left in ({}, {"Pad": 1}), report.after.stats.ops


@given(blocks())
def test_a_block_of_any_branches(drawn: Drawn) -> None:
    check(drawn)


@given(transposed())
def test_transposed_convolutions(drawn: Drawn) -> None:
    check(drawn)


@given(matrices())
def test_linear_layers(drawn: Drawn) -> None:
    check(drawn)


@given(heads())
def test_the_end_of_a_classifier(drawn: Drawn) -> None:
    check(drawn)


@given(moved())
def test_borders_and_extensions_in_other_words(drawn: Drawn) -> None:
    check(drawn)


@given(graphs())
def test_any_graph(drawn: Drawn) -> None:
    check(drawn)
