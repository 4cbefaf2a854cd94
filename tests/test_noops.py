"""Nodes that do nothing go, and those that only look as if they did nothing stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from exact import run
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxac.pipeline import Options, optimize

FLOAT, DOUBLE, HALF = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16
INT64_MAX = 2**63 - 1
Step = tuple[str, Sequence[Any], dict[str, Any]]


def step(op: str, *operands: Any, **attrs: Any) -> Step:
    """A node that reads what is before it, and constants."""
    return op, operands, attrs


def chain(
    steps: Sequence[Step], shape: Sequence[int | str] = (2, 3, 4, 5), opset: int = 17
) -> ModelProto:
    """A Tanh, the steps, and a Relu."""
    nodes, constants = [helper.make_node("Tanh", ["x"], ["t"])], []
    last = "t"
    for n, (op, operands, attrs) in enumerate(steps):
        names = []
        for k, operand in enumerate(operands):
            names.append("" if operand is None else f"c{n}_{k}")
            if operand is not None:
                kind = None if isinstance(operand, (bool, np.ndarray)) else np.int64
                constants.append(numpy_helper.from_array(np.asarray(operand, kind), names[-1]))
        nodes.append(helper.make_node(op, [last, *names], [f"m{n}"], **attrs))
        last = f"m{n}"
    nodes.append(helper.make_node("Relu", [last], ["y"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return typed(made)


def typed(made: ModelProto) -> ModelProto:
    """The model with shapes of its outputs."""
    del made.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(made)
    del made.graph.output[:]
    made.graph.output.extend(inferred.graph.output)
    onnx.checker.check_model(made)
    return made


def left(before: ModelProto) -> list[str]:
    """The operators between Tanh and Relu of the result, which computes the same to the bit."""
    after, report = optimize(before, Options(verify=False))
    onnx.checker.check_model(after)
    shape = [d.dim_value or 4 for d in before.graph.input[0].type.tensor_type.shape.dim]
    values = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    (have,), (want,) = run(after, values), run(before, values)
    assert have.shape == want.shape
    assert np.array_equal(have, want)
    gone = report.idle + report.folded
    assert gone == len(before.graph.node) - len(after.graph.node)
    return [n.op_type for n in after.graph.node if n.op_type not in ("Tanh", "Relu")]


NOTHING: dict[str, list[Step]] = {
    "Identity": [step("Identity")],
    "Dropout": [step("Dropout")],
    "Dropout, training off": [step("Dropout", np.array(0.5, np.float32), False)],
    "Concat of one": [step("Concat", axis=1)],
    "Sum of one": [step("Sum")],
    "Cast": [step("Cast", to=FLOAT)],
    "Cast there and back": [step("Cast", to=DOUBLE), step("Cast", to=FLOAT)],
    "Reshape": [step("Reshape", [2, 3, 4, 5])],
    "Reshape, with copies": [step("Reshape", [0, 3, -1, 5])],
    "Flatten": [step("Reshape", [6, 20]), step("Flatten"), step("Reshape", [2, 3, 4, 5])],
    "Transpose": [step("Transpose", perm=[0, 1, 2, 3])],
    "Transpose pair": [step("Transpose", perm=[0, 2, 3, 1]), step("Transpose", perm=[0, 3, 1, 2])],
    "Transpose pair by default": [step("Transpose"), step("Transpose", perm=[3, 2, 1, 0])],
    "Unsqueeze, Squeeze": [step("Unsqueeze", [1, -1]), step("Squeeze", [5, 1])],
    "Slice": [step("Slice", [0, 0], [INT64_MAX, 5], [2, -1])],
    "Slice, int32": [step("Slice", np.array([0], np.int32), np.array([9], np.int32))],
    "Pad": [step("Pad", [0] * 8)],
    "Expand": [step("Expand", [4, 1])],
    "Tile": [step("Tile", [1, 1, 1, 1])],
    "Add of zeros": [step("Add", np.zeros((3, 4, 5), np.float32))],
    "Sub of zeros": [step("Sub", np.zeros((2, 1, 4, 5), np.float32))],
    "Mul by ones": [step("Mul", np.ones((2, 3, 4, 5), np.float32))],
    "Div by ones": [step("Div", np.ones((4, 5), np.float32))],
}


@pytest.mark.parametrize("name", NOTHING)
def test_nothing(name: str) -> None:
    assert left(chain(NOTHING[name])) == []


SOMETHING: dict[str, list[Step]] = {
    "Concat of two": [step("Concat", np.ones((2, 1, 4, 5), np.float32), axis=1)],
    "Cast there and back, rounded": [step("Cast", to=HALF), step("Cast", to=FLOAT)],
    "Reshape": [step("Reshape", [3, 2, 4, 5])],
    "Transpose": [step("Transpose", perm=[0, 1, 3, 2])],
    "Slice": [step("Slice", [0], [4], [3])],
    "Slice backwards": [step("Slice", [-1], [-INT64_MAX], [3], [-1])],
    "Slice by steps": [step("Slice", [0], [INT64_MAX], [3], [2])],
    "Pad": [step("Pad", [0, 0, 0, 0, 0, 0, 0, 1])],
    "Pad that crops": [step("Pad", [0, 0, 0, -1, 0, 0, 0, 0])],
    "Expand": [step("Expand", [2, 1, 1, 1, 1])],
    "Tile": [step("Tile", [1, 2, 1, 1])],
    "Add of a number": [step("Add", np.eye(5, dtype=np.float32)[:4])],
    "Add of zeros that makes it larger": [step("Add", np.zeros((2, 2, 3, 4, 5), np.float32))],
    "Mul by zeros": [step("Mul", np.zeros((4, 5), np.float32))],
}


@pytest.mark.parametrize("name", SOMETHING)
def test_something(name: str) -> None:
    assert left(chain(SOMETHING[name])) == [op for op, _, _ in SOMETHING[name]]


DYNAMIC = ("n", 3, "h", "w")


def test_dynamic_extents() -> None:
    """What hangs on an extent that is not known stays; what holds for all of them goes."""
    assert left(chain([step("Reshape", [-1, 3, 0, 0])], DYNAMIC)) == []
    assert left(chain([step("Slice", [0], [INT64_MAX], [2])], DYNAMIC)) == []
    assert left(chain([step("Slice", [0], [9], [2])], DYNAMIC)) == ["Slice"]
    assert left(chain([step("Expand", [1, 3, 1, 1])], DYNAMIC)) == []
    assert left(chain([step("Expand", [4, 3, 1, 1])], ("n", 3, 4, 4))) == ["Expand"]


def test_zero_may_be_an_extent() -> None:
    """With allowzero a 0 copies nothing."""
    before = chain([step("Reshape", [0, 3, 4, 5], allowzero=1)], ("n", 3, 4, 5))
    after, _ = optimize(before, Options(verify=False))
    assert [n.op_type for n in after.graph.node] == ["Tanh", "Reshape", "Relu"]


def test_a_dropout_that_is_trained_or_asked_for_its_mask_stays() -> None:
    before = chain([step("Dropout", np.array(0.5, np.float32), True)])
    assert len(optimize(before, Options(verify=False))[0].graph.node) == 3
    before = chain([step("Dropout")])
    before.graph.node[1].output.append("mask")
    before.graph.output.append(
        helper.make_tensor_value_info("mask", TensorProto.BOOL, [2, 3, 4, 5])
    )
    assert len(optimize(before, Options(verify=False))[0].graph.node) == 3


def graph(nodes: Sequence[NodeProto], outputs: Sequence[str]) -> ModelProto:
    made = chain([])
    del made.graph.node[:], made.graph.output[:]
    made.graph.node.extend(nodes)
    made.graph.output.extend(helper.make_tensor_value_info(o, FLOAT, None) for o in outputs)
    return typed(made)


def test_an_output_keeps_its_name() -> None:
    nodes = [helper.make_node("Tanh", ["x"], ["t"]), helper.make_node("Identity", ["t"], ["y"])]
    both = graph([*nodes, helper.make_node("Relu", ["t"], ["z"])], ["y", "z"])
    after, report = optimize(both, Options(verify=False))
    assert [(n.op_type, [*n.input], [*n.output]) for n in after.graph.node] == [
        ("Tanh", ["x"], ["y"]),
        ("Relu", ["y"], ["z"]),
    ]
    assert report.idle == 1


def test_an_input_that_is_handed_on_as_an_output_stays() -> None:
    before = graph([helper.make_node("Identity", ["x"], ["y"])], ["y"])
    assert optimize(before, Options(verify=False))[0].graph.node == before.graph.node
    nodes = [helper.make_node("Tanh", ["x"], ["t"]), helper.make_node("Identity", ["t"], ["y"])]
    before = graph(nodes, ["t", "y"])
    assert optimize(before, Options(verify=False))[0].graph.node == before.graph.node


def test_a_custom_operator_of_that_name_stays() -> None:
    before = chain([step("Identity")])
    before.graph.node[1].domain = "org.example"
    before.opset_import.append(helper.make_opsetid("org.example", 1))
    assert optimize(before, Options(verify=False))[0].graph.node == before.graph.node


def test_kept_nodes_stay() -> None:
    before = chain([step("Identity")])
    before.graph.node[1].name = "me"
    assert optimize(before, Options(verify=False, keep=("me",)))[0] == before
