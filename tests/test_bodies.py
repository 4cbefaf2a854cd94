"""Constants are folded inside of bodies and functions, too, and what does nothing goes there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from exact import run
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxac.pipeline import Options, optimize
from onnxac.report import Report

FLOAT = TensorProto.FLOAT


def info(name: str, shape: Sequence[int | str] = ("n",)) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, shape)


def constant(name: str, *value: float) -> NodeProto:
    array = np.asarray(value, np.float32)
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))


def branch(name: str, nodes: Sequence[NodeProto]) -> GraphProto:
    """A body that returns `NAME_out`."""
    return helper.make_graph(nodes, name, [], [info(f"{name}_out")])


def folding(name: str) -> list[NodeProto]:
    """x · (1 + 2), by way of an Identity: two nodes more than needed."""
    return [
        constant(f"{name}_one", 1),
        helper.make_node("Add", [f"{name}_one", "two"], [f"{name}_three"]),
        helper.make_node("Identity", ["x"], [f"{name}_x"]),
        helper.make_node("Mul", [f"{name}_x", f"{name}_three"], [f"{name}_out"]),
    ]


def model(
    nodes: Sequence[NodeProto], constants: Sequence[TensorProto] = (), **more: object
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x"), helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [info("y")],
        [numpy_helper.from_array(np.array([2], np.float32), "two"), *constants],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=9, **more)
    onnx.checker.check_model(made)
    return made


def optimized(before: ModelProto) -> tuple[ModelProto, Report]:
    """The result, which computes the same to the bit."""
    copy = before.SerializeToString(deterministic=True)
    after, report = optimize(before, Options(verify=False))
    assert before.SerializeToString(deterministic=True) == copy
    onnx.checker.check_model(after)
    for choice in (True, False):
        values = {"x": np.array([1, -2, 3], np.float32), "c": np.array(choice)}
        (have,), (want,) = run(after, values), run(before, values)
        assert np.array_equal(have, want)
    return after, report


def bodies(node: NodeProto) -> dict[str, GraphProto]:
    return {a.name: a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH}


def choice(then: Sequence[NodeProto], otherwise: Sequence[NodeProto]) -> NodeProto:
    return helper.make_node(
        "If", ["c"], ["y"], then_branch=branch("t", then), else_branch=branch("e", otherwise)
    )


def test_an_if() -> None:
    plain = [helper.make_node("Neg", ["x"], ["e_out"])]
    after, report = optimized(model([choice(folding("t"), plain)]))
    found = bodies(after.graph.node[0])
    assert [n.op_type for n in found["then_branch"].node] == ["Mul"]
    assert [t.name for t in found["then_branch"].initializer] == ["t_three"]
    assert [n.op_type for n in found["else_branch"].node] == ["Neg"]
    assert (report.folded, report.idle) == (2, 1)


def test_types_of_what_went_go() -> None:
    before = model([choice(folding("t"), [helper.make_node("Neg", ["x"], ["e_out"])])])
    body = next(a.g for a in before.graph.node[0].attribute if a.name == "then_branch")
    body.value_info.extend([info("t_x"), info("t_three", [1]), info("t_one", [1])])
    after, _ = optimized(before)
    left = bodies(after.graph.node[0])["then_branch"]
    assert [v.name for v in left.value_info] == ["t_three"]


def test_a_body_inside_of_a_body() -> None:
    inner = helper.make_node(
        "If",
        ["c"],
        ["e_out"],
        then_branch=branch("u", folding("u")),
        else_branch=branch("v", [helper.make_node("Neg", ["x"], ["v_out"])]),
    )
    after, _ = optimized(model([choice([helper.make_node("Abs", ["x"], ["t_out"])], [inner])]))
    outer = bodies(after.graph.node[0])["else_branch"]
    assert [n.op_type for n in bodies(outer.node[0])["then_branch"].node] == ["Mul"]


def test_a_loop() -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["on"]),
            constant("one", 1),
            helper.make_node("Add", ["one", "two"], ["three"]),
            helper.make_node("Sum", ["state"], ["s"]),
            helper.make_node("Mul", ["s", "three"], ["next"]),
        ],
        "loop",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            info("state"),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), info("next")],
    )
    times = helper.make_node("Constant", [], ["k"], value_int=3)
    after, report = optimized(
        model([times, helper.make_node("Loop", ["k", "c", "x"], ["y"], body=body)])
    )
    left = bodies(after.graph.node[-1])["body"]
    # What is handed to the next turn keeps its node and its name.
    assert [n.op_type for n in left.node] == ["Identity", "Mul"]
    assert [i.name for i in left.input] == ["i", "going", "state"]
    assert report.folded >= 3


def test_a_function() -> None:
    nodes = [
        constant("one", 1),
        constant("two", 2),
        helper.make_node("Add", ["one", "two"], ["three"]),
        helper.make_node("Identity", ["a"], ["b"]),
        helper.make_node("Mul", ["b", "three"], ["out"]),
    ]
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("local", "Thrice", ["a"], ["out"], nodes, opsets)
    call = helper.make_node("Thrice", ["x"], ["y"], domain="local")
    after, _ = optimized(model([call], functions=[function]))
    assert [n.op_type for n in after.functions[0].node] == ["Constant", "Mul"]


def test_a_function_reads_nothing_from_outside() -> None:
    """The main graph's constant of that name is another tensor."""
    nodes = [helper.make_node("Neg", ["two"], ["m"]), helper.make_node("Abs", ["m"], ["out"])]
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("local", "Size", ["two"], ["out"], nodes, opsets)
    call = helper.make_node("Size", ["x"], ["y"], domain="local")
    before = model([call], functions=[function])
    assert optimized(before)[0].functions == before.functions


def scaled(*slopes: float) -> ModelProto:
    """A function that scales by an attribute of the node that calls it, called in a row."""
    filled = helper.make_node("Constant", [], ["k"])
    filled.attribute.add(name="value_float", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    nodes = [
        filled,
        helper.make_node("Neg", ["k"], ["m"]),
        helper.make_node("Mul", ["a", "m"], ["out"]),
    ]
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("local", "Scale", ["a"], ["out"], nodes, opsets, ["slope"])
    ends = ["x", *(f"s{i}" for i in range(len(slopes) - 1)), "y"]
    calls = [
        helper.make_node("Scale", [a], [b], domain="local", slope=slope)
        for a, b, slope in zip(ends[:-1], ends[1:], slopes, strict=True)
    ]
    return model(calls, functions=[function])


def test_a_parameter_of_a_function_is_no_constant() -> None:
    before = scaled(0.5, 2.0)
    assert optimized(before)[0].functions == before.functions


@pytest.mark.parametrize("slopes", [(0.5,), (0.5, 0.5)])
def test_a_parameter_that_all_calls_agree_on_is_one(slopes: tuple[float, ...]) -> None:
    after, _ = optimized(scaled(*slopes))
    assert [n.op_type for n in after.functions[0].node] == ["Constant", "Mul"]


LEFT: dict[str, list[NodeProto]] = {
    "a large constant": [
        helper.make_node(
            "ConstantOfShape", ["shape"], ["big"], value=numpy_helper.from_array(np.ones(1, "f"))
        ),
        helper.make_node("Mul", ["x", "big"], ["all"]),
        helper.make_node("ReduceMax", ["all"], ["t_out"], axes=[0]),
    ],
    "what draws": [
        helper.make_node("RandomUniform", [], ["r"], shape=[1]),
        helper.make_node("Mul", ["r", "zero"], ["z"]),
        helper.make_node("Add", ["x", "z"], ["t_out"]),
    ],
    "quantized": [
        helper.make_node("DequantizeLinear", ["q", "scale"], ["w"]),
        helper.make_node("Mul", ["x", "w"], ["t_out"]),
    ],
    "an output": [helper.make_node("Identity", ["x"], ["t_out"])],
}


@pytest.mark.parametrize("name", LEFT)
def test_what_stays(name: str) -> None:
    constants = {
        "shape": np.array([4096, 1], np.int64),
        "zero": np.array([0], np.float32),
        "q": np.array([3], np.int8),
        "scale": np.array(0.5, np.float32),
    }
    before = model(
        [choice(LEFT[name], [helper.make_node("Neg", ["x"], ["e_out"])])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    after, _ = optimized(before)
    assert after.graph.node == before.graph.node
