"""Dilations that TensorFlow writes as SpaceToBatch, a convolution, and BatchToSpace.

All weights and inputs are small integers, so results are equal to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fusing import assert_final
from onnx import ModelProto, TensorProto, helper, numpy_helper
from test_symbolic_shapes import node, run

from onnxac.pipeline import Options, optimize
from onnxac.report import EQUAL, HOLDS

SWAP = [1, 0, 2, 3]


def phased(
    block: int = 2,
    perm: Sequence[int] = SWAP,
    *,
    mode: str = "DCR",
    group: int = 1,
    shape: Sequence[int | str] = ("N", 4, 12, 18),
    **conv: Any,
) -> ModelProto:
    """Two branches over x: a 1×1, and one whose blocks go to the batch."""
    rng = np.random.default_rng(3)
    held = {
        "w": rng.integers(-4, 5, (6, 4 // group, 3, 3)),
        "b": rng.integers(-4, 5, 6),
        "p": rng.integers(-4, 5, (6, 4, 1, 1)),
    }
    nodes = [
        node("Transpose", ["x"], "t", perm=SWAP),
        node("SpaceToDepth", ["t"], "s", blocksize=block),
        node("Transpose", ["s"], "u", perm=perm),
        node("Conv", ["u", "w", "b"], "c", group=group, **conv),
        node("Transpose", ["c"], "v", perm=perm),
        node("DepthToSpace", ["v"], "d", blocksize=block, mode=mode),
        node("Transpose", ["d"], "e", perm=SWAP),
        node("Conv", ["x", "p"], "q", strides=[1, 1]),
        node("Add", ["e", "q"], "f"),
        node("Relu", ["f"], "y"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v.astype(np.float32), n) for n, v in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def operators(before: ModelProto, *shapes: Sequence[int]) -> list[str]:
    after, report = optimize(before)
    assert report.verification is not None
    assert report.verification.verdict == EQUAL
    assert all(f.certificate and f.certificate.verdict == HOLDS for f in report.fusions)
    assert_final(after)
    for shape in shapes:
        x = np.random.default_rng(1).integers(-9, 10, shape).astype(np.float32)
        assert np.array_equal(run(after, x), run(before, x))
    return [n.op_type for n in after.graph.node]


@pytest.mark.parametrize("block", [2, 3])
@pytest.mark.parametrize(
    "conv",
    [{"pads": [1, 1, 1, 1]}, {"pads": [2, 2, 2, 2], "dilations": [2, 2]}],
    ids=["a window", "dilated itself"],
)
def test_a_convolution_of_phases_is_a_dilated_one(block: int, conv: dict[str, Any]) -> None:
    before = phased(block, **conv)
    assert operators(before, (1, 4, 12, 18), (3, 4, 12, 18)) == ["Conv", "Relu"]


@pytest.mark.parametrize("shape", [("N", 4, 6, 8), ("N", 4, "H", "W")], ids=["fixed", "open"])
def test_groups(shape: Sequence[int | str]) -> None:
    """A dense 1×1 would make the grouped kernel dense."""
    before = phased(group=2, pads=[1, 1, 1, 1], shape=shape)
    assert sorted(operators(before, (2, 4, 6, 8))) == ["Add", "Conv", "Conv", "Relu"]


@pytest.mark.parametrize(
    ("changed", "shapes"),
    [({"mode": "CRD"}, [(1, 4, 12, 18)]), ({"perm": [0, 1, 2, 3]}, [])],
    ids=["blocks come back in another order", "blocks stay among the channels"],
)
def test_other_orders_stay(changed: dict[str, Any], shapes: list[tuple[int, ...]]) -> None:
    before = phased(pads=[1, 1, 1, 1], **changed)
    after, _ = optimize(before, Options(verify=False))
    assert "DepthToSpace" in [n.op_type for n in after.graph.node]
    for shape in shapes:
        x = np.random.default_rng(1).integers(-9, 10, shape).astype(np.float32)
        assert np.array_equal(run(after, x), run(before, x))


def test_phases_that_are_strided_stay() -> None:
    """Every second output of each phase makes no map of evenly spaced outputs."""
    before = phased(pads=[1, 1, 1, 1], strides=[3, 3])
    before.graph.node[7].attribute[0].ints[:] = [3, 3]
    after, _ = optimize(before, Options(verify=False))
    assert "DepthToSpace" in [n.op_type for n in after.graph.node]
    x = np.random.default_rng(1).integers(-9, 10, (1, 4, 12, 18)).astype(np.float32)
    assert np.array_equal(run(after, x), run(before, x))
