"""Constants that nodes compute: what is stored, and what stays computed."""

from __future__ import annotations

import numpy as np
import onnx
from exact import feeds, operators, run
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxac.pipeline import Options, optimize

_SIDE = 24


def _detector(weights: int) -> ModelProto:
    """Anchors as YOLO's head makes them, above what a product with a matrix gives.

    weights  columns of that matrix, beside those of the anchors
    """
    stored = {
        "x_axis": np.arange(_SIDE, dtype=np.float32).reshape(1, _SIDE),
        "y_axis": np.arange(_SIDE, dtype=np.float32).reshape(_SIDE, 1),
        "map": np.array([_SIDE, _SIDE]),
        "last": np.array([-1]),
        "pairs": np.array([-1, 2]),
        "w": np.ones((2, weights), np.float32),
        "v": np.ones((weights, 2), np.float32),
    }
    nodes = [
        helper.make_node("Expand", ["x_axis", "map"], ["xs"]),
        helper.make_node("Expand", ["y_axis", "map"], ["ys"]),
        helper.make_node("Unsqueeze", ["xs", "last"], ["x1"]),
        helper.make_node("Unsqueeze", ["ys", "last"], ["y1"]),
        helper.make_node("Concat", ["x1", "y1"], ["both"], axis=-1),
        helper.make_node("Reshape", ["both", "pairs"], ["anchors"]),
        helper.make_node("MatMul", ["x", "w"], ["wide"]),
        helper.make_node("Relu", ["wide"], ["relu"]),
        helper.make_node("MatMul", ["relu", "v"], ["narrow"]),
        helper.make_node("Max", ["anchors", "narrow"], ["y"]),
    ]
    shape = [_SIDE * _SIDE, 2]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(v, k) for k, v in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def test_anchors_are_stored_where_they_hardly_enlarge_the_file() -> None:
    """The tools beside us store them as well, and no session has to compute them."""
    model = _detector(weights=2**17)
    result, report = optimize(model, Options(verify=False))
    assert operators(result) == {"MatMul": 2, "Relu": 1, "Max": 1}
    assert report.after.stats.bytes <= 1.005 * report.before.stats.bytes
    given = feeds(model)
    for have, want in zip(run(result, given), run(model, given), strict=True):
        assert np.array_equal(have, want)


def test_anchors_stay_computed_in_a_small_file() -> None:
    model = _detector(weights=8)
    result, report = optimize(model, Options(verify=False))
    assert operators(result)["Expand"] == 2
    assert report.after.stats.bytes <= report.before.stats.bytes
