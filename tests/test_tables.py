"""Tables that are added one after the other, such as embeddings of positions and token types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto
from test_symbolic_shapes import merged, model, node, random

from onnxac.pipeline import Options, optimize

TABLES: Mapping[str, Any] = {
    "types": random(2, 16),
    "type": np.zeros((1, 24), np.int64),
    "positions": random(64, 16),
    "place": np.arange(24).reshape(1, 24),
}
ADDED = [
    node("Gather", ["types", "type"], "t"),
    node("Add", ["x", "t"], "a"),
    node("Gather", ["positions", "place"], "p"),
    node("Add", ["p", "a"], "b"),
]


def operators(nodes: Sequence[NodeProto], held: Mapping[str, Any]) -> list[str]:
    before = model(nodes, held, ["N", 24, 16])
    found = merged(before, (2, 24, 16))
    once, _ = optimize(before)
    again, report = optimize(once, Options(verify=False))
    assert not report.fusions
    assert [n.op_type for n in again.graph.node] == [n.op_type for n in once.graph.node]
    assert once.ByteSize() <= before.ByteSize()
    return found


def test_tables_are_added_beforehand() -> None:
    assert operators([*ADDED, node("Softmax", ["b"], "y")], TABLES) == ["Add", "Softmax"]


def test_what_is_read_in_between_stays() -> None:
    nodes = [*ADDED, node("Softmax", ["b"], "s"), node("Max", ["a", "s"], "y")]
    assert operators(nodes, TABLES).count("Add") == 2


def test_a_sum_that_would_make_the_file_larger_stays() -> None:
    """Both are rows that are repeated: together they differ everywhere."""
    held = {"r": random(24, 1), "c": random(1, 16), "to": [24, 16]}
    nodes = [
        node("Expand", ["r", "to"], "t"),
        node("Add", ["x", "t"], "a"),
        node("Expand", ["c", "to"], "p"),
        node("Add", ["a", "p"], "b"),
        node("Softmax", ["b"], "y"),
    ]
    assert operators(nodes, held).count("Add") == 2


def test_a_sum_that_overflows_stays() -> None:
    large = np.full((24, 16), 3e38)
    large[0] = 0
    nodes = [
        node("Add", ["x", "t"], "a"),
        node("Add", ["a", "p"], "b"),
        node("Softmax", ["b"], "y"),
    ]
    before = model(nodes, {"t": large, "p": large}, ["N", 24, 16])
    after, _ = optimize(before, Options(verify=False))
    assert [n.op_type for n in after.graph.node] == ["Add", "Add", "Softmax"]
