"""A window over one axis takes an axis of extent 1 along where the source has one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from exact import feeds, operators, run
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxac.pipeline import Options, optimize


def model(shape: list[int], kernel: list[int], axis: int, perm: list[int] | None) -> ModelProto:
    """Transpose or not, Conv over an axis of extent 1 too, Squeeze, and a scale and shift."""
    draw = np.random.default_rng(0)
    source = "x"
    nodes = []
    if perm is not None:
        nodes.append(helper.make_node("Transpose", ["x"], ["t"], perm=perm))
        source = "t"
    channels = shape[1] if perm is None else shape[perm[1]]
    nodes += [
        helper.make_node("Conv", [source, "w"], ["c"], name="conv"),
        helper.make_node("Squeeze", ["c", "axis"], ["s"]),
        helper.make_node("Mul", ["s", "scale"], ["m"]),
        helper.make_node("Add", ["m", "shift"], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]

    def whole(*dims: int) -> Any:
        return draw.integers(-4, 5, dims).astype(np.float32)

    held = {
        "w": whole(6, channels, *kernel),
        "axis": np.array([axis]),
        "scale": whole(6, 1),
        "shift": whole(6, 1),
    }
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b", "c"])
    weights = [numpy_helper.from_array(v, k) for k, v in held.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("before", "left"),
    [
        (model([2, 4, 1, 9], [1, 3], 2, None), ["Conv", "Squeeze", "Relu"]),
        (model([2, 4, 9, 1], [3, 1], 3, None), ["Conv", "Squeeze", "Relu"]),
        (model([2, 9, 4, 1], [3, 1], 3, [0, 2, 1, 3]), ["Transpose", "Conv", "Squeeze", "Relu"]),
    ],
    ids=["first", "last", "turned"],
)
def test_no_window_loses_an_axis_that_the_source_has(before: ModelProto, left: list[str]) -> None:
    after, report = optimize(before, Options(verify=False))
    assert [n.op_type for n in after.graph.node] == left
    assert report.fusions
    (conv,) = (n for n in after.graph.node if n.op_type == "Conv")
    assert len(next(a.ints for a in conv.attribute if a.name == "kernel_shape")) == 2
    for seed in range(2):
        values = feeds(before, seed)
        assert np.array_equal(run(after, values)[0], run(before, values)[0])
    assert operators(optimize(after, Options(verify=False))[0]) == operators(after)


def test_a_batch_of_one_is_no_axis_to_move() -> None:
    """Channels come in front of the positions, and the batch stays where it is: no Reshape."""
    draw = np.random.default_rng(0)
    nodes = [
        helper.make_node("Unsqueeze", ["x", "front"], ["u"]),
        helper.make_node("Transpose", ["u"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["c"]),
        helper.make_node("Squeeze", ["c", "axis"], ["s"]),
        helper.make_node("Mul", ["s", "scale"], ["m"]),
        helper.make_node("Relu", ["m"], ["y"]),
    ]
    held = {
        "front": np.array([1]),
        "axis": np.array([2]),
        "w": draw.integers(-4, 5, (6, 4, 1, 3)).astype(np.float32),
        "scale": draw.integers(-4, 5, (6, 1)).astype(np.float32),
    }
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 9, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6, 7])
    weights = [numpy_helper.from_array(v, k) for k, v in held.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    before = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    after, _ = optimize(before, Options(verify=False))
    assert [n.op_type for n in after.graph.node] == ["Transpose", "Conv", "Relu"]
    values = feeds(before, 0)
    assert np.array_equal(run(after, values)[0], run(before, values)[0])


@pytest.mark.parametrize(
    ("channels", "left"),
    [(32, ["Conv", "Relu"]), (128, ["Unsqueeze", "Conv", "Reshape", "Relu"])],
)
def test_an_axis_that_was_put_in_for_a_window_stays_where_it_pays(
    channels: int, left: list[str]
) -> None:
    """Keras' Conv1D: over one axis a large window takes longer than two nodes more."""
    draw = np.random.default_rng(0)
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axis"], ["u"]),
        helper.make_node("Conv", ["u", "w"], ["c"], pads=[0, 1, 0, 1]),
        helper.make_node("Squeeze", ["c", "axis"], ["s"]),
        helper.make_node("Mul", ["s", "scale"], ["m"]),
        helper.make_node("Add", ["m", "shift"], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    held = {
        "axis": np.array([2]),
        "w": draw.integers(-4, 5, (channels, channels, 1, 3)).astype(np.float32),
        "scale": draw.integers(-4, 5, (channels, 1)).astype(np.float32),
        "shift": draw.integers(-4, 5, (channels, 1)).astype(np.float32),
    }
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, 64])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels, 64])
    weights = [numpy_helper.from_array(v, k) for k, v in held.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    before = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    after, _ = optimize(before, Options(verify=False))
    assert [n.op_type for n in after.graph.node] == left
    values = feeds(before, 0)
    assert np.array_equal(run(after, values)[0], run(before, values)[0])
