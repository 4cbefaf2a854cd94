"""Chains of nodes that only give another shape are one node; equal new weights are stored once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from exact import INT64_MAX, run
from onnx import ModelProto, TensorProto, helper, numpy_helper
from test_noops import Step, chain, step

from onnxac.pipeline import Options, optimize

DYNAMIC = ("n", 3, 4, 5)


def joined(before: ModelProto, sizes: Sequence[int] = (2, 1)) -> list[str]:
    """Operators between Exp and Relu of the result, which computes the same to the bit."""
    after, _ = optimize(before, Options(verify=False))
    onnx.checker.check_model(after)
    for size in sizes:
        dims = before.graph.input[0].type.tensor_type.shape.dim
        shape = [d.dim_value or size for d in dims]
        values = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
        (have,), (want,) = run(after, values), run(before, values)
        assert have.shape == want.shape
        assert np.array_equal(have, want)
    return [n.op_type for n in after.graph.node][1:-1]


CHAINS: dict[str, tuple[list[Step], list[str]]] = {
    "two Reshapes": ([step("Reshape", [-1, 12, 5]), step("Reshape", [-1, 60])], ["Flatten"]),
    "copies": ([step("Reshape", [0, 12, 5]), step("Reshape", [0, 0, 5, 1])], ["Reshape"]),
    "Reshape, Unsqueeze": ([step("Reshape", [-1, 60]), step("Unsqueeze", [1, 3])], ["Reshape"]),
    "Flatten, Reshape": ([step("Flatten", axis=1), step("Reshape", [-1, 6, 10])], ["Reshape"]),
    "three": (
        [step("Reshape", [-1, 60, 1]), step("Unsqueeze", [1]), step("Reshape", [-1, 1, 1, 60])],
        ["Reshape"],
    ),
    "there and back": ([step("Reshape", [0, 60]), step("Reshape", [-1, 3, 4, 5])], []),
    "Transposes": (
        [step("Transpose", perm=[0, 2, 3, 1]), step("Transpose", perm=[0, 2, 1, 3])],
        ["Transpose"],
    ),
    "two extents open": (
        [step("Reshape", [0, 12, 5]), step("Reshape", [-1, 10, 3])],
        ["Reshape"],
    ),
    "Slice between": (
        [step("Reshape", [-1, 60]), step("Slice", [1], [INT64_MAX], [1]), step("Flatten")],
        ["Reshape", "Slice"],
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain(name: str) -> None:
    steps, rest = CHAINS[name]
    before = chain(steps, DYNAMIC)
    before.graph.node[0].op_type = "Exp"
    assert joined(before) == rest


def test_extents_that_can_not_be_told_stay() -> None:
    """One that is open becomes −1; two that are products can't be told of another tensor."""
    before = chain([step("Reshape", [-1, 6, 10]), step("Unsqueeze", [0])], ("n", "m", 4, 5))
    assert joined(before, (6, 30)) == ["Reshape"]
    before = chain([step("Reshape", [-1, 0, 10]), step("Reshape", [0, 0, 2, 5])], ("n", "m", 4, 5))
    assert joined(before, (1, 2)) == ["Reshape"]
    before = chain(
        [step("Transpose", perm=[0, 2, 1, 3]), step("Reshape", [-1, 0])], ("n", "m", 4, 5)
    )
    assert joined(before, (1, 2)) == ["Transpose", "Reshape"]


def test_what_is_read_in_between_stays() -> None:
    before = chain([step("Reshape", [-1, 60]), step("Unsqueeze", [1])], DYNAMIC)
    before.graph.output.append(helper.make_tensor_value_info("m0", TensorProto.FLOAT, ["n", 60]))
    after, _ = optimize(before, Options(verify=False))
    assert [n.op_type for n in after.graph.node] == ["Tanh", "Reshape", "Unsqueeze", "Relu"]


def test_kept_nodes_stay() -> None:
    before = chain([step("Reshape", [-1, 60]), step("Unsqueeze", [1])], DYNAMIC)
    before.graph.node[1].name = "me"
    after, _ = optimize(before, Options(verify=False, keep=("me",)))
    assert [n.op_type for n in after.graph.node] == ["Tanh", "Reshape", "Unsqueeze", "Relu"]


def shared(scales: Sequence[float]) -> ModelProto:
    """Convolutions of different inputs by one weight, each with a scale behind."""
    weight = np.random.default_rng(2).integers(-3, 4, (16, 16, 3, 3)).astype(np.float32)
    nodes, constants = [], [numpy_helper.from_array(weight, "w")]
    for n, scale in enumerate(scales):
        constants.append(numpy_helper.from_array(np.asarray(scale, np.float32), f"s{n}"))
        nodes.append(helper.make_node("Conv", [f"x{n}", "w"], [f"c{n}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Mul", [f"c{n}", f"s{n}"], [f"y{n}"]))
    infos = [
        [
            helper.make_tensor_value_info(f"{kind}{n}", TensorProto.FLOAT, [1, 16, 6, 6])
            for n in range(len(scales))
        ]
        for kind in "xy"
    ]
    graph = helper.make_graph(nodes, "g", infos[0], infos[1], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_scaled_weight_that_several_share_is_stored_once() -> None:
    before = shared([-1.0] * 5)
    after, report = optimize(before, Options(verify=False))
    assert [n.op_type for n in after.graph.node] == ["Conv"] * 5
    assert len(after.graph.initializer) == 1
    assert report.after.stats.bytes < 1.2 * report.before.stats.bytes
