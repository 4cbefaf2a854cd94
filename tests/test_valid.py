"""What comes out is valid ONNX, whoever reads a constant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from exact import operators
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxac.pipeline import Options, optimize

SIDE = np.array([64, 64])
TWO = numpy_helper.from_array(np.array([2], np.float32))


def reshaped(makers: Sequence[NodeProto], *initializers: TensorProto) -> ModelProto:
    """y = Reshape(x, s) + ConstantOfShape(s): the one runs, the other is a constant that stays."""
    nodes = [
        *makers,
        helper.make_node("ConstantOfShape", ["s"], ["twos"], name="twos", value=TWO),
        helper.make_node("Reshape", ["x", "s"], ["r"], name="reshape"),
        helper.make_node("Add", ["r", "twos"], ["y"], name="add"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4096])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [64, 64])
    graph = helper.make_graph(nodes, "g", [x], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def constant() -> ModelProto:
    value = numpy_helper.from_array(SIDE)
    return reshaped([helper.make_node("Constant", [], ["s"], name="shape", value=value)])


def computed() -> ModelProto:
    cast = helper.make_node("Cast", ["s32"], ["s"], name="cast", to=TensorProto.INT64)
    return reshaped([cast], numpy_helper.from_array(SIDE.astype(np.int32), "s32"))


def split() -> ModelProto:
    """The node that makes it makes another one, which is read by a constant that stays."""
    cut = helper.make_node("Split", ["sides"], ["s", "t"], name="split", num_outputs=2)
    model = reshaped([cut], numpy_helper.from_array(np.concatenate([SIDE, SIDE]), "sides"))
    model.opset_import[0].version = 18
    model.graph.node[1].input[0] = "t"
    return model


@pytest.mark.parametrize("make", [constant, computed, split])
def test_a_constant_that_kept_constants_read_too(make: object) -> None:
    assert callable(make)
    before = make()
    onnx.checker.check_model(before)
    after, report = optimize(before, Options())
    onnx.checker.check_model(after, full_check=True)
    # Both read one initializer: what made the constant is gone.
    assert operators(after) == {"ConstantOfShape": 1, "Reshape": 1, "Add": 1}
    assert report.verification is not None
    assert report.verification.passed


def test_what_is_told_of_shapes_and_is_not_so_goes() -> None:
    """Runtimes lay out memory by what the file tells: here x and z would share a buffer."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Mul", ["c", "two"], ["m"], name="mul"),
        helper.make_node("Relu", ["m"], ["r"], name="relu"),
        helper.make_node("Transpose", ["r"], ["y"], name="transpose", perm=[0, 2, 3, 1]),
    ]
    told = [
        helper.make_tensor_value_info("m", TensorProto.FLOAT, ["B", 5, 6, 3]),
        helper.make_tensor_value_info("r", TensorProto.FLOAT, ["B", 3, 5, 6]),
    ]
    weights = [
        numpy_helper.from_array(np.ones((3, 2, 1, 1), np.float32), "w"),
        numpy_helper.from_array(np.array(2, np.float32), "two"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 2, 5, 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 5, 6, 3])
    graph = helper.make_graph(nodes, "g", [x], [y], weights, value_info=told)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    after, report = optimize(model)
    assert report.fusions
    assert [v.name for v in after.graph.value_info] == ["r"]
    onnx.shape_inference.infer_shapes(after, strict_mode=True)


def test_what_is_told_behind_what_is_not_so_goes_too() -> None:
    """Nobody knows what a function makes but the file, and that tells of another order of axes."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Mul", ["c", "two"], ["m"]),
        helper.make_node("F", ["m"], ["f"], domain="my"),
        helper.make_node("Mul", ["m", "f"], ["y"]),
    ]
    told = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", 5, 6, 3]) for n in ("c", "m", "f")
    ]
    weights = [
        numpy_helper.from_array(np.ones((3, 2, 1, 1), np.float32), "w"),
        numpy_helper.from_array(np.array(2, np.float32), "two"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 2, 5, 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 3, 5, 6])
    graph = helper.make_graph(nodes, "g", [x], [y], weights, value_info=told)
    standard, own = helper.make_opsetid("", 17), helper.make_opsetid("my", 1)
    body = [helper.make_node("Neg", ["a"], ["b"])]
    function = helper.make_function("my", "F", ["a"], ["b"], body, [standard])
    model = helper.make_model(
        graph, opset_imports=[standard, own], ir_version=9, functions=[function]
    )
    after, report = optimize(model)
    assert report.fusions
    assert not after.graph.value_info
    onnx.shape_inference.infer_shapes(after, strict_mode=True)
