"""Where borders have a part, counted out; and resizing, against ONNX Runtime."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxac.proof.certificate import spans
from onnxac.proof.certificate.calls import Call, Value
from onnxac.proof.certificate.resizing import enlarge
from onnxac.proof.certificate.spans import Span

GEOMETRIES = list(itertools.product((1, 2, 3), (1, 2, 3), (1, 2), (0, 1, 2), (0, 1)))
ENDS = [(0, 0), (1, 0), (0, 2), (2, 3)]


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize(("taps", "stride", "dilation", "begin", "end"), GEOMETRIES)
def test_a_window_that_meets_a_border_is_counted(
    ends: tuple[int, int], taps: int, stride: int, dilation: int, begin: int, end: int
) -> None:
    length, (left, right) = 17, ends
    made = spans.windowed(Span(length, {}, left, right), taps, stride, dilation, begin, end)
    read = [[stride * p - begin + dilation * k for k in range(taps)] for p in range(made.length)]
    assert read[-1][-1] + stride >= length + end > read[-1][-1]
    at_left = sum(min(r) < left for r in read)
    at_right = sum(max(r) >= length - right for r in read)
    assert made.left == at_left
    # Where the last cells are seen by no window, one more may be counted.
    assert at_right <= made.right <= at_right + 1


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize(("taps", "stride", "dilation", "begin", "end"), GEOMETRIES)
def test_a_cell_that_spreads_over_a_border_is_counted(
    ends: tuple[int, int], taps: int, stride: int, dilation: int, begin: int, end: int
) -> None:
    length, (left, right) = 17, ends
    made = spans.spread(Span(length, {}, left, right), taps, stride, dilation, begin, end)
    reached = {
        q: [stride * q - begin + dilation * k for k in range(taps)] for q in range(-9, length + 9)
    }
    inside = range(made.length)
    at_left = [p for q, r in reached.items() if q < left for p in r if p in inside]
    at_right = [p for q, r in reached.items() if q >= length - right for p in r if p in inside]
    low = max(at_left, default=-1) + 1
    high = made.length - min(at_right, default=made.length)
    # A cell reaches over a stride at most; what it does not fill is counted with it.
    assert low <= made.left <= max(0, low + stride - 1) + dilation * (taps - 1)
    assert high <= made.right <= max(0, high + stride - 1) + dilation * (taps - 1)


RESIZES: list[dict[str, Any]] = [
    *(
        {"mode": "nearest", "coordinate_transformation_mode": c, "nearest_mode": n}
        for c in ("asymmetric", "half_pixel")
        for n in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
    ),
    *(
        {"mode": mode, "coordinate_transformation_mode": c}
        for mode in ("linear", "cubic")
        for c in ("asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners")
    ),
    {"mode": "cubic", "cubic_coeff_a": -0.5},
    {},
]


@pytest.mark.parametrize("factors", [(2, 3), (4, 1)])
@pytest.mark.parametrize("attributes", RESIZES, ids=lambda a: " ".join(map(str, a.values())))
def test_resizing_is_that_of_the_runtime(
    attributes: dict[str, Any], factors: tuple[int, int]
) -> None:
    x = np.random.default_rng(3).standard_normal((1, 2, 5, 6)).astype(np.float32)
    scales = np.array([1, 1, *factors], np.float32)
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(scales, "scales")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    (wanted,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    args = (Value(x[None].astype(np.float64), True), None, Value(scales, False))
    found = enlarge(Call("Resize", attributes, args, 18))
    np.testing.assert_allclose(found[0], wanted, rtol=1e-5, atol=1e-5)
