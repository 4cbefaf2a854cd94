"""Patches that are multiplied with a matrix are a convolution with a stride of their size.

Weights and inputs are small integers, so results are equal to the bit.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exact import INPUT, feeds, operators, run
from fusing import rng
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, helper
from onnx.numpy_helper import from_array

from onnxac.pipeline import Options, optimize
from onnxac.report import HOLDS

MODELS = Path(__file__).parents[1] / "models" / "onnx"
# Orders of a patch's elements: of its channels (1), rows (3) and columns (5).
ORDERS = tuple(itertools.permutations((1, 3, 5)))


def patches(
    order: tuple[int, ...] = (3, 5, 1),
    patch: tuple[int, ...] = (2, 2),
    counts: tuple[int, ...] = (3, 4),
    *,
    channels: int = 3,
    out: int = 5,
    merged: bool = True,
    bias: bool = True,
    dynamic: bool = False,
    dtype: Any = np.float32,
) -> ModelProto:
    """An embedding of patches: Reshape, Transpose, Reshape, MatMul, perhaps Add, and Relu."""
    draw, width, count = rng().integers, channels * math.prod(patch), len(patch)
    cut = [v for pair in zip(counts, patch, strict=True) for v in pair]
    last = [math.prod(counts)] if merged else list(counts)
    constants = {
        "cut": np.array([0 if dynamic else 1, channels, *cut], np.int64),
        "joined": np.array([0 if dynamic else 1, *last, width], np.int64),
        "w": draw(-INPUT, INPUT + 1, (width, out)).astype(dtype),
        "b": draw(-INPUT, INPUT + 1, out).astype(dtype),
    }
    perm = [0, *(2 * i + 2 for i in range(count)), *order]
    end = "m" if bias else "sum"
    nodes = [
        helper.make_node("Reshape", ["x", "cut"], ["apart"]),
        helper.make_node("Transpose", ["apart"], ["turned"], perm=perm),
        helper.make_node("Reshape", ["turned", "joined"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], [end], "embed"),
        *([helper.make_node("Add", ["m", "b"], ["sum"])] if bias else []),
        helper.make_node("Relu", ["sum"], ["y"]),
    ]
    if not bias:
        del constants["b"]
    sizes = [n * p for n, p in zip(counts, patch, strict=True)]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "patches",
        [helper.make_tensor_value_info("x", kind, ["N" if dynamic else 1, channels, *sizes])],
        [helper.make_tensor_value_info("y", kind, ["n", *["l"] * len(last), out])],
        [from_array(v, k) for k, v in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def assert_same_bits(before: ModelProto, after: ModelProto, *sizes: dict[str, int]) -> None:
    for seed, size in enumerate(sizes or ({},)):
        values = feeds(before, seed, size)
        assert np.array_equal(run(after, values)[0], run(before, values)[0])


@pytest.mark.parametrize("which", [(1,), (3,), (1, 3)], ids=["order", "product", "both"])
def test_an_einsum_may_say_the_order_or_the_product(which: tuple[int, ...]) -> None:
    """MAE writes the order so, and einops what it is asked to."""
    before = patches()
    nodes = before.graph.node
    for at in which:
        del nodes[at].attribute[:]
        equation = "nchpwq->nhwpqc" if at == 1 else "npk, ko -> npo"
        nodes[at].op_type = "Einsum"
        nodes[at].attribute.append(helper.make_attribute("equation", equation))
    after, report = optimize(before)
    assert operators(after) == {"Conv": 1, "Reshape": 1, "Transpose": 1, "Relu": 1}
    (fusion,) = report.fusions
    assert fusion.certificate is not None
    assert fusion.certificate.verdict == HOLDS
    assert_same_bits(before, after)


@pytest.mark.parametrize(
    ("at", "equation"),
    [
        (1, "nchpwq->nhpwqc"), (3, "npk,ok->npo"), (3, "npk,kk->npk"), (3, "npk,ko->pno"),
    ],
)  # fmt: skip
def test_an_einsum_that_says_something_else_is_no_embedding(at: int, equation: str) -> None:
    if at == 1:
        before = patches(patch=(3, 4), channels=1, out=12)
    else:
        before = patches(patch=(2, 2), channels=1, out=4)
    nodes = before.graph.node
    del nodes[at].attribute[:]
    nodes[at].op_type = "Einsum"
    nodes[at].attribute.append(helper.make_attribute("equation", equation))
    after, _ = optimize(before, Options(verify=False))
    assert "Conv" not in operators(after)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bias", [True, False])
def test_an_embedding_is_one_convolution(order: tuple[int, ...], bias: bool) -> None:
    before = patches(order, bias=bias)
    after, report = optimize(before)
    assert operators(after) == {"Conv": 1, "Reshape": 1, "Transpose": 1, "Relu": 1}
    (conv,) = (n for n in after.graph.node if n.op_type == "Conv")
    found = {a.name: list(a.ints) for a in conv.attribute if a.ints}
    assert (found["kernel_shape"], found["strides"]) == ([2, 2], [2, 2])
    (fusion,) = report.fusions
    assert "focus" in fusion.kinds
    assert fusion.certificate is not None
    assert fusion.certificate.verdict == HOLDS
    assert_same_bits(before, after)


@given(st.data())
def test_patches_of_any_shape(data: st.DataObject) -> None:
    draw = data.draw
    count = draw(st.integers(1, 3))
    patch = draw(st.tuples(*[st.integers(1, 3)] * count))
    counts = draw(st.tuples(*[st.integers(1, 4)] * count))
    order = draw(st.permutations([1, *(2 * i + 3 for i in range(count))]))
    dynamic = draw(st.booleans())
    before = patches(
        tuple(order),
        patch,
        counts,
        channels=draw(st.integers(1, 4)),
        out=draw(st.integers(1, 6)),
        merged=draw(st.booleans()),
        bias=draw(st.booleans()),
        dynamic=dynamic,
    )
    after, report = optimize(before, Options(verify=False))
    onnx.checker.check_model(after)
    assert report.after.stats.nodes <= report.before.stats.nodes
    assert_same_bits(before, after, *([{"N": 1}, {"N": 3}] if dynamic else [{}]))


def test_axes_that_stay_apart() -> None:
    before = patches(merged=False)
    after, _ = optimize(before)
    assert operators(after) == {"Conv": 1, "Transpose": 1, "Relu": 1}
    assert_same_bits(before, after)


def test_a_dynamic_batch() -> None:
    before = patches(dynamic=True)
    after, _ = optimize(before)
    assert operators(after)["Conv"] == 1
    assert_same_bits(before, after, {"N": 1}, {"N": 4})


LEFT: dict[str, tuple[ModelProto, Options]] = {
    "focus": (patches(), Options(without=("focus",))),
    "layout": (patches(), Options(without=("layout",))),
    "products": (patches(), Options(without=("products",))),
    "kept": (patches(), Options(keep=("embed",))),
    "double, which no Conv takes": (patches(dtype=np.float64), Options()),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_stays(name: str) -> None:
    before, options = LEFT[name]
    after, _ = optimize(before, options)
    assert operators(after) == operators(before)


def test_rows_that_somebody_else_reads_stay() -> None:
    before = patches()
    before.graph.output.append(
        helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["n", "l", "k"])
    )
    after, _ = optimize(before)
    assert operators(after) == operators(before)


@pytest.mark.parametrize("flavour", ["L", "D"])
def test_a_real_export(flavour: str) -> None:
    after, report = optimize(MODELS / "patches" / f"{flavour}.onnx")
    found = operators(after)
    assert (found["Conv"], found.get("MatMul", 0), found.get("Add", 0)) == (1, 0, 0)
    assert [f.certificate.verdict for f in report.fusions if f.certificate] == [HOLDS]
