"""Models whose shapes are computed at run time, merged as if they were written down.

Exporters take `Shape` of a tensor with a dynamic batch apart and put it together again: as the
target of a Reshape behind a Dense layer, of an Expand that makes a border, as the sizes of a
Resize. What follows from the model's inputs is known all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxac.graph.model import from_proto
from onnxac.inference.dims import Extent, larger, minus, product
from onnxac.inference.facts import Facts
from onnxac.pipeline import Options, optimize
from onnxac.proof.judging.identity import Likeness, Side

FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64
Shape = Sequence[int | str | None]


def node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op, list(inputs), [output], **attributes)


def model(
    nodes: Sequence[NodeProto], held: Mapping[str, Any], shape: Shape | None, *, opset: int = 18
) -> ModelProto:
    """From x to y; integers are kept as they are, floats become float32."""
    tensors = []
    for name, value in held.items():
        array = np.asarray(value)
        kind = np.float32 if array.dtype.kind == "f" else np.int64
        tensors.append(numpy_helper.from_array(array.astype(kind), name))
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(made: ModelProto, x: Any) -> Any:
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def merged(before: ModelProto, *shapes: Sequence[int]) -> list[str]:
    """Operators of the optimized model, which computes the same at all these sizes."""
    after, _ = optimize(before, Options(verify=False))
    for shape in shapes:
        x = np.random.default_rng(7).standard_normal(shape).astype(np.float32)
        have, want = run(after, x), run(before, x)
        assert have.shape == want.shape
        assert np.allclose(have, want, atol=1e-5 * float(np.abs(want).max()))
    return [n.op_type for n in after.graph.node]


def random(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


# Targets that are put together from a shape.


def batch(source: str = "x") -> list[NodeProto]:
    """The batch of a tensor, as a vector n."""
    return [node("Shape", [source], "s"), node("Slice", ["s", "zero", "one"], "n")]


BATCH = {"zero": [0], "one": [1]}


def test_a_dense_layer_over_a_sequence() -> None:
    """Keras: rows of all positions, and back by Gather, Concat and two Casts."""
    nodes = [
        node("Reshape", ["x", "rows"], "r"),
        node("MatMul", ["r", "w"], "m"),
        node("Shape", ["x"], "s"),
        node("Cast", ["s"], "s32", to=INT32),
        node("Gather", ["s32", "places"], "g", axis=0),
        node("Cast", ["g"], "g64", to=INT64),
        node("Concat", ["g64", "out"], "target", axis=0),
        node("Reshape", ["m", "target"], "back"),
        node("Mul", ["back", "scale"], "y"),
    ]
    held = {"rows": [-1, 6], "w": random(6, 8), "places": [0, 1], "out": [8], "scale": random(8)}
    shapes: list[list[int | str | None]] = [["N", 5, 6], ["N", "L", 6]]
    for shape in shapes:
        assert merged(model(nodes, held, shape), (2, 5, 6), (3, 5, 6)) == ["MatMul"]


@pytest.mark.parametrize("greatest", [False, True])
def test_a_border_that_is_expanded(greatest: bool) -> None:
    """Paddle's Diverse Branch Block: the inner bias, expanded to a border and joined to the map."""
    nodes = [node("Conv", ["x", "w", "b"], "c"), *batch("c")]
    held: dict[str, Any] = {"w": random(6, 4, 1, 1), "b": random(6), "v": random(5, 6, 3, 3)}
    held |= {"column": np.reshape(held["b"], (1, 6, 1, 1)), **BATCH}
    inner = "c"
    for axis, rest in ((2, [6, 1, 8]), (3, [6, 10, 1])):
        target = f"t{axis}"
        held[f"rest{axis}"] = rest
        nodes.append(node("Concat", ["n", f"rest{axis}"], target, axis=0))
        if greatest:
            held[f"least{axis}"] = [1, 6, 1, 1]
            nodes.append(node("Max", [f"least{axis}", target], f"m{axis}"))
            target = f"m{axis}"
        nodes.append(node("Expand", ["column", target], f"e{axis}"))
        nodes.append(node("Concat", [f"e{axis}", inner, f"e{axis}"], f"j{axis}", axis=axis))
        inner = f"j{axis}"
    nodes.append(node("Conv", [inner, "v"], "y"))
    assert merged(model(nodes, held, ["N", 4, 8, 8]), (1, 4, 8, 8), (3, 4, 8, 8)) == ["Conv"]


def test_a_reshape_to_the_same_shape() -> None:
    nodes = [
        node("Conv", ["x", "w"], "c"),
        node("Shape", ["c"], "s"),
        node("Split", ["s"], "n", num_outputs=4),
        node("Concat", ["n", "six", "h", "open"], "target", axis=0),
        node("Reshape", ["c", "target"], "r"),
        node("Conv", ["r", "v"], "y"),
    ]
    nodes[2].output.extend(["c1", "h", "w1"])
    held = {"w": random(6, 4, 1, 1), "v": random(3, 6, 1, 1), "six": [6], "open": [-1]}
    before = model(nodes, held, ["N", 4, "H", "W"])
    assert merged(before, (2, 4, 5, 7), (1, 4, 6, 3)) == ["Conv"]


def test_a_flattening_of_dynamic_extents() -> None:
    """TensorFlow: the product of all extents but the first is computed; the map is 4x4."""
    nodes = [
        node("Shape", ["x"], "s"),
        node("Slice", ["s", "one", "four"], "rest"),
        node("ReduceProd", ["rest"], "features", keepdims=1),
        node("Concat", ["open", "features"], "target", axis=0),
        node("Reshape", ["x", "target"], "r"),
        node("MatMul", ["r", "w"], "m"),
        node("Mul", ["m", "scale"], "y"),
    ]
    held = {"one": [1], "four": [4], "open": [-1], "w": random(32, 3), "scale": random(3)}
    operators = merged(model(nodes, held, ["N", 2, 4, 4]), (2, 2, 4, 4), (5, 2, 4, 4))
    assert "Mul" not in operators
    assert not {"Shape", "Slice", "ReduceProd", "Concat"} & set(operators)


def test_the_static_part_of_a_shape_is_folded() -> None:
    """The channels of a map of dynamic size are a number, and what it takes to say so goes."""
    nodes = [
        node("Shape", ["x"], "s"),
        node("Gather", ["s", "place"], "c", axis=0),
        node("Cast", ["c"], "f", to=FLOAT),
        node("Div", ["x", "f"], "d"),
        node("Conv", ["d", "w"], "y"),
    ]
    before = model(nodes, {"place": [1], "w": random(3, 4, 1, 1)}, ["N", 4, "H", "W"])
    assert merged(before, (2, 4, 5, 7), (1, 4, 6, 3)) == ["Conv"]


def test_an_upsampling_to_computed_sizes() -> None:
    """Sizes twice the map's: the sum with a map that a ConvTranspose made is a sum."""
    nodes = [
        node("Conv", ["x", "w"], "c"),
        node("Shape", ["c"], "s"),
        node("Slice", ["s", "two", "four"], "hw"),
        node("Mul", ["hw", "two"], "twice"),
        node("Slice", ["s", "zero", "two"], "nc"),
        node("Concat", ["nc", "twice"], "sizes", axis=0),
        node("Resize", ["c", "", "", "sizes"], "r", mode="nearest"),
        node("ConvTranspose", ["x", "u"], "t", strides=[2, 2]),
        node("Add", ["r", "t"], "y"),
    ]
    held = {"w": random(6, 4, 1, 1), "u": random(4, 6, 2, 2), "zero": [0], "two": [2], "four": [4]}
    facts = Facts(from_proto(model(nodes, held, ["N", 4, "H", "W"])))
    assert facts.shape("r") == facts.shape("t")
    assert facts.shape("y") == facts.shape("t")


def test_what_loses_a_reader_of_its_shape_is_still_compared() -> None:
    """The proof looks at a tensor inside where the same nodes read it, Shape left aside."""
    held = {"w": random(6, 4, 1, 1), "v": random(6, 4, 1, 1)}
    first = model(
        [node("Conv", ["x", "w"], "c"), node("Shape", ["c"], "s"), node("Relu", ["c"], "y")],
        held,
        ["N", 4, "H", "W"],
    )
    second = model([node("Conv", ["x", "v"], "c"), node("Relu", ["c"], "y")], held, None)
    sides = [Side(m, Path()) for m in (first, second)]
    assert Likeness(sides[0], sides[1]).inner() == ["c"]


# Extents that the file does not tell.


@pytest.mark.parametrize("extent", [-1, None, "N"])
def test_a_batch_that_is_not_told(extent: int | str | None) -> None:
    nodes = [node("Conv", ["x", "w"], "c"), node("Conv", ["c", "v"], "d"), node("Relu", ["d"], "y")]
    held = {"w": random(6, 4, 1, 1), "v": random(3, 6, 1, 1)}
    before = model(nodes, held, [extent, 4, "h", "w"])
    assert merged(before, (2, 4, 5, 7)) == ["Conv", "Relu"]


def test_a_rank_that_only_the_weight_tells() -> None:
    """Both convolutions read the same tensor, so that their results have one shape."""
    nodes = [
        node("Conv", ["x", "w"], "c", pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", *"gbmv"], "n"),
        node("Conv", ["x", "p"], "d"),
        node("Add", ["n", "d"], "y"),
    ]
    held = {"w": random(6, 4, 3, 3), "p": random(6, 4, 1, 1), "g": random(6), "b": random(6)}
    held |= {"m": random(6), "v": np.ones(6)}
    assert merged(model(nodes, held, None), (2, 4, 5, 7), (1, 4, 8, 8)) == ["Conv"]


@pytest.mark.parametrize("op", ["MatMul", "Gemm", "Conv", "BatchNormalization"])
def test_channels_that_only_the_weight_tells(op: str) -> None:
    """Exported with every axis dynamic, the channels too, which no other number fits."""
    held = {"w": random(4, 4), "v": random(4, 4)}
    nodes = [node(op, ["x", "w"], "s"), node(op, ["x", "v"], "t"), node("Add", ["s", "t"], "y")]
    shape: tuple[str, ...] = ("M", "K")
    sizes: tuple[int, ...] = (5, 4)
    if op == "Conv":
        held = {"w": random(4, 4, 3, 3), "v": random(4, 4, 3, 3)}
        shape, sizes = ("N", "C", "H", "W"), (1, 4, 6, 7)
    if op == "BatchNormalization":
        held = {n: 1 + np.abs(random(4)) for n in "abcd"}
        nodes = [node(op, ["x", *"abcd"], "s"), node(op, ["s", *"abcd"], "y")]
        shape, sizes = ("N", "C", "H"), (1, 4, 6)
    assert len(merged(model(nodes, held, shape), sizes)) == 1


def test_a_target_may_be_rounded_where_nothing_is_copied_empty() -> None:
    """PyTorch, by torch.export: flattened patches, with allowzero."""
    nodes = [
        node("Conv", ["x", "w"], "c", strides=[4, 4]),
        node("Shape", ["x"], "n", start=0, end=1),
        node("Shape", ["x"], "h", start=2, end=3),
        node("Shape", ["x"], "v", start=3, end=4),
        node("Div", ["h", "four"], "rows"),
        node("Div", ["v", "four"], "columns"),
        node("Mul", ["rows", "columns"], "hw"),
        node("Concat", ["n", "eight", "hw"], "target", axis=0),
        node("Reshape", ["c", "target"], "f", allowzero=1),
        node("Transpose", ["f"], "t", perm=[0, 2, 1]),
        node("Relu", ["t"], "y"),
    ]
    held = {"w": random(8, 3, 4, 4), "four": [4], "eight": [8]}
    before = model(nodes, held, ["N", 3, "H", "W"])
    assert merged(before, (2, 3, 8, 13), (1, 3, 7, 16)) == ["Conv", "Reshape", "Transpose", "Relu"]


def test_a_target_that_asks_for_nothing_stays() -> None:
    """With allowzero a 0 in a target makes an empty tensor, and copies no extent."""
    nodes = [
        node("Shape", ["x"], "n", start=0, end=1),
        node("Concat", ["zero", "n"], "target", axis=0),
        node("Reshape", ["x", "target"], "f", allowzero=1),
        node("Relu", ["f"], "y"),
    ]
    before = model(nodes, {"zero": [0]}, ["N", 0])
    after, _ = optimize(before, Options(verify=False))
    assert "Concat" in [n.op_type for n in after.graph.node]
    assert run(after, np.zeros((2, 0), np.float32)).shape == (0, 2)


def test_zeros_of_a_dynamic_shape_are_added_for_nothing() -> None:
    """PyTorch: torch.zeros_like, whose size is computed."""
    nodes = [
        node("Conv", ["x", "w"], "c", pads=[1, 1, 1, 1]),
        node("Shape", ["x"], "s"),
        node("ConstantOfShape", ["s"], "z"),
        node("Add", ["z", "c"], "a"),
        node("Conv", ["a", "w"], "y"),
    ]
    before = model(nodes, {"w": random(3, 3, 3, 3)}, ["N", 3, "H", "W"])
    assert merged(before, (2, 3, 6, 5)) == ["Conv", "Conv"]


def test_zeros_that_make_a_tensor_larger_stay() -> None:
    nodes = [
        node("Shape", ["x"], "s"),
        node("Concat", ["two", "s"], "wider", axis=0),
        node("ConstantOfShape", ["wider"], "z"),
        node("Add", ["x", "z"], "a"),
        node("Relu", ["a"], "y"),
    ]
    before = model(nodes, {"two": [2]}, ["N", 3])
    assert "Add" in merged(before, (4, 3))


def test_an_extent_may_be_called_like_a_formula() -> None:
    """Half of H, as we write it, as the name of another extent: they are not one."""
    formula = "(1*(H-1)+-1)//2+1"
    pool = node("MaxPool", ["x"], "p", kernel_shape=[2, 2], strides=[2, 2])
    before = model([pool, node("Identity", ["z"], "y")], {}, ["N", 4, "H", "W"])
    shape: list[int | str | None] = ["N", 4, formula, "(H·W)"]
    before.graph.input.append(helper.make_tensor_value_info("z", FLOAT, shape))
    before.graph.output.append(helper.make_tensor_value_info("p", FLOAT, None))
    facts = Facts(from_proto(before))
    pooled, other = facts.shape("p"), facts.shape("z")
    assert pooled is not None
    assert other is not None
    assert str(pooled[2]) == formula
    assert not set(pooled[2:]) & set(other[2:])


# Computations with extents that are one thing at some sizes and another at others.


def padded(*nodes: NodeProto) -> ModelProto:
    """A map that is padded, behind, by what the nodes compute of its width w and height h."""
    before = [
        node("Conv", ["x", "u"], "c"),
        node("Shape", ["x"], "s"),
        node("Gather", ["s", "two"], "h"),
        node("Gather", ["s", "three"], "w"),
    ]
    after = [
        node("Concat", ["none", "amount"], "pads", axis=0),
        node("Pad", ["c", "pads"], "p"),
        node("Conv", ["p", "v"], "y"),
    ]
    held = {"u": random(6, 4, 1, 1), "v": random(3, 6, 1, 1), "none": [0] * 7}
    numbers = {"zero": [0], "two": [2], "three": [3], "seven": [7], "eight": [8]}
    return model([*before, *nodes, *after], held | numbers, ["N", 4, "H", "W"])


PADDED = {
    "to a least width": [node("Sub", ["eight", "w"], "d"), node("Max", ["d", "zero"], "amount")],
    "to a square": [node("Sub", ["h", "w"], "d"), node("Max", ["d", "zero"], "amount")],
    # Swin: windows of 7.
    "to a multiple": [
        node("Mod", ["w", "seven"], "m"),
        node("Sub", ["seven", "m"], "d"),
        node("Mod", ["d", "seven"], "amount"),
    ],
    "to a multiple, by division": [
        node("Div", ["w", "seven"], "m"),
        node("Mul", ["m", "seven"], "d"),
        node("Sub", ["w", "d"], "amount"),
    ],
    # That many columns go; where the map is as wide as that, none do.
    "to a fixed width": [node("Sub", ["eight", "w"], "amount")],
    "by a comparison": [
        node("Less", ["h", "w"], "b"),
        node("Where", ["b", "zero", "two"], "amount"),
    ],
    # NonZero finds that many.
    "by the number of what is found": [
        node("Slice", ["x", "zero", "three", "three"], "few"),
        node("NonZero", ["few"], "found"),
        node("Shape", ["found"], "many"),
        node("Gather", ["many", "one"], "count"),
        node("Sub", ["count", "w"], "amount"),
    ],
}


@pytest.mark.parametrize("how", PADDED)
def test_a_padding_that_depends_on_the_size_stays(how: str) -> None:
    before = padded(*PADDED[how])
    before.graph.initializer.append(numpy_helper.from_array(np.asarray([1]), "one"))
    sizes = [(1, 4, 5, 7), (1, 4, 20, 20), (1, 4, 40, 9), (1, 4, 9, 40), (2, 4, 21, 14)]
    assert "Pad" in merged(before, *sizes)


def test_a_number_of_findings_may_be_zero() -> None:
    """The batch of an input is taken to be at least 1, where that says which is larger."""
    nodes = [
        node("NonZero", ["x"], "found"),
        node("Shape", ["found"], "s"),
        node("Slice", ["s", "one", "two"], "many"),
        node("Max", ["many", "one"], "divisor"),
        node("Shape", ["x"], "t"),
        node("Slice", ["t", "zero", "one"], "n"),
        node("Max", ["n", "one"], "batch"),
        node("Min", ["n", "one"], "lone"),
        node("Identity", ["x"], "y"),
    ]
    facts = Facts(from_proto(model(nodes, {"zero": [0], "one": [1], "two": [2]}, ["N", 4])))
    assert [str(e) for e in facts.symbol("batch") or ()] == ["N"]
    assert facts.symbol("divisor") is None
    assert facts.symbol("lone") is None


def test_what_a_formula_is_at_least() -> None:
    n, h = Extent("N"), Extent("H")
    negative = product([n, -1])
    assert larger(negative, -3) is None
    assert larger(product([minus(n, 5), minus(h, 5)]), 10) is None
    assert larger(product([n, h, 3]), 3) == product([n, h, 3])


def test_names_of_extents_from_bodies_say_nothing() -> None:
    """Both branches call an extent D, as does another If: they are not the same."""
    bodies = []
    for name, start in (("a", "zero"), ("b", "one"), ("c", "two"), ("d", "zero")):
        cut = node("Slice", ["x", start, "many", "one"], name)
        shown = helper.make_tensor_value_info(name, FLOAT, [1, "D"])
        bodies.append(helper.make_graph([cut], name, [], [shown]))
    nodes = [
        node("ReduceSum", ["x"], "t", keepdims=0),
        node("Cast", ["t"], "b", to=TensorProto.BOOL),
        node("If", ["b"], "p", then_branch=bodies[0], else_branch=bodies[1]),
        node("If", ["b"], "q", then_branch=bodies[2], else_branch=bodies[3]),
        node("Concat", ["p", "q"], "y", axis=1),
    ]
    held = {"zero": [0], "one": [1], "two": [2], "many": [2**31]}
    facts = Facts(from_proto(model(nodes, held, [1, "W"])))
    shapes = facts.shape("p"), facts.shape("q")
    assert all(s is not None and s[0] == 1 for s in shapes)
    assert shapes[0] != shapes[1]


def test_a_bias_along_another_axis_than_the_border() -> None:
    """A row is added to the map, and a constant per channel is its border."""
    held = {"u": random(4, 4, 1, 1), "w": random(3, 4, 3, 3), "row": random(7)}
    held["border"] = random(1, 4, 1, 7)
    nodes = [
        node("Conv", ["x", "u"], "c"),
        node("Add", ["c", "row"], "a"),
        node("Concat", ["border", "a", "border"], "j", axis=2),
        node("Conv", ["j", "w"], "y"),
    ]
    assert merged(model(nodes, held, [1, 4, 5, 7]), (1, 4, 5, 7))[-1] == "Conv"
    held["border"] = np.broadcast_to(np.arange(1.0, 5.0)[None, :, None, None], (1, 4, 1, 7))
    assert merged(model(nodes, held, [1, 4, 5, 7]), (1, 4, 5, 7))[-1] == "Conv"


def test_a_window_that_would_begin_in_the_padding() -> None:
    """Of 4 columns, two by two with one behind, ONNX Runtime makes two; onnx tells three."""
    pool = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 1, 1], "ceil_mode": 1}
    nodes = [
        node("AveragePool", ["x"], "p", **pool),
        node("Shape", ["p"], "s"),
        node("Gather", ["s", "place"], "w"),
        node("Range", ["zero", "w", "one"], "columns"),
        node("Gather", ["p", "columns"], "y", axis=3),
    ]
    held = {"place": 3, "zero": 0, "one": 1}
    merged(model(nodes, held, ["N", 4, 4, 4]), (2, 4, 4, 4))
    facts = Facts(from_proto(model(nodes, held, ["N", 4, 5, 5])))
    assert (facts.shape("p") or ())[2:] == (3, 3)


def test_a_crop_before_a_stride() -> None:
    """Where the map has an even width, the padding stands for the column that was cut off."""
    crop = node("Pad", ["x", "crop"], "p")
    for stride, merges in ((1, False), (2, False)):
        conv = node("Conv", ["p", "w"], "y", pads=[1, 1, 1, 1], strides=[stride, stride])
        held = {"crop": [0] * 7 + [-1], "w": random(4, 4, 3, 3)}
        before = model([crop, conv], held, ["N", 4, "H", "W"])
        assert (merged(before, (1, 4, 4, 4), (2, 4, 5, 5)) == ["Conv"]) == merges


@pytest.mark.parametrize("batch", [-1, 2])
def test_a_sum_is_merged_before_it_is_rearranged(batch: int) -> None:
    """PyTorch at opset 9: a sum of branches, then PixelShuffle by Reshape and Transpose."""
    nodes = [
        node("Conv", ["x", "w"], "a", pads=[1, 1, 1, 1]),
        node("Conv", ["x", "v"], "b"),
        node("Add", ["a", "b"], "s"),
        node("Reshape", ["s", "apart"], "r"),
        node("Transpose", ["r"], "t", perm=[0, 1, 4, 2, 5, 3]),
        node("Reshape", ["t", "together"], "y"),
    ]
    held = {
        "w": random(12, 6, 3, 3),
        "v": random(12, 6, 1, 1),
        "apart": [batch, 3, 2, 2, 10, 10],
        "together": [batch, 3, 20, 20],
    }
    before = model(nodes, held, [2, 6, 10, 10], opset=9)
    assert merged(before, (2, 6, 10, 10)) == ["Conv", "Reshape", "Transpose", "Reshape"]
