"""Files that the checker lets pass and that still mean something odd.

Nothing is lost to a tensor that nothing needs, an operator that only looks like another one
is left alone, and an odd node is refused with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from exact import Net, Window
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from spaces import space_to_depth

from onnxac.pipeline import Options, optimize
from onnxac.proof.certificate import certify
from onnxac.report import Report

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
W1 = np.ones((2, 2, 1, 1), np.float32)


def model(
    nodes: Sequence[NodeProto],
    weights: Mapping[str, Any],
    *,
    opset: int = 18,
    shape: Sequence[int | str | None] = (1, 2, 4, 4),
    domains: Sequence[str] = (),
    output: Sequence[int | str | None] | None = (None,) * 4,
) -> ModelProto:
    """A model from x to y; weights that are no tensors yet are float32, integers as they are."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, output)],
        [_tensor(n, w) for n, w in weights.items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def _tensor(name: str, value: Any) -> TensorProto:
    if isinstance(value, TensorProto):
        return value
    array = np.asarray(value)
    return numpy_helper.from_array(
        array.astype(np.float32) if array.dtype.kind == "f" else array, name
    )


def optimized(before: ModelProto) -> tuple[ModelProto, Report]:
    after, report = optimize(before, Options(verify=False))
    onnx.checker.check_model(after)
    return after, report


def run(made: ModelProto, **inputs: Any) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)[0]


def assert_same(before: ModelProto, shape: Sequence[int] = (1, 2, 4, 4)) -> Report:
    after, report = optimized(before)
    x = np.random.default_rng(3).integers(-80, 80, shape).astype(np.float32)
    have, want = run(after, x=x), run(before, x=x)
    assert have.shape == want.shape
    assert np.array_equal(have, want)
    return report


def operators(made: ModelProto) -> list[str]:
    return [n.op_type for n in made.graph.node]


def reasons(report: Report) -> set[str]:
    return {r.rule for r in report.refusals}


# What looks like a copy.


@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
def test_a_scatter_that_reduces_is_no_copy(reduction: str) -> None:
    index = np.stack(np.meshgrid(*map(range, (1, 2, 4, 4)), indexing="ij"), -1)
    scatter = helper.make_node("ScatterND", ["x", "i", "u"], ["s"], reduction=reduction)
    scale = helper.make_node("Mul", ["s", "two"], ["y"])
    update = np.full((1, 2, 4, 4), -40.0)
    assert_same(model([scatter, scale], {"i": index, "u": update, "two": np.float32(2)}))


@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
def test_elements_scattered_by_reduction_are_no_copy(reduction: str) -> None:
    index = np.broadcast_to(np.arange(4), (1, 2, 4, 4)).copy()
    scatter = helper.make_node(
        "ScatterElements", ["x", "i", "u"], ["s"], axis=3, reduction=reduction
    )
    scale = helper.make_node("Mul", ["s", "two"], ["y"])
    update = np.full((1, 2, 4, 4), 1.0)
    assert_same(model([scatter, scale], {"i": index, "u": update, "two": np.float32(2)}))


def test_a_number_stays_a_number() -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], keepdims=0),
        helper.make_node("Mul", ["m", "a"], ["d"]),
        helper.make_node("Mul", ["d", "b"], ["e"]),
        helper.make_node("Add", ["e", "c"], ["y"]),
    ]
    numbers = {n: np.float32(v) for n, v in (("a", 2), ("b", 4), ("c", 1))}
    assert_same(model(nodes, numbers, shape=(4, 8), output=()), (4, 8))


# Names of another domain, or of a function.


def test_an_operator_of_another_domain_is_not_the_standards() -> None:
    """Between Transposes, behind a pool, and between two convolutions."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
        helper.make_node("Softplus", ["a"], ["b"], domain="my"),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["c", "w"], ["d"]),
        helper.make_node("AveragePool", ["d"], ["e"], kernel_shape=[2, 2]),
        helper.make_node("Add", ["e", "two"], ["f"], domain="my"),
        helper.make_node("Identity", ["f"], ["g"], domain="my"),
        helper.make_node("Concat", ["g"], ["h"], domain="my", axis=1),
        helper.make_node("Mul", ["h", "two"], ["y"], domain="my"),
    ]
    before = model(nodes, {"w": W1, "two": np.float32(2)}, domains=["my"])
    after, _ = optimized(before)
    assert list(after.graph.node) == list(before.graph.node)


def test_a_function_may_be_called_like_an_operator() -> None:
    body = [helper.make_node("Mul", ["a", "a"], ["b"])]
    function = helper.make_function(
        "my", "Identity", ["a"], ["b"], body, [helper.make_opsetid("", 18)]
    )
    before = model(
        [
            helper.make_node("Identity", ["x"], ["t"], domain="my"),
            helper.make_node("Conv", ["t", "w"], ["y"]),
        ],
        {"w": W1},
        domains=["my"],
    )
    before.functions.append(function)
    assert_same(before)


def test_the_standard_domain_has_two_names() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["t"]),
        helper.make_node("Mul", ["t", "two"], ["y"]),
    ]
    before = model(nodes, {"w": W1, "two": np.float32(2)}, opset=17)
    plain, _ = optimized(before)
    before.opset_import[0].domain = "ai.onnx"
    after, report = optimized(before)
    assert report.before.opset == 17
    assert operators(after) == operators(plain) == ["Conv"]


# Old operators.


def test_an_add_with_an_axis_of_its_own_is_not_read() -> None:
    """Opset 6: the shift lies along axis 1, as the attribute says."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["t"]),
        helper.make_node("Add", ["t", "shift"], ["u"], axis=1, broadcast=1),
        helper.make_node("Mul", ["u", "shift"], ["y"], axis=1, broadcast=1),
    ]
    before = model(nodes, {"w": np.ones((4, 2, 1, 1)), "shift": np.arange(4.0)}, opset=6)
    after, report = optimized(before)
    assert list(after.graph.node) == list(before.graph.node)
    assert reasons(report) == {"opset"}


def test_a_concat_without_an_axis() -> None:
    nodes = [
        helper.make_node("Concat", ["x", "x"], ["t"]),
        helper.make_node("Conv", ["t", "w"], ["y"]),
    ]
    before = model(nodes, {"w": np.ones((4, 4, 1, 1))}, opset=3)
    after, _ = optimized(before)
    assert list(after.graph.node) == list(before.graph.node)


# Tensors.


def merged(*more: NodeProto, weights: Mapping[str, Any] | None = None) -> ModelProto:
    """A Conv and a scale, which merge, and whatever else is there."""
    nodes = [
        *more,
        helper.make_node("Conv", ["x", "w"], ["t"]),
        helper.make_node("Mul", ["t", "two"], ["y"]),
    ]
    return model(nodes, {"w": W1, "two": np.float32(2), **(weights or {})})


def text(value: bytes) -> TensorProto:
    return TensorProto(name="text", data_type=TensorProto.STRING, dims=[1], string_data=[value])


def reader() -> NodeProto:
    return helper.make_node("StringNormalizer", ["text"], ["same"])


def test_text_that_is_no_utf8_costs_nothing() -> None:
    before = merged(reader(), weights={"text": text(b"\xff\xfe")})
    before.graph.output.append(helper.make_tensor_value_info("same", TensorProto.STRING, [1]))
    after, _ = optimized(before)
    assert operators(after) == ["StringNormalizer", "Conv"]
    assert [b"\xff\xfe"] in [t.string_data for t in after.graph.initializer]


def test_a_constant_of_text_costs_nothing() -> None:
    node = helper.make_node("Constant", [], ["text"], value=text(b"\xff\xfe"))
    before = merged(node, reader())
    before.graph.output.append(helper.make_tensor_value_info("same", TensorProto.STRING, [1]))
    after, _ = optimized(before)
    assert operators(after) == ["Constant", "StringNormalizer", "Conv"]


@pytest.mark.parametrize("key", ["value_string", "value_strings"])
def test_a_constant_of_bytes_costs_nothing(key: str) -> None:
    value: Any = b"\xff\xfe" if key == "value_string" else [b"\xff", b"a"]
    node = helper.make_node("Constant", [], ["text"])
    node.attribute.append(helper.make_attribute(key, value))
    before = merged(node)
    shape = [] if key == "value_string" else [2]
    before.graph.output.append(helper.make_tensor_value_info("text", TensorProto.STRING, shape))
    after, _ = optimized(before)
    assert operators(after) == ["Constant", "Conv"]


def sparse() -> Any:
    return helper.make_sparse_tensor(
        helper.make_tensor("sparse", FLOAT, [1], [3.0]),
        helper.make_tensor("index", INT64, [1], [1]),
        [4],
    )


def test_a_sparse_initializer_costs_nothing() -> None:
    before = merged()
    before.graph.sparse_initializer.append(sparse())
    after, _ = optimized(before)
    assert operators(after) == ["Conv"]
    assert after.graph.sparse_initializer == before.graph.sparse_initializer


def test_a_sparse_constant_costs_nothing() -> None:
    node = helper.make_node("Constant", [], ["s"], sparse_value=sparse())
    relu = helper.make_node("Relu", ["s"], ["r"])
    before = merged(node, relu)
    before.graph.output.append(helper.make_tensor_value_info("r", FLOAT, [4]))
    after, _ = optimized(before)
    assert operators(after) == ["Constant", "Relu", "Conv"]


FLAWS: dict[str, dict[str, Any]] = {
    "more data than dims": {"raw_data": bytes(20)},
    "another type than its data": {"data_type": TensorProto.FLOAT16},
    "a type that is not defined": {"data_type": 99},
}


@pytest.mark.parametrize("what", FLAWS)
@pytest.mark.parametrize("role", ["weight", "bystander", "size"])
def test_a_tensor_that_does_not_add_up(what: str, role: str) -> None:
    """What reads it is left alone, and what does not is optimized."""
    before = merged()
    if role == "bystander":
        before.graph.initializer.add(name="z", dims=[2, 2, 1, 1], data_type=FLOAT)
    if role == "size":
        before.graph.node.add(op_type="Reshape", input=["y", "z"], output=["r"])
        before.graph.initializer.add(name="z", dims=[4], data_type=FLOAT)
    tensor = before.graph.initializer[0 if role == "weight" else -1]
    tensor.raw_data = bytes(16)
    for key, value in FLAWS[what].items():
        setattr(tensor, key, value)
    after, report = optimize(before, Options(verify=False))
    if role == "weight":
        assert list(after.graph.node) == list(before.graph.node)
        assert any("not valid" in r.reason or "computed" in r.reason for r in report.refusals)
    else:
        assert operators(after)[:1] == ["Conv"]
        assert "Mul" not in operators(after)


# Extents.


def test_a_negative_extent_is_dynamic() -> None:
    """onnx's own inference ends the process over a Slice of it."""
    bounds = {n: np.asarray([v], np.int64) for n, v in (("s", 1), ("e", 3), ("a", 2))}
    nodes = [
        helper.make_node("Slice", ["x", "s", "e", "a"], ["t"]),
        helper.make_node("Conv", ["t", "w"], ["u"]),
        helper.make_node("Mul", ["u", "two"], ["y"]),
    ]
    weights = {"w": W1, "two": np.float32(2), **bounds}
    before = model(nodes, weights, shape=(-1, 2, -1, -1))
    report = assert_same(before)
    assert len(report.fusions) == 1


@pytest.mark.parametrize("verify", [False, True])
def test_a_negative_extent_around_a_merge(verify: bool) -> None:
    """The certificate infers shapes, too."""
    bounds = {n: np.asarray([v], np.int64) for n, v in (("s", 0), ("e", 3), ("a", 0))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["t"]),
        helper.make_node("Conv", ["x", "v"], ["u"]),
        helper.make_node("Add", ["t", "u"], ["sum"]),
        helper.make_node("Slice", ["sum", "s", "e", "a"], ["y"]),
    ]
    before = model(nodes, {"w": W1, "v": 2 * W1, **bounds}, shape=(-1, 2, 4, 4))
    _, report = optimize(before, Options(verify=verify))
    assert len(report.fusions) == 1


@pytest.mark.parametrize("inside", [False, True])
def test_a_split_into_other_than_its_outputs(inside: bool) -> None:
    """onnx's own inference ends the process over it, in a body as well."""
    split = helper.make_node("Split", ["s"], ["y", "z"], axis=1, num_outputs=1)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["t"]),
        helper.make_node("Conv", ["x", "v"], ["u"]),
        helper.make_node("Add", ["t", "u"], ["s"]),
    ]
    if inside:
        end = helper.make_tensor_value_info("y", FLOAT, None)
        bodies = [helper.make_graph([split], n, [], [end]) for n in ("then", "else")]
        nodes.append(
            helper.make_node("If", ["c"], ["y"], then_branch=bodies[0], else_branch=bodies[1])
        )
    else:
        nodes.append(split)
    before = model(nodes, {"w": W1, "v": 2 * W1, "c": np.asarray(True)})
    after, report = optimized(before)
    assert len(report.fusions) == 1
    (found,) = certify(before, after, report.fusions)
    assert found.holds


def test_a_stated_shape_of_another_rank() -> None:
    """Nothing is known of what the operator makes; a value_info says something, of old."""
    nodes = [
        helper.make_node("F", ["x"], ["t"], domain="my"),
        helper.make_node("Conv", ["t", "w"], ["u"]),
        helper.make_node("Mul", ["u", "two"], ["y"]),
    ]
    before = model(nodes, {"w": W1, "two": np.float32(2)}, domains=["my"])
    before.graph.value_info.append(helper.make_tensor_value_info("u", FLOAT, [0, -1, 2]))
    after, _ = optimized(before)
    assert operators(after) == ["F", "Conv"]


def test_an_output_that_is_said_to_have_fewer_axes() -> None:
    """Of the sum nothing is known but what the file tells: an integer goes into it."""
    nodes = [
        helper.make_node("Slice", ["x", "first", "last", "axis"], ["s"]),
        helper.make_node("Conv", ["s", "w"], ["t"]),
        helper.make_node("Add", ["first", "t"], ["y"]),
    ]
    held = {"first": np.array([1]), "last": np.array([9]), "axis": np.array([3])}
    before = model(nodes, {"w": np.ones((2, 2, 1, 3), np.float32), **held}, output=(1, 2, 4))
    after, _ = optimize(before, Options(verify=False))
    assert "Add" in operators(after)


def test_an_image_without_channels() -> None:
    """As the Focus of YOLOv5 in front of a convolution, of nothing."""
    net = Net()
    x = net.input((1, 2, 8, 8), [])
    y = space_to_depth(net, x, 2, "slices", ((0, 0), (1, 0), (0, 1), (1, 1)))
    net.output(net.conv(y, np.ones((4, y.channels, 1, 1)), [Window()] * 2))
    before = net.model()
    before.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 0
    after, _ = optimize(before, Options(verify=False))
    assert "Concat" in operators(after)


def test_a_part_that_is_said_to_have_no_axes() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["t"]),
        helper.make_node("Conv", ["x", "w"], ["u"]),
        helper.make_node("Split", ["t", "u"], ["y"]),
    ]
    before = model(nodes, {"w": W1}, output=())
    after, _ = optimize(before, Options(verify=False))
    assert "Split" in operators(after)


def test_a_negative_extent_inside_of_a_body() -> None:
    body = helper.make_graph(
        [helper.make_node("Slice", ["t", "s", "e", "a"], ["r"])],
        "body",
        [],
        [helper.make_tensor_value_info("r", FLOAT, [-1, 2, -1, -1])],
        value_info=[helper.make_tensor_value_info("t", FLOAT, [-1, 2, -1, -1])],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["t"], ["q"])],
        "other",
        [],
        [helper.make_tensor_value_info("q", FLOAT, [-1, 2, -1, -1])],
    )
    bounds = {n: np.asarray([v], np.int64) for n, v in (("s", 1), ("e", 3), ("a", 2))}
    nodes = [
        helper.make_node("Relu", ["x"], ["t"]),
        helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=other),
    ]
    before = model(nodes, {"c": np.asarray(True), **bounds}, shape=(-1, 2, -1, -1))
    assert_same(before)


# Operands and attributes of another rank or length than they should have.


def whole(*values: int) -> Any:
    return np.asarray(values, np.int64)


ODD: dict[str, tuple[list[NodeProto], dict[str, Any]]] = {
    "bounds that are numbers": (
        [helper.make_node("Slice", ["x", "s", "e", "a"], ["t"])],
        {"s": np.asarray(1), "e": np.asarray(2), "a": np.asarray(2)},
    ),
    "bounds that are matrices": (
        [helper.make_node("Slice", ["x", "s", "e"], ["t"])],
        {"s": np.asarray([[1], [1]]), "e": np.asarray([[2], [2]])},
    ),
    "bounds that are floats": (
        [helper.make_node("Slice", ["x", "s", "e"], ["t"])],
        {"s": np.ones(1), "e": np.ones(1)},
    ),
    "more bounds than axes": (
        [helper.make_node("Slice", ["x", "s", "e"], ["t"])],
        {"s": whole(*[0] * 6), "e": whole(*[1] * 6)},
    ),
    "amounts that are a number": (
        [helper.make_node("Pad", ["x", "p"], ["t"])],
        {"p": np.asarray(1)},
    ),
    "amounts for an axis that is not there": (
        [helper.make_node("Pad", ["x", "p", "", "a"], ["t"])],
        {"p": whole(1, 1), "a": whole(9)},
    ),
    "several values to pad with": (
        [helper.make_node("Pad", ["x", "p", "v"], ["t"])],
        {"p": whole(0, 0, 1, 1, 0, 0, 1, 1), "v": np.ones(8)},
    ),
    "an order that is none": (
        [
            helper.make_node("Transpose", ["x"], ["a"], perm=[0, 2, 2, 1]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Transpose", ["b"], ["t"], perm=[0, 2, 3, 1]),
        ],
        {},
    ),
    "an order of other axes": (
        [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1])],
        {},
    ),
    "a constant without a value": ([helper.make_node("Constant", [], ["t"])], {}),
}


_FOUR = {k: np.ones(4, np.float32) for k in ("g", "b", "mu", "v")}
# No runtime takes these; mutation found them.
MISFITS: dict[str, tuple[list[NodeProto], dict[str, Any]]] = {
    "a kernel of one axis": ([helper.make_node("Conv", ["x", "k"], ["y"])], {"k": np.ones(4)}),
    "a normalized number": (
        [
            helper.make_node("Size", ["x"], ["n"]),
            helper.make_node("BatchNormalization", ["n", *_FOUR], ["s"]),
            helper.make_node("Add", ["x", "s"], ["y"]),
        ],
        _FOUR,
    ),
    "a matrix of too many rows": (
        [
            helper.make_node("BatchNormalization", ["x", *_FOUR], ["a"]),
            helper.make_node("ReduceMean", ["a"], ["r"]),
            helper.make_node("Flatten", ["r"], ["f"]),
            helper.make_node("Gemm", ["f", "w", "c"], ["y"], transB=1),
        ],
        {**_FOUR, "w": np.ones((6, 100)), "c": np.ones(6)},
    ),
}


@pytest.mark.parametrize("what", MISFITS)
@pytest.mark.parametrize("known", [True, False])
def test_operands_that_do_not_fit_are_left_as_they_are(what: str, known: bool) -> None:
    nodes, weights = MISFITS[what]
    channels = 4 if known else "c"
    before = model(nodes, weights, shape=(1, channels, 5, 5), output=None, opset=17)
    after, _ = optimize(before, Options(verify=False))
    kept = {n.op_type for n in nodes} - {"Size"}
    assert kept <= set(operators(after))


def test_a_concat_that_is_said_to_have_no_axes() -> None:
    nodes = [
        *(helper.make_node("Cast", ["x"], [f"t{i}"], to=FLOAT) for i in (0, 1)),
        helper.make_node("Concat", ["t0", "t1"], ["c"], axis=1),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    before = model(nodes, {}, output=None)
    before.graph.input[0].type.tensor_type.ClearField("shape")
    before.graph.value_info.append(helper.make_tensor_value_info("c", FLOAT, ()))
    after, _ = optimize(before, Options(verify=False))
    assert {"Concat", "Relu"} <= set(operators(after))


def test_integers_that_floats_round_are_not_reduced() -> None:
    """ "Up to the end", averaged, is that to ONNX Runtime, and below all to onnx's reference."""
    nodes = [
        helper.make_node("ReduceMean", ["last"], ["end"], keepdims=1),
        helper.make_node("Slice", ["x", "first", "end", "axis"], ["s"]),
        helper.make_node("Add", ["s", "s"], ["y"]),
    ]
    weights = {"last": np.array([2**63 - 1]), "first": np.array([1]), "axis": np.array([2])}
    before = model(nodes, weights, opset=17)
    after, _ = optimized(before)
    assert "ReduceMean" in operators(after)
    small = model(nodes, {**weights, "last": np.array([3])}, opset=17)
    assert "ReduceMean" not in operators(optimized(small)[0])


@pytest.mark.parametrize("keepdims", [2, -1, 2**40, -(2**63)])
def test_axes_are_kept_for_one_and_for_nothing_else(keepdims: int) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["t"]),
        helper.make_node("ReduceMean", ["t", "axes"], ["m"], keepdims=keepdims),
        helper.make_node("Add", ["m", "v"], ["y"]),
    ]
    weights = {"w": W1, "axes": np.array([2, 3]), "v": np.array([1.0, 2.0])}
    before = model(nodes, weights, output=(None, None))
    after, report = optimized(before)
    assert report.changed
    feed = {"x": np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)}
    want, have = (
        ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, feed
        )[0]
        for m in (before, after)
    )
    assert want.shape == (1, 2)
    np.testing.assert_allclose(have, want)
    optimize(before, Options(seeds=1))


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("known", [True, False])
def test_an_odd_operand_is_refused(what: str, known: bool) -> None:
    """Where the shape of the input is known, and where it is not."""
    nodes, weights = ODD[what]
    tail = helper.make_node("Conv", ["t", "w"], ["y"])
    before = model([*nodes, tail], {"w": W1, **weights})
    if not known:
        before.graph.input[0].type.tensor_type.ClearField("shape")
    after, _ = optimize(before, Options(verify=False))
    assert operators(after) == operators(before)


def test_a_window_that_is_larger_than_a_constant() -> None:
    """Runtimes don't agree on how many outputs there are: nothing is stored."""
    nodes = [
        helper.make_node("MaxPool", ["v"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Add", ["x", "p"], ["y"]),
    ]
    before = model(nodes, {"v": np.ones((1, 2, 1, 1))})
    after, _ = optimize(before, Options(verify=False))
    assert operators(after) == ["MaxPool", "Add"]


def test_a_bound_that_is_no_number() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["t"]),
        helper.make_node("Clip", ["t", "low"], ["y"]),
    ]
    before = model(nodes, {"w": W1, "low": np.full(3, -np.inf)})
    after, _ = optimize(before, Options(verify=False))
    assert operators(after) == ["Conv", "Clip"]
