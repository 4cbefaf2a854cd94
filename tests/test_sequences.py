"""Sequences that are taken apart at once: PyTorch's split, chunk and unbind, not yet optimized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fusing import assert_final
from onnx import ModelProto, TensorProto, helper
from test_symbolic_shapes import merged, model, node, random

from onnxac.pipeline import Options, optimize
from onnxac.report import EQUAL, OPEN

HALVES = {"w": random(8, 4, 1, 1), "v": random(6, 4, 3, 3), "u": random(6, 4, 1, 1)}
NUMBERS = {"zero": np.int64(0), "one": np.int64(1), "last": np.int64(-1)}


def halves(split: Any, second: str = "one") -> ModelProto:
    """Half of a convolution's channels through two branches, and the other half through one."""
    nodes = [
        node("Conv", ["x", "w"], "c"),
        node("SplitToSequence", ["c", "split"], "s", axis=1),
        node("SequenceAt", ["s", "zero"], "a"),
        node("SequenceAt", ["s", second], "b"),
        node("Conv", ["a", "v"], "p", pads=[1, 1, 1, 1]),
        node("Conv", ["a", "u"], "q"),
        node("Conv", ["b", "u"], "r"),
        node("Sum", ["p", "q", "r"], "t"),
        node("Relu", ["t"], "y"),
    ]
    return model(nodes, {**HALVES, **NUMBERS, "split": split}, ["N", 4, "H", 7])


@pytest.mark.parametrize("second", ["one", "last"])
@pytest.mark.parametrize("split", [np.int64(4), [4, 4]], ids=["equal parts", "sizes"])
def test_what_a_sequence_hid_is_merged(split: Any, second: str) -> None:
    before = halves(split, second)
    assert merged(before, (2, 4, 5, 7)) == ["Conv", "Relu"]
    after, report = optimize(before)
    assert report.verification is not None
    assert report.verification.verdict == EQUAL
    # Certificates know of no sequences, and say so: the run of the whole models shows it.
    assert all(f.certificate and f.certificate.verdict == OPEN for f in report.fusions)
    assert_final(after)


KINDS: dict[str, tuple[list[str], dict[str, Any], dict[str, Any], Sequence[str], list[str]]] = {
    "parts of an open extent": (["x", "two"], {"axis": 0}, {"two": np.int64(2)}, "za", ["Slice"]),
    "an axis that goes": (["x"], {"axis": 1, "keepdims": 0}, {}, "zal", ["Gather"]),
    "parts of one": (["x"], {"axis": 1}, {}, "zal", ["Split"]),
    "the last is smaller": (["x", "two"], {"axis": 1}, {"two": np.int64(2)}, "zl", ["Split"]),
    "read twice": (["x", "two"], {"axis": 2}, {"two": np.int64(2)}, "zz", ["Split"]),
}


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("kind", KINDS)
def test_each_part_is_what_it_was(kind: str, opset: int) -> None:
    inputs, attributes, held, places, wanted = KINDS[kind]
    index = {"z": "zero", "a": "one", "l": "last"}
    nodes = [node("SplitToSequence", inputs, "s", **attributes)]
    for number, place in enumerate(places):
        nodes.append(node("SequenceAt", ["s", index[place]], f"p{number}"))
        nodes.append(node("Exp" if number else "Sin", [f"p{number}"], f"e{number}"))
        nodes.append(node("ReduceSum", [f"e{number}"], f"r{number}", keepdims=0))
    nodes.append(node("Sum", [f"r{n}" for n in range(len(places))], "y"))
    before = model(nodes, {**NUMBERS, **held}, ["N", 3, 4], opset=opset)
    found = merged(before, (4, 3, 4))
    assert not {"SplitToSequence", "SequenceAt"} & set(found)
    assert set(wanted) <= set(found)


def test_sequences_that_something_else_reads_stay() -> None:
    nodes = [
        node("SplitToSequence", ["x"], "s", axis=1),
        node("SequenceAt", ["s", "zero"], "a"),
        node("SequenceLength", ["s"], "n"),
        node("Cast", ["n"], "f", to=TensorProto.FLOAT),
        node("Mul", ["a", "f"], "y"),
    ]
    assert "SequenceAt" in merged(model(nodes, NUMBERS, ["N", 3]), (2, 3))


def test_a_place_that_is_an_input_stays() -> None:
    nodes = [
        node("SplitToSequence", ["x"], "s", axis=1),
        node("ArgMax", ["x"], "i", axis=1, keepdims=0),
        node("SequenceAt", ["s", "i"], "y"),
    ]
    before = model(nodes, {}, [1, 3])
    del before.graph.node[1].attribute[:]
    before.graph.node[1].attribute.append(helper.make_attribute("axis", 1))
    after, _ = optimize(before, Options(verify=False))
    assert "SequenceAt" in [n.op_type for n in after.graph.node]
