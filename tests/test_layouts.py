"""Matrices, flattened maps and unit axes: what an axis means is said, never guessed from the rank.

Each case was wrong, could not be loaded, or crashed once.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from exact import attempted, feeds, session
from hypothesis import given
from hypothesis import strategies as st
from matrices import Matrices
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from test_models import MODELS

from onnxac.algebra import Lazy
from onnxac.algebra.add import is_fill
from onnxac.pipeline import Options, optimize
from onnxac.report import EQUAL, Report

Values = NDArray[np.generic]


def node(op: str, inputs: str, output: str, **attrs: Any) -> NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attrs)


def model(
    nodes: Sequence[NodeProto],
    shape: Sequence[int | str],
    kind: int = TensorProto.FLOAT,
    **constants: Values,
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "layouts",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def integers(*shape: int, seed: int = 0) -> Values:
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


def ints(*values: int) -> Values:
    return np.array(values, np.int64)


def same(before: ModelProto, *sizes: dict[str, int]) -> tuple[ModelProto, Report]:
    """Optimize; the result has to be loadable, and to compute the same to the bit."""
    after, report = optimize(before, Options(verify=False))
    original, changed = session(before), session(after)
    for at in sizes or ({},):
        values = feeds(before, 1, at)
        wanted = attempted(original, values)
        assert wanted is not None
        for have, want in zip(changed.run(None, values), wanted, strict=True):
            assert have.shape == want.shape
            assert np.array_equal(have, want)
    return after, report


@given(st.integers(0, 2**40))
def test_graphs_of_matrices(seed: int) -> None:
    before = Matrices(seed).network()
    after, _ = same(before)
    onnx.checker.check_model(after)
    assert len(after.graph.node) <= len(before.graph.node)


ROWS = [node("Add", "x a", "s"), node("Add", "s b", "y")]
CASES: dict[str, ModelProto] = {
    "constants along the first axis": model(
        ROWS, (64, 64), a=integers(64, 1), b=integers(64, 1, seed=1)
    ),
    "constants along the first of two unequal axes": model(
        ROWS, (64, 32), a=integers(64, 1), b=integers(64, 1, seed=1)
    ),
    "a new axis behind a sum": model(
        [node("Add", "x a", "s"), node("Unsqueeze", "s axes", "u"), node("Relu", "u", "y")],
        (4, 6),
        a=integers(4, 1),
        axes=ints(0),
    ),
    "constants along both axes of what was flattened": model(
        [node("Flatten", "x", "f"), node("Add", "f a", "s"), node("Add", "s b", "y")],
        (4, 4, 4, 4),
        a=integers(4, 1),
        b=integers(1, 64),
    ),
    "two products and a new axis": model(
        [node("MatMul", "a x", "s"), node("MatMul", "s b", "t"), node("Unsqueeze", "t axes", "y")],
        (4, 6),
        a=integers(4, 4),
        b=integers(6, 6),
        axes=ints(0),
    ),
    "two products from the left, added": model(
        [node("MatMul", "a x", "s"), node("MatMul", "b x", "t"), node("Add", "s t", "y")],
        (8, 1),
        a=integers(4, 8),
        b=integers(4, 8, seed=1),
    ),
    "an axis that goes here and comes there": model(
        [node("Squeeze", "x last", "s"), node("Unsqueeze", "s first", "u"), node("Relu", "u", "y")],
        (1, 4, 1),
        last=ints(-1),
        first=ints(0),
    ),
    "a pool and a factor of five axes": model(
        [
            node("Conv", "x w", "c"),
            node("AveragePool", "c", "p", kernel_shape=[2, 2]),
            node("Mul", "p f", "y"),
        ],
        (1, 2, 5, 5),
        w=integers(2, 2, 1, 1) * 4,
        f=np.full((1, 1, 1, 1, 1), 2, np.float32),
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_what_an_axis_means(what: str) -> None:
    same(CASES[what])


BETWEEN = {
    "Squeeze": [node("Squeeze", "s two", "t")],
    "Reshape": [node("Reshape", "s rows", "t")],
    "Squeeze, Unsqueeze": [node("Squeeze", "s two", "q"), node("Unsqueeze", "q one", "t")],
}


@pytest.mark.parametrize("between", BETWEEN)
def test_products_around_two_dynamic_axes(between: str) -> None:
    """A Reshape can compute one extent only: another one is not written at all."""
    before = model(
        [node("MatMul", "x a", "s"), *BETWEEN[between], node("MatMul", "t b", "y")],
        ("B", "L", 1, 8),
        a=integers(8, 4),
        b=integers(4, 3),
        two=ints(2),
        one=ints(1),
        rows=ints(0, -1, 4),
    )
    after, _ = same(before, {"B": 2, "L": 3}, {"B": 1, "L": 1}, {"B": 3, "L": 5})
    for tensor in after.graph.initializer:
        if tensor.data_type == TensorProto.INT64:
            assert list(numpy_helper.to_array(tensor)).count(-1) <= 1


DOUBLE = [
    [node("MatMul", "a x", "s"), node("MatMul", "b x", "t"), node("Add", "s t", "y")],
    [
        node("Mul", "x f", "s"),
        node("ReduceMean", "s", "m", axes=[2], keepdims=0),
        node("MatMul", "m a", "y"),
    ],
]


@pytest.mark.parametrize("nodes", DOUBLE, ids=["products", "a mean"])
def test_double_gets_no_operator_that_a_runtime_lacks(nodes: list[NodeProto]) -> None:
    wide = {n: integers(4, 4, seed=i).astype(np.float64) for i, n in enumerate("ab")}
    factor = np.array([1, 2, 1, 2], np.float64).reshape(4, 1)
    after, _ = same(model(nodes, (2, 4, 4), TensorProto.DOUBLE, **wide, f=factor))
    lacking = {"Conv", "ConvTranspose", "AveragePool", "GlobalAveragePool", "BatchNormalization"}
    assert lacking.isdisjoint(n.op_type for n in after.graph.node)


def test_double_keeps_the_operators_that_the_model_has_in_double() -> None:
    """Whatever runs this model has Conv and BatchNormalization in double."""
    parts = ("scale", "shift", "mean", "variance")
    wide = {
        "k": integers(4, 2, 3, 3).astype(np.float64),
        "p": integers(4, 2, 1, 1, seed=1).astype(np.float64),
        **{n: np.arange(1.0, 5.0) for n in parts},
    }
    nodes = [
        node("Conv", "x k", "s", pads=[1, 1, 1, 1]),
        node("Conv", "x p", "t"),
        node("Add", "s t", "u"),
        node("BatchNormalization", f"u {' '.join(parts)}", "y"),
    ]
    after, report = optimize(model(nodes, (2, 2, 6, 6), TensorProto.DOUBLE, **wide))
    assert [n.op_type for n in after.graph.node] == ["Conv"]
    assert report.verification is not None
    assert report.verification.verdict == EQUAL


def test_a_padding_that_is_cropped_again_is_nothing() -> None:
    before = model(
        [
            node("Relu", "x", "r"),
            node("Pad", "r pads", "p"),
            node("Slice", "p starts ends axes", "c"),
            node("Relu", "c", "y"),
        ],
        (1, 2, 6, 6),
        pads=ints(0, 0, 1, 1, 0, 0, 1, 1),
        starts=ints(1, 1),
        ends=ints(7, 7),
        axes=ints(2, 3),
    )
    after, report = same(before)
    assert [n.op_type for n in after.graph.node] == ["Relu", "Relu"]
    assert not report.fusions


@pytest.mark.parametrize("pad", [0, 1])
def test_a_crop_before_a_depthwise_convolution_merges(pad: int) -> None:
    before = model(
        [
            node("Pad", "x pads", "p"),
            node("Slice", "p starts ends axes", "c"),
            node("Conv", "c w", "y", group=2, pads=[0, 0, 0, 0]),
        ],
        (1, 2, 9, 9),
        pads=ints(0, 0, pad, pad, 0, 0, pad, pad),
        starts=ints(pad, pad),
        ends=ints(9 + pad, 9 + pad),
        axes=ints(2, 3),
        w=integers(2, 1, 3, 3),
    )
    after, _ = same(before)
    assert [n.op_type for n in after.graph.node] == ["Conv"]


def test_an_infinite_value_is_not_zero() -> None:
    assert not is_fill(None, Lazy.of(np.array([-np.inf])), 1e-6)
    assert is_fill(Lazy.of(np.array([-np.inf])), Lazy.of(np.array([-np.inf])), 0.0)


@pytest.mark.parametrize(
    "name", ["acb_circular/L", "acb_reflect/B", "repvgg/tf", "ac_resnet/B", "dbb/D"]
)
def test_a_second_time_changes_no_byte(name: str) -> None:
    quick = Options(verify=False)
    first, _ = optimize(MODELS / "onnx" / f"{name}.onnx", quick)
    second, report = optimize(first, quick)
    assert not report.fusions
    assert second.SerializeToString(deterministic=True) == first.SerializeToString(
        deterministic=True
    )


def test_nothing_is_remembered_between_calls() -> None:
    before = onnx.load(MODELS / "onnx" / "repvgg" / "L.onnx")
    counts = []
    for _ in range(4):
        optimize(before, Options(verify=False))
        gc.collect()
        counts.append(len(gc.get_objects()))
    assert counts[-1] <= counts[1]


def test_the_process_of_the_caller_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        pytest.fail("collection of garbage is the caller's business")

    for name in ("disable", "enable", "set_threshold", "freeze"):
        monkeypatch.setattr(gc, name, forbidden)
    optimize(MODELS / "onnx" / "repvgg" / "L.onnx", Options(verify=False))
