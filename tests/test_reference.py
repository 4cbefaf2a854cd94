"""The oracle in float64, and what graphs tell of their inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxac.proof.judging.identity import Likeness, Side
from onnxac.proof.judging.ranges import range_of
from onnxac.proof.running.reference import evaluator, widen
from onnxac.proof.running.signature import read_signature
from onnxac.proof.running.sizes import refine

Array = NDArray[Any]
FLOAT = TensorProto.FLOAT
rng = np.random.default_rng(0)


def graph(
    nodes: list[onnx.NodeProto],
    weights: dict[str, Array],
    *,
    x: tuple[int | str, ...] | None = (2, 4, 6, 5),
    x_type: int = FLOAT,
    opset: int = 18,
) -> onnx.ModelProto:
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", x_type, x)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", [7, 8, 9, 13, 14, 15])
def test_batch_normalization_with_momentum_is_that_of_inference(opset: int) -> None:
    """onnx's own evaluator mixes the statistics of the batch in, before opset 14."""
    statistics = {n: rng.random(4).astype(np.float32) + 0.5 for n in "sbma"}
    node = helper.make_node(
        "BatchNormalization", ["x", "s", "b", "m", "a"], ["y"], momentum=0.9, epsilon=1e-3
    )
    model = graph([node], statistics, opset=opset)
    x = rng.standard_normal((2, 4, 6, 5)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (wanted,) = session.run(None, {"x": x})
    (found,) = evaluator(model).run(None, {"x": x})
    assert np.allclose(found, wanted, atol=1e-5)
    widen(model)
    (value,) = evaluator(model).run(None, {"x": x.astype(np.float64)})
    exact = np.asarray(value)
    assert exact.dtype == np.float64
    assert np.allclose(exact, wanted, atol=1e-5)


def test_a_model_in_float64_computes_everything_in_it() -> None:
    """Casts, constants and types that nodes name become wide as well; integers don't."""
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Constant", [], ["c"], value_float=1 / 3),
        helper.make_node("Cast", ["c"], ["ch"], to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["h", "ch"], ["m"]),
        helper.make_node("Cast", ["m"], ["y"], to=FLOAT),
    ]
    model = graph(nodes, {})
    widen(model)
    x = rng.standard_normal((2, 4, 6, 5))
    (found,) = evaluator(model).run(None, {"x": x})
    assert np.array_equal(found, x * np.float64(np.float32(1 / 3)))


def dims(model: onnx.ModelProto) -> Any:
    return refine(read_signature(model), model.graph).inputs[0].dims


def test_weights_tell_extents_and_ranks() -> None:
    conv = {"w": np.ones((8, 3, 3, 3), np.float32)}
    named = ("a", "b", "c", "d")
    assert dims(graph([helper.make_node("Conv", ["x", "w"], ["y"])], conv, x=named)) == (
        "a", 3, "c", "d",
    )  # fmt: skip
    grouped = helper.make_node("Conv", ["x", "w"], ["y"], group=2)
    assert dims(graph([grouped], conv, x=named)) == ("a", 6, "c", "d")
    behind = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Relu", ["t"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["y"]),
    ]
    assert dims(graph(behind, conv, x=named)) == ("a", "b", "c", 3)
    dense = {"w": np.ones((7, 9), np.float32)}
    matmul = helper.make_node("MatMul", ["x", "w"], ["y"])
    assert dims(graph([matmul], dense, x=("n", "t", "f"))) == ("n", "t", 7)
    gemm = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    assert dims(graph([gemm], dense, x=("n", "f"))) == ("n", 9)
    unknown = graph([helper.make_node("Conv", ["x", "w"], ["y"])], conv)
    unknown.graph.input[0].type.tensor_type.ClearField("shape")
    assert dims(unknown) == (None, 3, None, None)


def test_tables_and_clips_tell_the_range_of_integers() -> None:
    def integers(nodes: list[onnx.NodeProto], weights: dict[str, Array]) -> Any:
        model = graph(nodes, weights, x=(4,), x_type=TensorProto.INT64)
        return refine(read_signature(model), model.graph).inputs[0].integers

    table = {"t": np.ones((30, 4), np.float32)}
    ends = {"low": np.array(2), "high": np.array(9)}
    gather = helper.make_node("Gather", ["t", "x"], ["y"])
    assert integers([gather], table) == (0, 30)
    clip = helper.make_node("Clip", ["x", "low", "high"], ["c"])
    assert integers([clip, helper.make_node("Gather", ["t", "c"], ["y"])], table | ends) == (0, 12)
    assert integers([helper.make_node("Cast", ["x"], ["y"], to=FLOAT)], {}) is None


def test_what_hands_values_on_has_the_range_of_what_it_hands_on() -> None:
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["s"]),
        helper.make_node("Concat", ["x", "s"], ["c"], axis=1),
        helper.make_node("Transpose", ["c"], ["y"]),
        helper.make_node("Mul", ["s", "s"], ["product"]),
    ]
    model = graph(nodes, {})
    assert [range_of(model.graph, n) for n in ("y", "s", "product", "x")] == [1, 1, 0, 0]


def likeness(before: onnx.ModelProto, after: onnx.ModelProto) -> Likeness:
    return Likeness(Side(before, Path()), Side(after, Path()))


def test_equal_by_construction_is_equal_down_to_the_weights() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["t"]),
        helper.make_node("Relu", ["t"], ["y"]),
    ]
    w = np.ones(5, np.float32)
    plain = graph(nodes, {"w": w})
    assert "y" in likeness(plain, plain).equal()
    constant = graph(
        [helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(w)), *nodes], {}
    )
    assert "y" in likeness(plain, constant).equal()
    unread = graph([*nodes, helper.make_node("Neg", ["t"], ["unread"])], {"w": w, "v": w})
    assert "y" in likeness(plain, unread).equal()
    for other in (
        graph(nodes, {"w": w * 2}),
        graph(nodes, {"w": w.astype(np.float64)}),
        graph(nodes, {"w": w}, opset=17),
        graph([nodes[0], helper.make_node("LeakyRelu", ["t"], ["y"])], {"w": w}),
        graph([nodes[0], helper.make_node("Relu", ["t"], ["y"], domain="elsewhere")], {"w": w}),
    ):
        assert "y" not in likeness(plain, other).equal()


def test_a_subgraph_reads_from_outside() -> None:
    """What is captured counts: the body of an If is the same, the weight in it is not."""

    def made(value: float) -> onnx.ModelProto:
        branches = [
            helper.make_graph(
                [helper.make_node("Mul", ["x", "w"], [name])],
                name,
                [],
                [helper.make_tensor_value_info(name, FLOAT, None)],
            )
            for name in ("p", "q")
        ]
        node = helper.make_node(
            "If", ["flag"], ["y"], then_branch=branches[0], else_branch=branches[1]
        )
        return graph([node], {"flag": np.array(True), "w": np.array(value, np.float32)})

    assert "y" in likeness(made(1), made(1)).equal()
    assert "y" not in likeness(made(1), made(2)).equal()
