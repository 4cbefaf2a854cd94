"""A result is final: optimizing it again finds nothing, and gives the same bytes."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from test_symbolic_shapes import merged, model, node, random

from onnxac.graph.model import from_proto
from onnxac.inference.facts import Facts
from onnxac.pipeline import Options, inspect, optimize
from onnxac.recipes.steps import size
from onnxac.report import HOLDS, OPEN
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


def test_what_is_squeezed_behind_its_unsqueeze_is_read_in_front() -> None:
    """TensorFlow: a pyramid of convolutions over one axis, some of whose levels are read whole."""
    nodes = [
        node("Pad", ["x", "amounts"], "p"),
        node("Reshape", ["p", "first"], "p4"),
        node("Conv", ["p4", "w"], "a", strides=[1, 2]),
        node("Reshape", ["a", "flat"], "a3"),
        node("Pad", ["a3", "amounts"], "r3", mode="reflect"),
        node("Reshape", ["r3", "second"], "r4"),
        node("Conv", ["r4", "v"], "b", strides=[1, 2]),
        node("Transpose", ["b"], "t", perm=[0, 2, 3, 1]),
        node("Pad", ["a3", "amounts"], "z3"),
        node("Reshape", ["z3", "second"], "z4"),
        node("Conv", ["z4", "w"], "c", strides=[1, 2]),
        node("Reshape", ["c", "last"], "c4"),
        node("Mul", ["t", "c4"], "y"),
    ]
    held = {
        "w": random(1, 1, 1, 5),
        "v": random(3, 1, 1, 5),
        "amounts": [0, 0, 2, 0, 0, 2],
        "first": [-1, 1, 1, 68],
        "flat": [-1, 1, 32],
        "second": [-1, 1, 1, 36],
        "last": [-1, 1, 16, 1],
    }
    # Both levels are one change, and none of their tensors is left that has its old name.
    _is_final(model(nodes, held, ["N", 1, 64]), (2, 1, 64), {HOLDS, OPEN})


def test_a_chain_whose_front_was_merged_is_joined() -> None:
    """A recurrent layer's states, behind which a target of a Reshape is computed."""
    lstm = node("LSTM", ["x", "w", "r"], "h", hidden_size=4)
    nodes = [
        lstm,
        node("Transpose", ["h"], "t", perm=[0, 2, 1, 3]),
        node("Reshape", ["t", "target"], "f"),
        node("Shape", ["f"], "s"),
        node("Gather", ["s", "zero"], "n"),
        node("Gather", ["s", "one"], "m"),
        node("Mul", ["n", "m"], "nm"),
        node("Unsqueeze", ["nm", "axis"], "u"),
        node("Concat", ["u", "width"], "to", axis=0),
        node("Reshape", ["f", "to"], "z"),
        node("Relu", ["z"], "y"),
    ]
    held = {
        "w": random(1, 16, 3),
        "r": random(1, 16, 4),
        "target": [0, 0, -1],
        "zero": np.int64(0),
        "one": np.int64(1),
        "axis": [0],
        "width": [4],
    }
    _is_final(model(nodes, held, ["T", 1, 3]), (6, 1, 3))


def test_transposes_that_a_merge_brought_around_an_activation_go() -> None:
    """Keras: Conv1D along a dynamic axis, beside a branch that is not transposed."""
    nodes, source = [], "x"
    for i in "ab":
        nodes += [
            node("Unsqueeze", [source, "front"], f"u{i}"),
            node("Transpose", [f"u{i}"], f"t{i}", perm=[0, 3, 1, 2]),
            node("Conv", [f"t{i}", "w"], f"c{i}", pads=[0, 1, 0, 1]),
            node("Squeeze", [f"c{i}", "axis"], f"q{i}"),
            node("Transpose", [f"q{i}"], f"r{i}", perm=[0, 2, 1]),
            node("Mul", [source, "scale"], f"m{i}"),
            node("Add", [f"r{i}", f"m{i}"], f"s{i}"),
            node("Relu", [f"s{i}"], f"y{i}"),
        ]
        source = f"y{i}"
    nodes.append(node("Identity", [source], "y"))
    held = {"front": [1], "axis": [2], "w": random(6, 6, 1, 3), "scale": random(6)}
    before = model(nodes, held, ["N", "W", 6])
    _is_final(before, (2, 9, 6))
    assert merged(before, (2, 9, 6)) == ["Transpose", "Conv", "Relu", "Conv", "Transpose", "Relu"]


def test_what_is_merged_in_two_rounds_is_rounded_once() -> None:
    """JAX: a Dense over maps beside a convolution, at a batch of one."""
    nodes = [
        node("Transpose", ["x"], "t", perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w"], "c", pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "g", "b", "m", "v"], "n"),
        node("Transpose", ["n"], "r", perm=[0, 2, 3, 1]),
        node("Reshape", ["x", "flat"], "f"),
        node("Gemm", ["f", "d", "b"], "e"),
        node("Reshape", ["e", "map"], "h"),
        node("Add", ["r", "h"], "a"),
        node("Relu", ["a"], "y"),
    ]
    held = {
        **{n: random(8) for n in "gbm"},
        "v": np.abs(random(8)) + 0.5,
        "w": random(8, 8, 3, 3),
        "d": random(8, 8),
        "flat": [-1, 8],
        "map": [1, 12, 12, 8],
    }
    before = model(nodes, held, [1, 12, 12, 8])
    _is_final(before, (1, 12, 12, 8))
    assert merged(before, (1, 12, 12, 8)) == ["Transpose", "Conv", "Transpose", "Relu"]
    _, report = optimize(before, QUIETLY)
    (change,) = report.fusions
    assert [len(o.branches) for o in change.operators] == [2]
    assert {n.op for n in change.removed} == {n.op_type for n in before.graph.node} - {"Relu"}
    assert change.macs_before is not None
    assert change.macs_after is not None
    assert change.macs_after < change.macs_before


def _is_final(
    before: ModelProto, shape: tuple[int, ...], verdicts: Set[str] = frozenset({HOLDS})
) -> None:
    merged(before, shape)
    once, first = optimize(before)
    assert first.verification is not None
    assert first.verification.passed
    assert all(
        f.added and f.certificate is not None and f.certificate.verdict in verdicts
        for f in first.fusions
    )
    names = {n.name or n.output[0] for n in once.graph.node}
    assert {a.name for f in first.fusions for a in f.added} <= names
    again, report = optimize(once, QUIETLY)
    assert not report.fusions
    assert not report.idle
    assert [n.op_type for n in again.graph.node] == [n.op_type for n in once.graph.node]


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


def test_a_slice_behind_a_transpose_is_as_dear_before_as_after() -> None:
    """Whether it is there or written anew: else the same two nodes would look cheaper each time."""
    nodes = [
        node("Transpose", ["x"], "t", perm=[0, 3, 1, 2]),
        node("Slice", ["t", "starts", "ends", "axes"], "s"),
        node("Relu", ["s"], "y"),
    ]
    held = {"starts": [0], "ends": [3], "axes": [2]}
    before = model(nodes, held, [1, 40, 9, 8])
    assert not inspect(before).fusions
