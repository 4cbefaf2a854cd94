"""A result is final: optimizing it again finds nothing, and gives the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_symbolic_shapes import merged, model, node, random

from onnxac.graph.model import from_proto
from onnxac.inference.facts import Facts
from onnxac.pipeline import Options, inspect, optimize
from onnxac.recipes.steps import size
from onnxac.simplifying import share_constants

MODELS = Path(__file__).parents[1] / "models" / "onnx"
BLOCKS = sorted({p.parent.name for p in MODELS.glob("*/*.onnx")})
QUIETLY = Options(verify=False)


@pytest.mark.parametrize("block", BLOCKS)
def test_nothing_is_left_to_do(block: str) -> None:
    for path in sorted((MODELS / block).glob("*.onnx")):
        once, _ = optimize(path, QUIETLY)
        again, report = optimize(once, QUIETLY)
        assert not report.fusions, path
        assert again.SerializeToString(deterministic=True) == once.SerializeToString(
            deterministic=True
        ), path


def test_a_view_that_only_renames_unit_axes_is_no_node() -> None:
    """Paddle: an assignment, written as an Add of zero between an Unsqueeze and a Squeeze."""
    nodes = [
        node("AveragePool", ["x"], "p", kernel_shape=[3, 2], strides=[3, 2]),
        node("Unsqueeze", ["p", "axis"], "u"),
        node("Add", ["u", "zero"], "a"),
        node("Squeeze", ["a", "axis"], "s"),
        node("Conv", ["s", "w"], "c"),
        node("Relu", ["c"], "r"),
        node("Concat", ["s", "r"], "y", axis=1),
    ]
    held = {"axis": [0], "zero": np.zeros(1), "w": random(6, 4, 1, 1)}
    before = model(nodes, held, ["N", 4, 3, "W"])
    assert merged(before, (2, 4, 3, 8)) == ["AveragePool", "Conv", "Relu", "Concat"]


def test_a_transposition_moves_as_much_as_it_did() -> None:
    """A batch counts as one wherever it stands: else the same nodes would look cheaper."""
    nodes = [node("Add", ["x", "v"], "a"), node("Transpose", ["a"], "y", perm=[3, 0, 1, 2])]
    before = model(nodes, {"v": random(8)}, ["N", 4, "H", 8])
    facts = Facts(from_proto(before))
    assert size(facts.shape("y")) == size(facts.shape("a")) == 4 * 64 * 8
    assert not inspect(before).fusions


def test_a_constant_that_only_a_simplified_body_read_goes() -> None:
    body = helper.make_graph(
        [
            node("Constant", [], "one", value=numpy_helper.from_array(np.ones(1, np.float32))),
            node("Mul", ["one", "scale"], "three"),
            node("Mul", ["x", "three"], "out"),
        ],
        "body",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    held = numpy_helper.from_array(np.full(1, 3, np.float32))
    nodes = [
        node("Constant", [], "scale", value=held),
        node("ReduceSum", ["x"], "t", keepdims=0),
        node("Cast", ["t"], "b", to=TensorProto.BOOL),
        node("If", ["b"], "y", then_branch=body, else_branch=body),
    ]
    after, _ = optimize(model(nodes, {}, [2, 4]), QUIETLY)
    assert "Constant" not in [n.op_type for n in after.graph.node]


def test_an_added_constant_is_one_with_that_of_the_file() -> None:
    nodes = [node("Unsqueeze", ["x", "axes"], "u"), node("Relu", ["u"], "y")]
    graph = from_proto(model(nodes, {"axes": [2]}, [2, 4]))
    facts = Facts(graph)
    (relu,) = [n for n in graph.graph.nodes if n.op == "Relu"]
    inner, out = relu.inputs[0], relu.outputs[0]
    axes = gs.Constant("added", np.asarray([2], np.int64))
    other = gs.Constant("other", np.asarray([1], np.int64))
    squeezed = gs.Variable("s")
    relu.inputs = [squeezed]
    graph.graph.nodes += [gs.Node("Squeeze", "q", {}, [inner, axes], [squeezed])]
    graph.graph.nodes += [gs.Node("Unsqueeze", "v", {}, [out, other], [gs.Variable("z")])]
    share_constants(graph.graph, facts)
    read = {n.name: n.inputs[1].name for n in graph.graph.nodes if n.name in ("q", "v")}
    assert read == {"q": "axes", "v": "other"}
