"""The evaluator that certificates are made by, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxac.proof.certificate.cut import Part
from onnxac.proof.certificate.evaluate import Evaluator
from onnxac.proof.certificate.operators import bends
from onnxac.proof.certificate.sizes import Survey
from onnxac.proof.certificate.spans import ApartError

OPERATORS: dict[str, tuple[tuple[int, ...], list[Any], dict[str, Any]]] = {
    "Conv-group": ((1, 4, 7, 6), [(6, 2, 3, 2), (6,)], {"group": 2, "pads": [1, 0, 2, 1]}),
    "Conv-stride": ((2, 3, 9, 8), [(4, 3, 3, 3)], {"strides": [2, 3], "dilations": [2, 1]}),
    "Conv-same": ((1, 2, 7, 7), [(2, 2, 3, 4)], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "Conv-depthwise": ((1, 3, 6), [(3, 1, 3), (3,)], {"group": 3}),
    "ConvTranspose-group": (
        (1, 4, 4, 3),
        [(4, 2, 3, 2), (4,)],
        {"group": 2, "strides": [2, 3], "pads": [1, 0, 0, 1], "output_padding": [1, 0]},
    ),
    "AveragePool-plain": ((1, 2, 6, 7), [], {"kernel_shape": [3, 2], "pads": [1, 1, 1, 0]}),
    "AveragePool-counted": (
        (1, 2, 6, 7),
        [],
        {"kernel_shape": [3, 2], "pads": [1, 1, 1, 0], "count_include_pad": 1},
    ),
    "AveragePool-strided": ((1, 2, 7, 7), [], {"kernel_shape": [3, 3], "strides": [2, 2]}),
    "MaxPool-padded": ((1, 2, 6, 6), [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "GlobalAveragePool-": ((1, 3, 4, 5), [], {}),
    "MatMul-batched": ((2, 3, 4), [(4, 5)], {}),
    "Gemm-transposed": ((3, 4), [(5, 4), (5,)], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    "Gemm-first": ((4, 3), [(4, 5)], {"transA": 1}),
    "Einsum-": ((2, 3, 4), [(4, 5, 3)], {"equation": "abc,cdb->adb"}),
    "Mul-": ((1, 3, 4, 4), [(3, 1, 1)], {}),
    "Sub-": ((1, 3, 4, 4), [(3, 1, 1)], {}),
    "Div-": ((1, 3, 4, 4), [(3, 1, 1)], {}),
    "Relu-": ((1, 3, 4, 4), [], {}),
    "HardSwish-": ((1, 3, 4, 4), [], {}),
    "Max-": ((1, 3, 4, 4), [(3, 1, 1)], {}),
    "Min-": ((1, 3, 4, 4), [(3, 1, 1)], {}),
    "Clip-": ((1, 3, 4, 4), [np.array(-1, np.float32), np.array(3, np.float32)], {}),
    "Clip-above": ((1, 3, 4, 4), [None, np.array(3, np.float32)], {}),
    "Transpose-": ((1, 3, 4, 5), [], {"perm": [0, 2, 3, 1]}),
    "Flatten-": ((2, 3, 4), [], {"axis": 2}),
    "SpaceToDepth-": ((1, 2, 4, 6), [], {"blocksize": 2}),
    "DepthToSpace-dcr": ((1, 8, 2, 3), [], {"blocksize": 2}),
    "DepthToSpace-crd": ((1, 8, 2, 3), [], {"blocksize": 2, "mode": "CRD"}),
    "Tile-": ((2, 1, 4), [np.array([1, 3, 2])], {}),
    "GatherND-": ((4, 3, 5), [np.array([[[1, 2], [3, 0]], [[0, 1], [1, -1]]])], {}),
    "Reshape-": ((2, 3, 4), [np.array([0, -1])], {}),
    "Slice-": (
        (1, 3, 8, 9),
        [np.array([1, -2]), np.array([-1, -9]), np.array([2, 3]), np.array([2, -2])],
        {},
    ),
    "Pad-constant": ((1, 2, 5, 4), [np.array([0, 0, 1, 2, 0, 0, -1, 1])], {}),
    "Pad-reflect": ((1, 2, 5, 4), [np.array([0, 0, 1, 2, 0, 0, 3, 1])], {"mode": "reflect"}),
    "Pad-edge": ((1, 2, 5, 4), [np.array([0, 0, 1, 2, 0, 0, 3, 1])], {"mode": "edge"}),
    "Gather-": ((1, 3, 4), [np.array([2, 0])], {"axis": 1}),
    "Unsqueeze-": ((2, 3), [np.array([0, -1])], {}),
    "Expand-": ((3, 1), [np.array([2, 1, 4])], {}),
    "ReduceSum-": ((2, 3, 4), [np.array([1])], {"keepdims": 0}),
    "Resize-": ((1, 2, 3, 3), [None, np.array([1, 1, 2, 3], np.float32)], {"mode": "nearest"}),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_the_naive_operators_are_those_of_onnx(name: str) -> None:
    """Against ONNX Runtime, which shares nothing with them; both sides of a cut share these."""
    shape, constants, attributes = OPERATORS[name]
    rng = np.random.default_rng(2)
    arrays = [
        a if a is None or isinstance(a, np.ndarray) else rng.integers(1, 5, a).astype(np.float32)
        for a in constants
    ]
    names = [f"c{i}" if a is not None else "" for i, a in enumerate(arrays)]
    node = helper.make_node(
        name.split("-", maxsplit=1)[0], ["x", *names], ["y"], "node", **attributes
    )
    weights = [
        numpy_helper.from_array(a, n) for n, a in zip(names, arrays, strict=True) if a is not None
    ]
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights,
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    x = rng.integers(-4, 5, shape).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (expected,) = session.run(None, {"x": x})
    values = {n: a for n, a in zip(names, arrays, strict=True) if a is not None}
    part = Part((node,), values.__getitem__, 17)
    (whole,) = Evaluator(part, ("x",)).run({"x": x[None]}, ("y",))
    np.testing.assert_allclose(whole[0], expected, rtol=1e-6, atol=1e-6)
    if bends(node.op_type, attributes):
        return
    # The linear part of a probe twice as large is twice as large.
    (found,) = Evaluator(part, ("x",)).run({"x": np.stack([x, 2 * x])}, ("y",), shift=False)
    np.testing.assert_allclose(found[1], 2 * found[0], rtol=1e-12)


def test_sizes_that_do_not_go_together_one_unit_on_show_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A neck that was exported at one size: its maps meet at that size only."""

    def apart(*_: object, **__: object) -> None:
        raise ApartError(frozenset(), frozenset(), 1)

    monkeypatch.setattr(Survey, "_trace", apart)
    survey = object.__new__(Survey)
    survey._axes = ({}, {})
    assert not survey._repeats(([], {}), {})
