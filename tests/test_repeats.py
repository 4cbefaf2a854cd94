"""Nearest upsampling that is spelled with Expand or Concat between two Reshapes.

Weights and inputs are small integers, so results are equal to the bit, borders included.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from exact import INPUT, Array, feeds, operators, run
from fusing import rng
from onnx import ModelProto, NodeProto, helper
from onnx.numpy_helper import from_array

from onnxac.pipeline import Options, optimize
from onnxac.report import HOLDS

SPELLINGS = ("Expand", "Concat")


def repeated(
    spelling: str, high: int, wide: int, width: int, size: int
) -> tuple[list[NodeProto], dict[str, Array]]:
    """x → long, each row `high` times and each column `wide` times."""
    held = {
        "apart": np.array([1, width, size, 1, size, 1], np.int64),
        "joined": np.array([1, width, high * size, wide * size], np.int64),
    }
    first = helper.make_node("Reshape", ["x", "apart"], ["parts"])
    last = helper.make_node("Reshape", ["more", "joined"], ["long"])
    if spelling == "Concat":
        rows = helper.make_node("Concat", ["parts"] * high, ["rows"], axis=3)
        columns = helper.make_node("Concat", ["rows"] * wide, ["more"], axis=5)
        return [first, rows, columns, last], held
    held["often"] = np.array([1, width, size, high, size, wide], np.int64)
    return [first, helper.make_node(spelling, ["parts", "often"], ["more"]), last], held


def decoder(
    spelling: str, factors: tuple[int, int] = (2, 2), *, conv: bool = True, width: int = 64
) -> ModelProto:
    size = 12
    nodes, held = repeated(spelling, *factors, width, size)
    kernel = rng().integers(-INPUT, INPUT + 1, (width, width, 3, 3)).astype(np.float32)
    last = helper.make_node("Conv", ["long", "w"], ["y"], pads=[1, 1, 1, 1])
    graph = helper.make_graph(
        [*nodes, last if conv else helper.make_node("Relu", ["long"], ["y"])],
        "decoder",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, width, size, size])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", "c", "h", "w"])],
        [from_array(v, k) for k, v in held.items()] + ([from_array(kernel, "w")] if conv else []),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made


@pytest.mark.parametrize("factors", [(2, 2), (3, 2)])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_conv_behind_it_does_its_work(spelling: str, factors: tuple[int, int]) -> None:
    before = decoder(spelling, factors)
    after, report = optimize(before)
    assert len(after.graph.node) < len(before.graph.node)
    assert spelling not in operators(after)
    (fusion,) = report.fusions
    assert "upsample" in fusion.kinds
    assert fusion.certificate is not None
    assert fusion.certificate.verdict == HOLDS
    values = feeds(before, 1, {})
    assert np.array_equal(run(after, values)[0], run(before, values)[0])


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_alone_it_stays(spelling: str) -> None:
    before = decoder(spelling, conv=False)
    after, report = optimize(before)
    assert operators(after) == operators(before)
    assert not report.fusions


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_without_upsample(spelling: str) -> None:
    before = decoder(spelling)
    after, _ = optimize(before, Options(without=("upsample",), verify=False))
    assert operators(after) == operators(before)
