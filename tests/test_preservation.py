"""What nobody touched comes out as it went in, byte for byte.

Each model here has an ACNet pair that is merged, and beside it something that a graph
library is known to lose. The original protobuf is never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exact import feeds, run
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxac.pipeline import Options, optimize, optimize_file

FLOAT = TensorProto.FLOAT
MAP = [1, 2, 5, 5]
ANY = [None] * 4


def weight(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


def pair(source: str = "x", target: str = "merged") -> list[NodeProto]:
    """Two branches and their sum: what is merged in each of these models."""
    return [
        helper.make_node("Conv", [source, "w3"], [f"{target}_a"], name="a", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", [source, "w1"], [f"{target}_b"], name="b"),
        helper.make_node("Add", [f"{target}_a", f"{target}_b"], [target], name="sum"),
    ]


def info(name: str, shape: Sequence[int | str | None] | None = MAP, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: Sequence[NodeProto],
    *,
    outputs: Sequence[Any] = (),
    inputs: Sequence[Any] = (),
    initializers: Sequence[TensorProto] = (),
    opset: int = 17,
    ir_version: int = 9,
    **more: Any,
) -> ModelProto:
    graph = helper.make_graph(
        [*pair(), *nodes],
        "g",
        [info("x"), *inputs],
        [info("merged"), *outputs],
        [
            numpy_helper.from_array(weight(1, 2, 2, 3, 3), "w3"),
            numpy_helper.from_array(weight(2, 2, 2, 1, 1), "w1"),
            *initializers,
        ],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, **more)


def optimized(before: ModelProto) -> ModelProto:
    """The merged model; the original is untouched, and what was in neither branch is kept."""
    onnx.checker.check_model(before)
    copy = before.SerializeToString(deterministic=True)
    after, _ = optimize(before, Options(verify=False))
    assert before.SerializeToString(deterministic=True) == copy
    onnx.checker.check_model(after)
    merged = [n for n in after.graph.node if "merged" in n.output]
    assert [n.op_type for n in merged] == ["Conv"]
    kept = [n for n in before.graph.node if n.name not in ("a", "b", "sum")]
    assert [n for n in after.graph.node if "merged" not in n.output] == kept
    for field in ("input", "output", "sparse_initializer", "quantization_annotation"):
        assert getattr(after.graph, field) == getattr(before.graph, field)
    return after


def same_results(before: ModelProto, after: ModelProto) -> None:
    values = feeds(before)
    for have, want in zip(run(after, values), run(before, values), strict=True):
        assert np.array_equal(have, want)


# Fields.


def test_every_field_of_the_model() -> None:
    before = model([], doc_string="what it is", model_version=7, domain="org.example")
    before.producer_name, before.producer_version = "someone", "1.2"
    helper.set_model_props(before, {"author": "me"})
    before.graph.doc_string = "the graph"
    before.graph.metadata_props.add(key="of", value="the graph")
    before.opset_import.add(domain="org.example.unused", version=3)
    after = optimized(before)
    for field in (
        "doc_string",
        "model_version",
        "domain",
        "producer_name",
        "producer_version",
        "metadata_props",
        "opset_import",
        "ir_version",
    ):
        assert getattr(after, field) == getattr(before, field)
    assert after.graph.name == "g"
    assert after.graph.doc_string == "the graph"
    assert after.graph.metadata_props == before.graph.metadata_props


def test_every_field_of_a_node_and_a_tensor() -> None:
    node = helper.make_node("Relu", ["merged"], ["y"], name="r", doc_string="a relu")
    node.metadata_props.add(key="namespace", value="/layer")
    odd = helper.make_node("LeakyRelu", ["y"], ["z"], name="l", alpha=0.5)
    odd.attribute[0].doc_string = "a slope"
    output = info("z")
    output.type.denotation = "IMAGE"
    output.type.tensor_type.shape.dim[1].denotation = "DATA_CHANNEL"
    output.doc_string = "the result"
    output.metadata_props.add(key="k", value="v")
    before = model([node, odd], outputs=[output])
    before.graph.value_info.append(info("y"))
    before.graph.value_info[0].doc_string = "in between"
    before.graph.quantization_annotation.add(tensor_name="y").quant_parameter_tensor_names.add(
        key="SCALE_TENSOR", value="w1"
    )
    after = optimized(before)
    assert after.graph.value_info == before.graph.value_info


def test_value_info_of_what_went_is_gone() -> None:
    before = model([])
    before.graph.value_info.extend([info("merged_a"), info("merged_b")])
    assert not optimized(before).graph.value_info


def test_training_info() -> None:
    before = model([])
    before.training_info.add().algorithm.CopyFrom(
        helper.make_graph(
            [],
            "train",
            [],
            [info("step")],
            [numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "step")],
        )
    )
    after, _ = optimize(before, Options(verify=False))
    assert after.training_info == before.training_info


def test_functions_and_overloads() -> None:
    body = [helper.make_node("Relu", ["a"], ["b"], name="inner")]
    function = helper.make_function(
        "local", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)], overload="of_floats"
    )
    function.metadata_props.add(key="k", value="v")
    call = helper.make_node("Twice", ["merged"], ["y"], domain="local", overload="of_floats")
    before = model([call], outputs=[info("y")], functions=[function], ir_version=10)
    before.opset_import.append(helper.make_opsetid("local", 1))
    after = optimized(before)
    assert after.functions == before.functions
    assert after.graph.node[-1].overload == "of_floats"


# Nodes and attributes that are hard to read.


def test_odd_attributes() -> None:
    """Empty lists, and strings that are no text."""
    node = helper.make_node("Odd", ["merged"], ["y"], domain="org.example", name="odd")
    node.attribute.extend(
        [
            helper.make_attribute("blob", b"\xff\xfe\x00"),
            helper.make_attribute("blobs", [b"\xff", b"text"]),
            helper.make_attribute("none", [], attr_type=onnx.AttributeProto.INTS),
            helper.make_attribute("no_words", [], attr_type=onnx.AttributeProto.STRINGS),
            helper.make_attribute("tensors", [numpy_helper.from_array(weight(1, 2), "t")]),
            helper.make_attribute("kind", helper.make_tensor_type_proto(FLOAT, [1])),
            helper.make_attribute(
                "sparse",
                helper.make_sparse_tensor(
                    numpy_helper.from_array(weight(1, 1), "v"),
                    numpy_helper.from_array(np.array([0], np.int64), "i"),
                    [3],
                ),
            ),
        ]
    )
    before = model([node], outputs=[info("y")])
    before.opset_import.append(helper.make_opsetid("org.example", 1))
    optimized(before)


@pytest.mark.parametrize("name", ["", "twin"])
def test_nodes_without_a_name_of_their_own(name: str) -> None:
    nodes = [
        helper.make_node("Relu", ["merged"], ["y"], name=name),
        helper.make_node("Neg", ["y"], ["z"], name=name),
    ]
    # The runtime refuses two nodes of one name; the format allows them.
    optimized(model(nodes, outputs=[info("z")]))


def test_branches_without_a_name() -> None:
    before = model([])
    for node in before.graph.node:
        node.name = ""
    after, report = optimize(before, Options(verify=False))
    same_results(before, after)
    assert {r.name for r in report.fusions[0].removed} == {"merged_a", "merged_b", "merged"}


def test_names_that_a_new_node_might_want() -> None:
    """New names give way to those that are there, inside subgraphs too."""
    nodes = [
        helper.make_node("Relu", ["merged"], ["merged.fused_weight"], name="a_fused"),
        helper.make_node("Neg", ["merged.fused_weight"], ["a_fused_output"], name="a_fused_1"),
    ]
    before = model(nodes, outputs=[info("a_fused_output")])
    same_results(before, optimized(before))


# Tensors that are hard to hold.


TYPES = [
    TensorProto.BFLOAT16,
    TensorProto.FLOAT16,
    TensorProto.FLOAT8E4M3FN,
    TensorProto.FLOAT8E4M3FNUZ,
    TensorProto.FLOAT8E5M2,
    TensorProto.INT4,
    TensorProto.UINT4,
    TensorProto.INT8,
    TensorProto.BOOL,
    TensorProto.COMPLEX64,
]


@pytest.mark.parametrize("kind", TYPES, ids=TensorProto.DataType.Name)
def test_initializers_of_any_type(kind: int) -> None:
    width = (
        8
        if kind == TensorProto.COMPLEX64
        else 2
        if kind in (TensorProto.BFLOAT16, TensorProto.FLOAT16)
        else 1
    )
    count = 2 if kind in (TensorProto.INT4, TensorProto.UINT4) else 1
    tensor = TensorProto(name="odd", data_type=kind, dims=[count], raw_data=b"\x01" * width)
    node = helper.make_node("Identity", ["odd"], ["y"], name="i")
    before = model(
        [node], initializers=[tensor], outputs=[info("y", [count], kind)], opset=21, ir_version=10
    )
    after = optimized(before)
    assert next(t for t in after.graph.initializer if t.name == "odd") == tensor


def test_initializers_that_nobody_reads_go() -> None:
    spare = numpy_helper.from_array(weight(3, 2), "spare")
    after = optimized(model([], initializers=[spare]))
    assert {"w1", "w3", "spare"}.isdisjoint(t.name for t in after.graph.initializer)


def test_an_unread_initializer_that_a_caller_may_give_stays() -> None:
    spare = numpy_helper.from_array(weight(3, 2), "spare")
    before = model([], initializers=[spare], inputs=[info("spare", [2])])
    assert spare in optimized(before).graph.initializer


def test_initializers_that_an_annotation_names_stay() -> None:
    scale = numpy_helper.from_array(weight(3, 1), "scale")
    before = model([], initializers=[scale])
    annotation = before.graph.quantization_annotation.add(tensor_name="merged")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="scale")
    assert scale in optimized(before).graph.initializer


def test_initializers_that_training_reads_stay() -> None:
    rate = numpy_helper.from_array(weight(3, 1), "rate")
    before = model([], initializers=[rate])
    before.training_info.add().algorithm.CopyFrom(
        helper.make_graph(
            [helper.make_node("Neg", ["rate"], ["step"])], "train", [], [info("step", [1])]
        )
    )
    after, _ = optimize(before, Options(verify=False))
    assert rate in after.graph.initializer


def test_weights_that_something_else_reads_stay() -> None:
    node = helper.make_node("Neg", ["w1"], ["y"], name="n")
    before = model([node], outputs=[info("y", [2, 2, 1, 1])])
    after = optimized(before)
    assert {"w1"} < {t.name for t in after.graph.initializer}
    same_results(before, after)


def test_sparse_initializers() -> None:
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(weight(1, 2), "s"),
        numpy_helper.from_array(np.array([0, 3], np.int64), ""),
        [4],
    )
    node = helper.make_node("Identity", ["s"], ["y"], name="i")
    before = model([node], outputs=[info("y", [4])])
    before.graph.sparse_initializer.append(sparse)
    optimized(before)


def test_before_ir_4() -> None:
    """Every initializer is an input; the new ones are listed too, and the old ones go."""
    before = model([], opset=8, ir_version=3)
    before.graph.input.extend([info("w3", [2, 2, 3, 3]), info("w1", [2, 2, 1, 1])])
    onnx.checker.check_model(before)
    after, _ = optimize(before, Options(verify=False))
    onnx.checker.check_model(after)
    (tensor,) = after.graph.initializer
    assert [i.name for i in after.graph.input] == ["x", tensor.name]
    same_results(before, after)


WORDS = TensorProto(
    name="words", data_type=TensorProto.STRING, dims=[2], string_data=[b"a", b"\xff\xfe"]
)


@pytest.mark.parametrize("read", [False, True])
def test_strings_that_are_no_text(read: bool) -> None:
    """A model is not lost to a tensor that nothing here needs."""
    node = helper.make_node("Unique", ["words"], ["y"], name="u")
    before = model(
        [node] if read else [],
        initializers=[WORDS],
        outputs=[info("y", [None], TensorProto.STRING)] if read else [],
    )
    after = optimized(before)
    assert (WORDS in after.graph.initializer) == read


def test_strings_that_are_no_text_in_a_body() -> None:
    word = helper.make_graph(
        [helper.make_node("Constant", [], ["yes"], value=WORDS)],
        "branch",
        [],
        [info("yes", [2], TensorProto.STRING)],
    )
    node = helper.make_node("If", ["flag"], ["y"], name="if", then_branch=word, else_branch=word)
    before = model([node], outputs=[info("y", [2], TensorProto.STRING)])
    before.graph.input.append(info("flag", [], TensorProto.BOOL))
    optimized(before)


# Inputs and outputs that are no tensors.


def test_sequences_and_optionals() -> None:
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    optional = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [1]))
    nodes = [
        helper.make_node("SequenceConstruct", ["merged", "x"], ["s"], name="s"),
        helper.make_node("OptionalHasElement", ["o"], ["has"], name="h"),
    ]
    before = model(
        nodes,
        inputs=[helper.make_value_info("o", optional)],
        outputs=[helper.make_value_info("s", sequence), info("has", [], TensorProto.BOOL)],
    )
    optimized(before)


def test_an_input_that_is_an_output() -> None:
    before = model([], outputs=[info("x")])
    same_results(before, optimized(before))


def test_an_initializer_that_is_an_output() -> None:
    before = model([], outputs=[info("w3", [2, 2, 3, 3])])
    after = optimized(before)
    assert "w3" in {t.name for t in after.graph.initializer}
    same_results(before, after)


# Subgraphs.


def branch(node: NodeProto, *initializers: TensorProto) -> GraphProto:
    return helper.make_graph([node], "branch", [], [info(node.output[0], ANY)], initializers)


def conditional(reads: str) -> NodeProto:
    """An If whose branches read an outer tensor."""
    return helper.make_node(
        "If",
        ["flag"],
        ["y"],
        name="if",
        then_branch=branch(helper.make_node("Relu", [reads], ["yes"])),
        else_branch=branch(helper.make_node("Neg", [reads], ["no"])),
    )


FLAG = numpy_helper.from_array(np.array(True), "given")


def flagged(node: NodeProto, **more: Any) -> ModelProto:
    made = model([node], outputs=[info("y", ANY)], **more)
    made.graph.input.append(info("flag", [], TensorProto.BOOL))
    return made


@pytest.mark.parametrize("reads", ["merged", "x", "w3"])
def test_a_subgraph_reads_from_outside(reads: str) -> None:
    before = flagged(conditional(reads))
    after = optimized(before)
    for flag in (True, False):
        values = {**feeds(before), "flag": np.array(flag)}
        for have, want in zip(run(after, values), run(before, values), strict=True):
            assert np.array_equal(have, want)


def test_a_branch_that_a_subgraph_reads_stays() -> None:
    before = flagged(conditional("merged_a"))
    after, _ = optimize(before, Options(verify=False))
    assert any("merged_a" in n.output for n in after.graph.node)
    values = {**feeds(before), "flag": np.array(True)}
    for have, want in zip(run(after, values), run(before, values), strict=True):
        assert np.array_equal(have, want)


def test_a_subgraph_with_a_weight_of_its_own() -> None:
    node = helper.make_node(
        "If",
        ["flag"],
        ["y"],
        name="if",
        then_branch=branch(
            helper.make_node("Conv", ["merged", "own"], ["yes"]),
            numpy_helper.from_array(weight(4, 2, 2, 1, 1), "own"),
        ),
        else_branch=branch(helper.make_node("Conv", ["merged", "w1"], ["no"])),
    )
    before = flagged(node)
    after = optimized(before)
    assert "w1" in {t.name for t in after.graph.initializer}


def test_loops() -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["going"]),
            helper.make_node("Add", ["state", "merged"], ["next"]),
        ],
        "body",
        [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("state", ANY)],
        [info("going", [], TensorProto.BOOL), info("next", ANY)],
    )
    node = helper.make_node("Loop", ["times", "", "x"], ["y"], name="loop", body=body)
    times = numpy_helper.from_array(np.array(3, np.int64), "times")
    before = model([node], outputs=[info("y", ANY)], initializers=[times])
    same_results(before, optimized(before))


def test_scans() -> None:
    body = helper.make_graph(
        [
            helper.make_node("Add", ["row", "state"], ["sum"]),
            helper.make_node("Identity", ["sum"], ["out"]),
        ],
        "body",
        [info("state", [5, 5]), info("row", [5, 5])],
        [info("sum", [5, 5]), info("out", [5, 5])],
    )
    start = numpy_helper.from_array(np.zeros((5, 5), np.float32), "start")
    nodes = [
        helper.make_node("Squeeze", ["merged", "first"], ["rows"], name="squeeze"),
        helper.make_node(
            "Scan", ["start", "rows"], ["last", "y"], name="scan", body=body, num_scan_inputs=1
        ),
    ]
    first = numpy_helper.from_array(np.array([0], np.int64), "first")
    before = model(nodes, outputs=[info("y", [2, 5, 5])], initializers=[start, first])
    same_results(before, optimized(before))


# External data.


def external(folder: Path) -> Path:
    """A model with its weights in another file, beside a large one that nobody touches."""
    large = numpy_helper.from_array(weight(7, 2, 2, 40, 40), "large")
    node = helper.make_node("Neg", ["large"], ["y"], name="n")
    made = model([node], initializers=[large], outputs=[info("y", [2, 2, 40, 40])])
    folder.mkdir(exist_ok=True)
    onnx.save(
        made, folder / "in.onnx", save_as_external_data=True, location="in.data", size_threshold=0
    )
    return folder / "in.onnx"


def test_external_data_away_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = external(tmp_path / "models")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    optimize_file(source, tmp_path / "out.onnx", Options(verify=False))
    before, after = onnx.load(source), onnx.load(tmp_path / "out.onnx")
    assert [n.op_type for n in after.graph.node] == ["Conv", "Neg"]
    same_results(before, after)
    held = {t.name: t for t in after.graph.initializer}
    stored = {t.name: t for t in before.graph.initializer}
    have, want = (numpy_helper.to_array(h["large"]) for h in (held, stored))
    assert np.array_equal(have, want)


def test_external_data_is_copied_not_moved(tmp_path: Path) -> None:
    source = external(tmp_path / "models")
    before = {p.name: p.read_bytes() for p in source.parent.iterdir()}
    optimize_file(source, tmp_path / "out.onnx", Options(verify=False))
    assert {p.name: p.read_bytes() for p in source.parent.iterdir()} == before
    (tmp_path / "models" / "in.data").unlink()
    onnx.load(tmp_path / "out.onnx")
