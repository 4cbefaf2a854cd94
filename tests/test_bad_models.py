"""Input that can't be used: one line that says what and where, or the node is left alone.

Neither a traceback nor a wrong model may come of it. What the checker catches is a
ModelError; what it lets pass must not be fused, since nobody knows what it means.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxac.errors import ModelError, UnsupportedError
from onnxac.pipeline import Options, optimize

FLOAT = TensorProto.FLOAT


def model(
    nodes: Sequence[NodeProto],
    weights: dict[str, Any],
    *,
    opset: int = 17,
    shape: Sequence[int] = (1, 2, 5, 5),
    output: Sequence[int | None] = (None,) * 4,
) -> ModelProto:
    tensors = [
        numpy_helper.from_array(w if w.dtype.kind == "i" else w.astype(np.float32), n)
        for n, w in ((n, np.asarray(w)) for n, w in weights.items())
    ]
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, output)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def conv(inputs: Sequence[str], output: str = "t", **attributes: Any) -> NodeProto:
    return helper.make_node("Conv", list(inputs), [output], name=output, **attributes)


def scaled(node: NodeProto, weights: dict[str, Any], **more: Any) -> ModelProto:
    """The node, and a scale that would be folded into it if all were well."""
    scale = helper.make_node("Mul", ["t", "two"], ["y"], name="scale")
    return model([node, scale], {**weights, "two": np.float32(2)}, **more)


def attempt(before: ModelProto) -> ModelProto | None:
    """The optimized model; None for a ModelError, which has to be one line."""
    try:
        return optimize(before, Options(verify=False))[0]
    except ModelError as error:
        said = str(error)
    assert "\n" not in said
    return None


def assert_left_alone(before: ModelProto) -> None:
    """Nothing is fused, and nothing is raised but a ModelError."""
    after = attempt(before)
    if after is not None:
        assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]


# Files.


FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "text": (b"once upon a time", "not an ONNX model"),
    "json": (b'{"ir_version": 8}', "not an ONNX model"),
    "zeros": (bytes(100), "not an ONNX model"),
    "no graph": (ModelProto(ir_version=8).SerializeToString(), "no graph"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_is_no_model(what: str, tmp_path: Path) -> None:
    content, said = FILES[what]
    path = tmp_path / "in.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=said) as error:
        optimize(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        optimize(tmp_path / "in.onnx")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder"):
        optimize(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_file_that_was_cut_short(share: float, tmp_path: Path) -> None:
    whole = scaled(conv(["x", "w"]), {"w": np.ones((2, 2, 3, 3))}).SerializeToString()
    path = tmp_path / "in.onnx"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError):
        optimize(path)


# What the checker notices.


def valid() -> ModelProto:
    return scaled(conv(["x", "w"]), {"w": np.ones((2, 2, 3, 3))})


def newer_ir(made: ModelProto) -> None:
    made.ir_version = 99


def newer_opset(made: ModelProto) -> None:
    made.opset_import[0].version = 9999


def undefined_name(made: ModelProto) -> None:
    made.graph.node[0].input[0] = "nothing"


def written_twice(made: ModelProto) -> None:
    made.graph.node[1].output[0] = "t"


def cycle(made: ModelProto) -> None:
    made.graph.node[0].input[0] = "y"


def out_of_order(made: ModelProto) -> None:
    first = made.graph.node.pop(0)
    made.graph.node.append(first)


def unknown_operator(made: ModelProto) -> None:
    made.graph.node[0].op_type = "Convolution"


def unknown_domain(made: ModelProto) -> None:
    made.graph.node[0].domain = "org.example"


def no_opset(made: ModelProto) -> None:
    del made.opset_import[:]


def wrong_attribute_type(made: ModelProto) -> None:
    made.graph.node[0].attribute.append(helper.make_attribute("group", "two"))


def unknown_attribute(made: ModelProto) -> None:
    made.graph.node[0].attribute.append(helper.make_attribute("padding", 1))


def data_of_wrong_length(made: ModelProto) -> None:
    made.graph.initializer[0].raw_data = made.graph.initializer[0].raw_data[:-4]


def negative_dim(made: ModelProto) -> None:
    made.graph.initializer[0].dims[0] = -2


def huge_dims(made: ModelProto) -> None:
    made.graph.initializer[0].dims[:] = [2**40, 2**40]


def no_inputs(made: ModelProto) -> None:
    del made.graph.node[0].input[:]


INVALID = [
    newer_ir,
    newer_opset,
    undefined_name,
    written_twice,
    cycle,
    out_of_order,
    unknown_operator,
    unknown_domain,
    no_opset,
    wrong_attribute_type,
    unknown_attribute,
    data_of_wrong_length,
    negative_dim,
    huge_dims,
    no_inputs,
]


@pytest.mark.parametrize("spoil", INVALID, ids=lambda f: f.__name__)
@pytest.mark.parametrize("from_file", [False, True])
def test_a_model_that_is_not_valid(spoil: Any, from_file: bool, tmp_path: Path) -> None:
    made = valid()
    spoil(made)
    source: Any = made
    if from_file:
        source = tmp_path / "in.onnx"
        source.write_bytes(made.SerializeToString())
    with pytest.raises(ModelError) as error:
        optimize(source, Options(verify=False))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("spoil", [newer_ir, newer_opset], ids=lambda f: f.__name__)
def test_a_model_that_is_newer_than_onnx(spoil: Any) -> None:
    made = valid()
    spoil(made)
    with pytest.raises(UnsupportedError, match="upgrade onnx"):
        optimize(made)


def test_duplicate_initializers() -> None:
    """One runtime takes the first, another the last: not to be guessed."""
    made = valid()
    again = numpy_helper.from_array(np.zeros((2, 2, 3, 3), np.float32), "w")
    made.graph.initializer.append(again)
    with pytest.raises(ModelError, match="w"):
        optimize(made, Options(verify=False))


def test_data_of_another_folder(tmp_path: Path) -> None:
    made = valid()
    (tmp_path / "secret").write_bytes(bytes(144))
    tensor = made.graph.initializer[0]
    point(tensor, location="../secret", length=144)
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "in.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(ModelError):
        optimize(path, Options(verify=False))


def point(tensor: TensorProto, **entries: Any) -> None:
    """Say that the data lies in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))


RANGES: dict[str, dict[str, int]] = {
    "offset beyond the file": {"offset": 4096, "length": 144},
    "length beyond the file": {"offset": 0, "length": 14400},
    "negative offset": {"offset": -8, "length": 144},
    "less than the shape takes": {"offset": 0, "length": 140},
}


@pytest.mark.parametrize("what", RANGES)
def test_data_that_is_not_all_there(what: str, tmp_path: Path) -> None:
    made = valid()
    (tmp_path / "data").write_bytes(bytes(144))
    point(made.graph.initializer[0], location="data", **RANGES[what])
    path = tmp_path / "in.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(ModelError) as error:
        optimize(path, Options(verify=False))
    assert "\n" not in str(error.value)


def test_missing_data(tmp_path: Path) -> None:
    made = valid()
    point(made.graph.initializer[0], location="data", length=144)
    path = tmp_path / "in.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(ModelError, match="data"):
        optimize(path, Options(verify=False))


# What the checker does not notice.


W3, W1 = np.ones((2, 2, 3, 3)), np.ones((2, 2, 1, 1))
ODD: dict[str, ModelProto] = {
    "kernel_shape is not the weight's": scaled(conv(["x", "w"], kernel_shape=[5, 5]), {"w": W3}),
    "group does not divide": scaled(conv(["x", "w"], group=3), {"w": W3}),
    "group 0": scaled(conv(["x", "w"], group=0), {"w": W3}),
    "negative group": scaled(conv(["x", "w"], group=-2), {"w": W3}),
    "a weight of rank 2": scaled(conv(["x", "w"]), {"w": np.ones((2, 2))}),
    "a weight of rank 3 on a map": scaled(conv(["x", "w"]), {"w": np.ones((2, 2, 3))}),
    "a weight of other channels": scaled(conv(["x", "w"]), {"w": np.ones((2, 5, 3, 3))}),
    "stride 0": scaled(conv(["x", "w"], strides=[0, 1]), {"w": W3}),
    "negative stride": scaled(conv(["x", "w"], strides=[-1, 1]), {"w": W3}),
    "dilation 0": scaled(conv(["x", "w"], dilations=[0, 1]), {"w": W3}),
    "negative pads": scaled(conv(["x", "w"], pads=[-1, 0, 0, 0]), {"w": W3}),
    "two pads for two axes": scaled(conv(["x", "w"], pads=[1, 1]), {"w": W3}),
    "three strides for two axes": scaled(conv(["x", "w"], strides=[1, 1, 1]), {"w": W3}),
    "an unknown auto_pad": scaled(conv(["x", "w"], auto_pad="SOMEHOW"), {"w": W3}),
    "a kernel larger than the map": scaled(conv(["x", "w"]), {"w": np.ones((2, 2, 9, 9))}),
    "a bias of wrong length": scaled(conv(["x", "w", "b"]), {"w": W3, "b": np.ones(3)}),
    "a bias of rank 2": scaled(conv(["x", "w", "b"]), {"w": W3, "b": np.ones((2, 1))}),
    "an empty weight": scaled(conv(["x", "w"]), {"w": np.ones((0, 2, 3, 3))}),
    "an empty kernel": scaled(conv(["x", "w"]), {"w": np.ones((2, 2, 0, 3))}),
    "an integer weight": scaled(conv(["x", "w"]), {"w": np.ones((2, 2, 3, 3), np.int64)}),
    "output_padding beyond the stride": scaled(
        helper.make_node("ConvTranspose", ["x", "w"], ["t"], output_padding=[3, 3]), {"w": W3}
    ),
}


@pytest.mark.parametrize("what", ODD)
def test_a_convolution_that_makes_no_sense_is_left_alone(what: str) -> None:
    assert_left_alone(ODD[what])


NORMS: dict[str, dict[str, Any]] = {
    "statistics of wrong length": {"m": np.zeros(3)},
    "a scale of wrong length": {"g": np.ones(3)},
    "one statistic for all": {"m": np.zeros(1)},
    "a negative variance": {"v": np.array([1.0, -1.0])},
    "no number": {"v": np.array([1.0, np.nan])},
}


@pytest.mark.parametrize("what", NORMS)
def test_a_normalization_that_makes_no_sense_is_left_alone(what: str) -> None:
    held = {
        "w": W1,
        "g": np.ones(2),
        "b": np.ones(2),
        "m": np.zeros(2),
        "v": np.ones(2),
        **NORMS[what],
    }
    norm = helper.make_node("BatchNormalization", ["t", "g", "b", "m", "v"], ["y"], name="bn")
    assert_left_alone(model([conv(["x", "w"]), norm], held))


def moved(op: str, operands: dict[str, Sequence[int]], **attributes: Any) -> ModelProto:
    """A Slice or Pad with these operands, and a 1x1 behind it."""
    node = helper.make_node(op, ["x", *operands], ["t"], name="moved", **attributes)
    weights = {k: np.asarray(v, np.int64) for k, v in operands.items()}
    return model([node, conv(["t", "w"], "y")], {**weights, "w": W1})


MOVES: dict[str, ModelProto] = {
    "an axis that is not there": moved("Slice", {"s": [1], "e": [2], "a": [7]}),
    "more starts than axes": moved("Slice", {"s": [1, 1], "e": [2, 2], "a": [2]}),
    "more starts than ends": moved("Slice", {"s": [1, 1], "e": [2], "a": [2]}),
    "more steps than axes": moved("Slice", {"s": [1], "e": [2], "a": [2], "t": [1, 1]}),
    "the same axis twice": moved("Slice", {"s": [1, 1], "e": [4, 4], "a": [2, 2]}),
    "step 0": moved("Slice", {"s": [1], "e": [2], "a": [2], "t": [0]}),
    "backwards": moved("Slice", {"s": [4], "e": [0], "a": [2], "t": [-1]}),
    "nothing left": moved("Slice", {"s": [3], "e": [2], "a": [2]}),
    "too few pads": moved("Pad", {"p": [0, 0, 1, 1]}),
    "an unknown mode": moved("Pad", {"p": [0, 0, 1, 1, 0, 0, 1, 1]}, mode="nearest"),
    "more reflection than there is": moved("Pad", {"p": [0, 0, 9, 0, 0, 0, 9, 0]}, mode="reflect"),
}


@pytest.mark.parametrize("what", MOVES)
def test_a_crop_or_padding_that_makes_no_sense(what: str) -> None:
    assert_left_alone(MOVES[what])


LINEAR: dict[str, list[NodeProto]] = {
    "features that differ": [
        helper.make_node("Flatten", ["x"], ["t"]),
        helper.make_node("MatMul", ["t", "m"], ["u"]),
        helper.make_node("MatMul", ["u", "n"], ["y"]),
    ],
    "a Gemm of features that differ": [
        helper.make_node("Flatten", ["x"], ["t"]),
        helper.make_node("Gemm", ["t", "m"], ["u"]),
        helper.make_node("Gemm", ["u", "n"], ["y"]),
    ],
}


@pytest.mark.parametrize("what", LINEAR)
def test_matrices_that_do_not_fit(what: str) -> None:
    weights = {"m": np.ones((7, 4)), "n": np.ones((4, 2))}
    made = model(LINEAR[what], weights, output=(None, None))
    attempt(made)


def test_a_constant_that_would_fill_the_memory_is_never_made() -> None:
    """160 GB of zeros, from an operand of 16 bytes."""
    fill = helper.make_node("ConstantOfShape", ["s"], ["big"], name="big")
    reduce = helper.make_node("ReduceMax", ["big"], ["most"], keepdims=0)
    add = helper.make_node("Add", ["x", "most"], ["y"])
    made = model([fill, reduce, add], {"s": np.asarray([200_000, 200_000], np.int64)})
    after, _ = optimize(made, Options(verify=False))
    assert after.graph.node == made.graph.node


def test_a_constant_that_can_not_be_computed() -> None:
    """The weight's own Reshape does not fit: no traceback, and no guess."""
    reshape = helper.make_node("Reshape", ["flat", "dims"], ["w"], name="reshape")
    weights = {"flat": np.ones(35), "dims": np.asarray([2, 2, 3, 3], np.int64)}
    made = model([reshape, conv(["x", "w"]), helper.make_node("Neg", ["t"], ["y"])], weights)
    after = attempt(made)
    assert after is None or after.graph.node == made.graph.node


def test_a_wide_graph_and_a_deep_one() -> None:
    """Nothing recurses: three thousand nodes in a row, and as many on one tensor."""
    deep = [helper.make_node("Neg", [f"t{i}" if i else "x"], [f"t{i + 1}"]) for i in range(3000)]
    wide = [helper.make_node("Relu", ["t3000"], [f"r{i}"]) for i in range(1000)]
    last = helper.make_node("Sum", [n.output[0] for n in wide], ["y"])
    after, _ = optimize(model([*deep, *wide, last], {}), Options(verify=False))
    onnx.checker.check_model(after)
    assert len(after.graph.node) <= 1002


@pytest.mark.parametrize("name", ["y", "conv", "x"])
def test_a_name_that_is_no_text(name: str, tmp_path: Path) -> None:
    """Of an output, a node, an input: what is no UTF-8 reaches Python as bytes."""
    made = model([helper.make_node("Conv", ["x", "w"], ["y"], name="conv")], {"w": W1})
    old = name.encode()
    spoiled = made.SerializeToString().replace(
        bytes([len(old)]) + old, bytes([len(old)]) + b"\xff" * len(old)
    )
    path = tmp_path / "in.onnx"
    path.write_bytes(spoiled)
    with pytest.raises(ModelError, match="UTF-8"):
        optimize(path, Options(verify=False))
