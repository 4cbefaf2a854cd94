"""Ifs that are decided: PyTorch's squeeze where the exporter did not know the shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from fusing import assert_final
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from test_symbolic_shapes import merged, model, node, random, run

from onnxac.pipeline import Options, optimize
from onnxac.report import EQUAL


def body(nodes: list[NodeProto], output: str, **held: object) -> GraphProto:
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in held.items()]
    info = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph(nodes, "body", [], [info], tensors)


def squeezed(height: int | str) -> ModelProto:
    """A text recognizer: maps of one row, whose axis goes, then a dense layer in two branches."""
    nodes = [
        node("Conv", ["x", "w"], "c", strides=[4, 1]),
        node("Shape", ["c"], "s"),
        node("Gather", ["s", "two"], "h", axis=0),
        node("Equal", ["h", "one"], "is"),
        helper.make_node(
            "If",
            ["is"],
            ["f"],
            then_branch=body([node("Squeeze", ["c", "axes"], "q")], "q", axes=[2]),
            else_branch=body([node("Identity", ["c"], "q")], "q"),
        ),
        node("Transpose", ["f"], "t", perm=[2, 0, 1]),
        node("MatMul", ["t", "a"], "p"),
        node("MatMul", ["t", "b"], "q0"),
        node("Add", ["p", "q0"], "r"),
        node("Softmax", ["r"], "y"),
    ]
    held = {
        "w": random(5, 3, 4, 3),
        "two": np.int64(2),
        "one": np.int64(1),
        "a": random(5, 6),
        "b": random(5, 6),
    }
    return model(nodes, held, ["N", 3, height, 9])


def test_the_branch_that_is_taken_stands_in_its_place() -> None:
    before = squeezed(4)
    found = merged(before, (2, 3, 4, 9))
    assert "If" not in found
    assert found.count("MatMul") + found.count("Conv") <= 2
    assert "Add" not in found
    after, report = optimize(before)
    assert report.verification is not None
    assert report.verification.verdict == EQUAL
    assert report.idle >= 0
    assert_final(after)


def test_an_if_that_is_to_be_kept_stays() -> None:
    before = squeezed(4)
    before.graph.node[4].name = "mine"
    after, _ = optimize(before, Options(verify=False, keep=("mine",)))
    assert "If" in [n.op_type for n in after.graph.node]


def test_an_open_extent_decides_nothing() -> None:
    before = squeezed("H")
    after, _ = optimize(before, Options(verify=False))
    assert "If" in [n.op_type for n in after.graph.node]
    x = np.ones((1, 3, 4, 9), np.float32)
    assert np.allclose(run(after, x), run(before, x), atol=1e-5)


def decided(*ifs: NodeProto, reads: str) -> ModelProto:
    """Ifs that are always true, and the sum of what comes out."""
    before = model([*ifs, node("Sum", reads.split(), "y")], {}, [2, 3])
    before.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    return before


def test_two_ifs_may_use_the_same_names_inside() -> None:
    first = body([node("Exp", ["x"], "i"), node("Sin", ["i"], "j")], "j")
    second = body([node("Exp", ["a"], "i"), node("Mul", ["i", "k"], "j")], "j", k=np.float32(3))
    handed = body([node("Identity", ["b"], "h")], "h")
    constant = body([], "k", k=np.full((2, 3), 5, np.float32))
    branches = dict(zip("abdk", (first, second, handed, constant), strict=True))
    ifs = [
        helper.make_node("If", ["yes"], [name], then_branch=taken, else_branch=other_of("x"))
        for name, taken in branches.items()
    ]
    found = merged(decided(*ifs, reads="a b d k"), (2, 3))
    assert "If" not in found
    assert "Neg" not in found


def test_a_branch_may_hand_on_one_tensor_twice() -> None:
    """ONNX Runtime can't load that."""
    twice, pair = body([node("Cos", ["x"], "j")], "j"), other_of("x")
    twice.output.append(helper.make_tensor_value_info("j", TensorProto.FLOAT, None))
    pair.output.append(helper.make_tensor_value_info("n", TensorProto.FLOAT, None))
    either = helper.make_node("If", ["yes"], ["e", "g"], then_branch=twice, else_branch=pair)
    before = decided(either, reads="e g")
    after, _ = optimize(before, Options(verify=False))
    x = np.ones((2, 3), np.float32)
    results: list[Any] = [ReferenceEvaluator(m).run(None, {"x": x}) for m in (after, before)]
    assert np.array_equal(results[0][0], results[1][0])
    assert "If" not in [n.op_type for n in after.graph.node]


def test_bodies_inside_of_the_branch_read_what_it_makes() -> None:
    inner = body([node("Add", ["i", "k"], "o")], "o", k=np.float32(2))
    other = body([node("Sub", ["i", "x"], "o")], "o")
    branch = body(
        [
            node("Exp", ["x"], "i"),
            node("ReduceSum", ["i"], "t", keepdims=0),
            node("Cast", ["t"], "c", to=TensorProto.BOOL),
            helper.make_node("If", ["c"], ["j"], then_branch=inner, else_branch=other),
        ],
        "j",
    )
    nodes = [
        helper.make_node("If", ["yes"], ["z"], then_branch=branch, else_branch=other_of("x")),
        node("Sin", ["z"], "y"),
    ]
    before = model(nodes, {}, [2, 3])
    before.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    assert merged(before, (2, 3)).count("If") == 1


def other_of(name: str) -> GraphProto:
    return body([node("Neg", [name], "n")], "n")
