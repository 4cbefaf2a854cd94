"""Of nodes that compute the same one stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from exact import feeds, run
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxac.pipeline import Options, optimize

FLOAT = TensorProto.FLOAT


def value(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def model(
    nodes: Sequence[NodeProto],
    outputs: Sequence[str],
    constants: dict[str, Any] | None = None,
    opset: int = 17,
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [2, 3])],
        [helper.make_tensor_value_info(o, FLOAT, ["m", "n"]) for o in outputs],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def operators(before: ModelProto, repeated: int) -> list[str]:
    """Operators of the result, which computes the same to the bit."""
    after, report = optimize(before, Options(verify=False))
    onnx.checker.check_model(after)
    assert [o.name for o in after.graph.output] == [o.name for o in before.graph.output]
    for seed in range(2):
        values = feeds(before, seed)
        for have, want in zip(run(after, values), run(before, values), strict=True):
            assert np.array_equal(have, want)
    assert report.repeated == repeated
    return [n.op_type for n in after.graph.node]


def node(op: str, inputs: str, output: str, **attrs: Any) -> NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attrs)


def test_a_chain_that_is_there_twice() -> None:
    nodes = [node("Exp", "x", "a"), node("Relu", "a", "b")]
    nodes += [node("Exp", "x", "c"), node("Relu", "c", "d"), node("Mul", "b d", "y")]
    assert operators(model(nodes, ["y"]), 2) == ["Exp", "Relu", "Mul"]


def test_operands_in_another_order() -> None:
    nodes = [node("Exp", "x", "a"), node("Mul", "a x", "b"), node("Mul", "x a", "c")]
    both = [*nodes, node("Concat", "b c", "y", axis=0)]
    assert operators(model(both, ["y"]), 1) == ["Exp", "Mul", "Concat"]
    nodes = [node("Exp", "x", "a"), node("Sub", "a x", "b"), node("Sub", "x a", "c")]
    both = [*nodes, node("Concat", "b c", "y", axis=0)]
    assert operators(model(both, ["y"]), 0) == ["Exp", "Sub", "Sub", "Concat"]


def test_constants_are_compared_by_value() -> None:
    """However they are written; the size of an initializer makes no difference."""
    big = value(1, 3, 700)
    nodes = [
        node("MatMul", "x v", "a"),
        node("MatMul", "x w", "b"),
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(big)),
        node("MatMul", "x k", "c"),
        node("Relu", "a", "d"),
        node("Exp", "b", "e"),
        node("Tanh", "c", "f"),
        helper.make_node("Sum", ["d", "e", "f"], ["y"]),
    ]
    made = model(nodes, ["y"], {"v": big, "w": big.copy()})
    assert operators(made, 3) == ["MatMul", "Relu", "Exp", "Tanh", "Sum"]
    after, _ = optimize(made, Options(verify=False))
    assert [t.name for t in after.graph.initializer] == ["v"]


def test_computed_constants_are_compared_by_what_they_hold() -> None:
    """PyTorch: 3 is an extent of x in one place, and written down in another."""
    nodes = [
        node("Shape", "x", "s"),
        node("Slice", "s zero one", "rows"),
        node("Slice", "s one two", "columns"),
        node("Unsqueeze", "three zero", "written"),
        node("Concat", "two rows columns", "a", axis=0),
        node("Concat", "two rows written", "b", axis=0),
        node("Expand", "x a", "f"),
        node("Expand", "x b", "g"),
        node("Exp", "f", "e"),
        node("Sin", "g", "h"),
        node("Mul", "e h", "y"),
    ]
    held = {"zero": [0], "one": [1], "two": [2], "three": 3}
    before = model(nodes, ["y"], {k: np.asarray(v, np.int64) for k, v in held.items()})
    before.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "R"
    after, report = optimize(before, Options(verify=False))
    x = np.ones((2, 3), np.float32)
    assert np.array_equal(run(after, {"x": x})[0], run(before, {"x": x})[0])
    assert [n.op_type for n in after.graph.node].count("Expand") == 1
    assert report.repeated >= 2


@pytest.mark.parametrize("place", [0, 1000, 2099])
def test_constants_that_differ_anywhere(place: int) -> None:
    big, other = value(1, 3, 700), value(1, 3, 700)
    other.flat[place] += 1
    nodes = [node("MatMul", "x v", "a"), node("MatMul", "x w", "b"), node("Mul", "a b", "y")]
    assert operators(model(nodes, ["y"], {"v": big, "w": other}), 0) == ["MatMul", "MatMul", "Mul"]


def test_equal_bytes_of_another_type_or_shape() -> None:
    bits = np.array([[1, 2, 3]], np.int32)
    constants = {"i": bits, "f": bits.view(np.float32), "t": bits.view(np.float32).T.copy()}
    nodes = [node("Cast", "i", "c", to=FLOAT), node("Mul", "x f", "a"), node("Mul", "x c", "b")]
    nodes += [node("MatMul", "x t", "d"), helper.make_node("Sum", ["a", "b", "d"], ["y"])]
    operators(model(nodes, ["y"], constants), 0)


def test_attributes_make_a_difference() -> None:
    nodes = [node("LeakyRelu", "x", "a", alpha=0.5), node("LeakyRelu", "x", "b", alpha=0.25)]
    nodes += [node("LeakyRelu", "x", "c", alpha=0.5)]
    nodes += [helper.make_node("Concat", ["a", "b", "c"], ["y"], axis=0)]
    assert operators(model(nodes, ["y"]), 1) == ["LeakyRelu", "LeakyRelu", "Concat"]


def test_outputs_keep_their_names() -> None:
    nodes = [node("Exp", "x", "a"), node("Relu", "a", "z"), node("Exp", "x", "y")]
    assert operators(model(nodes, ["y", "z"]), 1) == ["Exp", "Relu"]


def test_two_outputs_that_are_equal_stay_two() -> None:
    nodes = [node("Exp", "x", "y"), node("Exp", "x", "z"), node("Relu", "z", "w")]
    assert operators(model(nodes, ["y", "z", "w"]), 0) == ["Exp", "Exp", "Relu"]
    nodes += [node("Relu", "y", "v")]
    assert operators(model(nodes, ["y", "z", "w", "v"]), 0) == ["Exp", "Exp", "Relu", "Relu"]


@pytest.mark.parametrize("op", ["RandomUniformLike", "RandomNormalLike", "Bernoulli"])
def test_what_draws_is_never_equal(op: str) -> None:
    nodes = [node("Sigmoid", "x", "s"), node(op, "s", "a"), node(op, "s", "b")]
    nodes += [node("Sub", "a b", "y")]
    after, report = optimize(model(nodes, ["y"]), Options(verify=False))
    assert [n.op_type for n in after.graph.node] == ["Sigmoid", op, op, "Sub"]
    assert report.repeated == 0


def test_kept_nodes_stay() -> None:
    nodes = [node("Exp", "x", "a", name="k"), node("Exp", "x", "b", name="k2")]
    before = model([*nodes, node("Mul", "a b", "y")], ["y"])
    after, _ = optimize(before, Options(verify=False, keep=("k*",)))
    assert after.graph.node == before.graph.node


def choice(output: str, slope: float, read: str = "a") -> NodeProto:
    """An If whose bodies read a tensor from outside."""

    def body(name: str, alpha: float) -> Any:
        made = node("LeakyRelu", read, f"{name}_made", alpha=alpha)
        made_info = helper.make_tensor_value_info(f"{name}_made", FLOAT, ["m", "n"])
        return helper.make_graph([made], name, [], [made_info])

    return helper.make_node(
        "If", ["c"], [output], then_branch=body("t", slope), else_branch=body("e", 1.0)
    )


def choosing(nodes: Sequence[NodeProto]) -> ModelProto:
    """A model whose condition a caller may give: which branch is taken is not known."""
    made = model(nodes, ["y"], {"c": np.array(True)})
    made.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    return made


@pytest.mark.parametrize(("slope", "repeated"), [(0.5, 1), (0.25, 0)])
def test_bodies_are_compared(slope: float, repeated: int) -> None:
    nodes = [node("Exp", "x", "a"), choice("p", 0.5), choice("q", slope), node("Sub", "p q", "y")]
    left = operators(choosing(nodes), repeated)
    assert left.count("If") == 2 - repeated


def test_what_a_body_reads_stays_by_its_name() -> None:
    nodes = [node("Exp", "x", "b"), node("Exp", "x", "a"), choice("p", 0.5)]
    nodes += [node("Sub", "p b", "y")]
    assert operators(choosing(nodes), 1) == ["Exp", "If", "Sub"]


def test_initializers_that_a_caller_may_give_are_not_equal() -> None:
    nodes = [node("MatMul", "x v", "a"), node("MatMul", "x w", "b"), node("Mul", "a b", "y")]
    before = model(nodes, ["y"], {"v": value(1, 3, 2), "w": value(1, 3, 2)})
    before.graph.input.append(helper.make_tensor_value_info("w", FLOAT, [3, 2]))
    after, report = optimize(before, Options(verify=False))
    assert len(after.graph.node) == 3
    assert report.repeated == 0


def test_time_is_linear_in_the_readers_of_one_constant() -> None:
    """Four times the nodes take about four times as long, not sixteen."""
    import time

    def seconds(count: int) -> float:
        nodes = [node("Pow", "x two", f"a{i}") for i in range(count)]
        nodes += [helper.make_node("Sum", [f"a{i}" for i in range(count)], ["y"])]
        before = model(nodes, ["y"], {"two": np.array(2, np.float32)})
        start = time.process_time()
        assert optimize(before, Options(verify=False))[1].repeated == count - 1
        return time.process_time() - start

    seconds(500)
    assert seconds(4000) < 10 * seconds(1000)
