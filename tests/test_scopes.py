"""The same pipeline inside of bodies of If, Loop and Scan, and of functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from drawing import Drawn
from exact import attempted, feeds, session
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from nesting import KINDS, insides, nested
from networks import acnet_blocks, graphs
from onnx import ModelProto, helper, numpy_helper

from onnxac.pipeline import Options, optimize
from onnxac.proof.certificate import certify
from onnxac.report import FAILS, HOLDS

MODELS = Path(__file__).parents[1] / "models" / "onnx"


def count(nodes: object) -> int:
    return sum(n.op_type != "Constant" for n in nodes)  # type: ignore[attr-defined]


@settings(deadline=None)
@given(st.one_of(acnet_blocks(), graphs()), st.sampled_from(KINDS))
def test_what_is_inside_computes_the_same(drawn: Drawn, kind: str) -> None:
    note(f"{kind}: {drawn}")
    assume(drawn.model.opset_import[0].version >= 13)
    before = nested(drawn.model, kind)
    onnx.checker.check_model(before)
    text = before.SerializeToString(deterministic=True)
    after, _report = optimize(before, Options(verify=False))
    assert before.SerializeToString(deterministic=True) == text
    note(f"after: {[[n.op_type for n in body.node] for body in insides(after)]}")
    onnx.checker.check_model(after)
    original, changed = session(before), session(after)
    for seed, sizes in enumerate(drawn.sizes):
        values = feeds(before, seed, sizes)
        expected = attempted(original, values)
        if expected is not None:
            found = attempted(changed, values)
            assume(found is not None)
            assert found is not None
            for want, have in zip(expected, found, strict=True):
                assert np.array_equal(have, want), sizes
    for body in insides(after):
        assert count(body.node) <= count(drawn.model.graph.node) + 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["acb_p1/L", "dbb/L", "repvgg/L", "sesr/D", "lora_mlp/L"])
def test_as_much_is_merged_as_in_the_main_graph(name: str, kind: str) -> None:
    model = onnx.load(MODELS / f"{name}.onnx")
    alone, expected = optimize(model, Options(verify=False))
    after, report = optimize(nested(model, kind))
    least = count(alone.graph.node)
    for body in insides(after):
        assert count(body.node) in (least, least + (kind in ("loop", "loop in if")), 1)
    bodies = 2 if kind in ("then_branch", "else_branch", "loop in if") else 1
    assert len(report.fusions) == bodies * len(expected.fusions)
    assert all(f.place for f in report.fusions)
    verdicts = [f.certificate.verdict for f in report.fusions if f.certificate is not None]
    assert verdicts == [HOLDS] * len(report.fusions)
    assert report.verification is not None
    assert report.verification.passed


def branches(
    then: onnx.GraphProto, other: onnx.GraphProto, *weights: onnx.TensorProto
) -> ModelProto:
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], "either", then_branch=then, else_branch=other)],
        "main",
        [
            helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2, 5, 5]),
            helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", "c", "h", "w"])],
        list(weights),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def two_convs(stem: str, first: str, second: str) -> onnx.GraphProto:
    """conv(x, first) + conv(x, second), the two of them named `NAME`/a and /b."""
    nodes = [
        helper.make_node("Conv", ["x", first], [f"{stem}_a"], f"{stem}/a", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["x", second], [f"{stem}_b"], f"{stem}/b"),
        helper.make_node("Add", [f"{stem}_a", f"{stem}_b"], ["out"], f"{stem}/add"),
    ]
    out = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n", "c", "h", "w"])
    return helper.make_graph(nodes, stem, [], [out])


def weights() -> list[onnx.TensorProto]:
    draw = np.random.default_rng(3).integers
    return [
        numpy_helper.from_array(draw(-4, 5, (3, 2, k, k)).astype(np.float32), f"w{k}")
        for k in (3, 1)
    ]


def test_places_are_told() -> None:
    before = branches(two_convs("t", "w3", "w1"), two_convs("e", "w3", "w1"), *weights())
    after, report = optimize(before)
    assert [f.place for f in report.fusions] == ["else_branch of either", "then_branch of either"]
    assert len({f.key for f in report.fusions}) == 2
    assert [len(b.node) for b in insides(after)] == [1, 1]
    # Nobody reads the old weights any more.
    assert not after.graph.initializer
    assert (report.before.stats.nodes, report.after.stats.nodes) == (7, 3)
    assert "(in then_branch of either)" in str(report)


def test_what_both_bodies_read_stays_as_long_as_one_does() -> None:
    kept = Options(keep=("e/*",))
    before = branches(two_convs("t", "w3", "w1"), two_convs("e", "w3", "w1"), *weights())
    after, report = optimize(before, kept)
    assert [f.place for f in report.fusions] == ["then_branch of either"]
    assert [t.name for t in after.graph.initializer] == ["w3", "w1"]
    assert {(r.node.name, r.place) for r in report.refusals if r.rule == "keep"} == {
        ("e/a", "else_branch of either"),
        ("e/b", "else_branch of either"),
        ("e/add", "else_branch of either"),
    }


def test_kinds_are_left_out_inside() -> None:
    before = branches(two_convs("t", "w3", "w1"), two_convs("e", "w3", "w1"), *weights())
    after, report = optimize(before, Options(verify=False, without=("branches",)))
    assert not report.changed
    assert after == before


def test_new_names_are_no_name_of_any_graph() -> None:
    """Names inside hide those outside: a model with the same one twice is not valid."""
    before = branches(two_convs("t", "w3", "w1"), two_convs("e", "w3", "w1"), *weights())
    after, _ = optimize(before, Options(verify=False))
    names = [t.name for b in insides(after) for t in b.initializer]
    names += [n.output[0] for n in after.graph.node] + [t.name for t in after.graph.initializer]
    assert len(set(names)) == len(names)


def test_certificates_see_what_is_wrong_inside() -> None:
    """A perturbed weight in one body fails that body's certificate, and no other."""
    before = branches(two_convs("t", "w3", "w1"), two_convs("e", "w3", "w1"), *weights())
    after, report = optimize(before, Options(verify=False))
    body = next(a.g for a in after.graph.node[0].attribute if a.name == "then_branch")
    values = numpy_helper.to_array(body.initializer[0]).copy()
    values.flat[5] += 1
    body.initializer[0].CopyFrom(numpy_helper.from_array(values, body.initializer[0].name))
    found = {
        f.place: c.verdict
        for f, c in zip(report.fusions, certify(before, after, report.fusions), strict=True)
    }
    assert found == {"then_branch of either": FAILS, "else_branch of either": HOLDS}


def strided(*strides: int) -> ModelProto:
    """A function of two convolutions whose stride its callers say, called in a row."""
    nodes = [
        helper.make_node("Conv", ["a", "w3"], ["p"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "w1"], ["q"]),
        helper.make_node("Add", ["p", "q"], ["b"]),
    ]
    for conv in nodes[:2]:
        conv.attribute.add(name="strides", ref_attr_name="strides", type=onnx.AttributeProto.INTS)
    function = helper.make_function(
        "local",
        "Block",
        ["a", "w3", "w1"],
        ["b"],
        nodes,
        [helper.make_opsetid("", 17)],
        ["strides"],
    )
    ends = ["x", *(f"s{i}" for i in range(len(strides) - 1)), "y"]
    calls = [
        helper.make_node("Block", [a, "w3", "w1"], [b], domain="local", strides=[s, s])
        for a, b, s in zip(ends[:-1], ends[1:], strides, strict=True)
    ]
    draw = np.random.default_rng(3).integers
    graph = helper.make_graph(
        calls,
        "main",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2, 9, 9])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", "c", "h", "w"])],
        [
            numpy_helper.from_array(draw(-4, 5, (2, 2, k, k)).astype(np.float32), f"w{k}")
            for k in (3, 1)
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=[function])
    onnx.checker.check_model(made)
    return made


def test_an_attribute_that_a_lone_caller_says() -> None:
    after, report = optimize(strided(2))
    assert [n.op_type for n in after.functions[0].node] == ["Constant", "Conv"]
    # Its weights are its own by now: nobody hands them over.
    assert list(after.functions[0].input) == ["a"]
    assert list(after.graph.node[0].input) == ["x"]
    assert not after.graph.initializer
    assert [f.certificate.verdict for f in report.fusions if f.certificate] == [HOLDS]
    assert report.fusions[0].place == "function local.Block"


def test_attributes_that_calls_differ_over() -> None:
    before = strided(1, 2)
    after, report = optimize(before)
    assert after == before
    assert {(r.rule, r.place) for r in report.refusals if r.place} == {
        ("reference", "function local.Block")
    }


@pytest.mark.parametrize("shared", [True, False])
def test_what_two_bodies_read_is_not_stored_twice(shared: bool) -> None:
    """A constant that is computed from a weight outside would be a copy of it in each of them."""

    def body(stem: str, weight: str) -> onnx.GraphProto:
        nodes = [
            helper.make_node("Transpose", [weight], [f"{stem}_t"], perm=[1, 0, 2, 3]),
            helper.make_node("Relu", ["x"], [f"{stem}_r"]),
            helper.make_node("Conv", [f"{stem}_r", f"{stem}_t"], ["out"]),
        ]
        out = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n", "c", "h", "w"])
        return helper.make_graph(nodes, stem, [], [out])

    held = [
        numpy_helper.from_array(np.ones((2, 64, 1, 1), np.float32), name) for name in ("v", "w")
    ]
    before = branches(body("t", "w"), body("e", "w" if shared else "v"), *held)
    after, _ = optimize(before, Options(verify=False))
    left = [[n.op_type for n in b.node] for b in insides(after)]
    assert left == [["Transpose", "Relu", "Conv"] if shared else ["Relu", "Conv"]] * 2
    assert after.ByteSize() <= before.ByteSize()
