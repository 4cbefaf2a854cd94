"""Constants that NumPy computes at once, against onnx's own reference operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from onnxac.inference import direct
from onnxac.inference.stored import Values

_INT, _INT32, _FLOAT, _BOOL = np.int64, np.int32, np.float32, np.bool_
_NODE = helper.make_node


def _ints(*values: int) -> Values:
    return np.array(values, _INT)


_GRID = np.arange(24, dtype=_FLOAT).reshape(2, 3, 4)
_MIXED = np.array([-7.5, 0.0, 2.0, np.inf], _FLOAT)
_ENDS = np.iinfo(_INT)
_PAIRS = [
    (np.array([[7, -8], [9, 2**31 - 1]], kind), np.array([2, 3], kind)) for kind in (_INT, _INT32)
] + [(_GRID, _GRID[:, :1]), (_MIXED, np.zeros(4, _FLOAT)), (_GRID[0, 0, 0], _GRID[0, 0, 1])]
_CASES: list[tuple[NodeProto, list[Any]]] = [
    *((_NODE(op, ["a", "b"], ["y"]), list(p)) for op in ("Add", "Sub", "Mul") for p in _PAIRS),
    (_NODE("Div", ["a", "b"], ["y"]), [_ints(7, 8, 0), _ints(2, 3, 5)]),
    *((_NODE("Div", ["a", "b"], ["y"]), list(p)) for p in _PAIRS[2:]),
    (_NODE("Mod", ["a", "b"], ["y"]), [_ints(7, -7, 7, -7), _ints(3, 3, -3, -3)]),
    (_NODE("Sqrt", ["a"], ["y"]), [_MIXED]),
    (_NODE("Equal", ["a", "b"], ["y"]), [_ints(1, -1, 4), _ints(-1)]),
    (_NODE("Where", ["a", "b", "c"], ["y"]), [_ints(1, 0) == 1, _ints(5), _ints(6, 7)]),
    *(
        (_NODE("Range", ["a", "b", "c"], ["y"]), [np.array(n, _INT) for n in bounds])
        for bounds in ((0, 7, 1), (0, 7, 3), (7, 0, -2), (3, 3, 1))
    ),
    (_NODE("Expand", ["a", "b"], ["y"]), [_GRID[:, :1], _ints(2, 3, 1)]),
    (_NODE("Expand", ["a", "b"], ["y"]), [_GRID[0, 0], _ints(2, 1)]),
    (_NODE("ConstantOfShape", ["a"], ["y"]), [_ints(2, 0, 3)]),
    *(
        (_NODE("ConstantOfShape", ["a"], ["y"], value=helper.make_tensor("v", kind, [1], [1])), [s])
        for kind in (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.FLOAT)
        for s in (_ints(2, 3), _ints())
    ),
    *(
        (_NODE("Slice", list("abcde"), ["y"]), [_GRID, *map(_ints, bounds)])
        for bounds in ((1, 3, 2, 1), (-2, _ENDS.max, -1, 1), (-1, _ENDS.min, 1, -1), (9, -9, 2, -2))
    ),
    (_NODE("Slice", list("abc"), ["y"]), [_GRID, _ints(0, 1), _ints(1, 9)]),
    (
        _NODE("Slice", ["a", "b", "c", "", "e"], ["y"]),
        [_GRID, _ints(2), _ints(-99), None, _ints(-1)],
    ),
    (_NODE("Reshape", ["a", "b"], ["y"]), [_GRID, _ints(0, -1)]),
    (_NODE("Reshape", ["a", "b"], ["y"]), [_GRID, _ints(0, 0, 2, 2)]),
    *(
        (_NODE("Cast", ["a"], ["y"], to=to), [values])
        for to in (TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT, TensorProto.BOOL)
        for values in (_ints(0, -5, 2**24 + 1), _ints(0, 3) == 3)
    ),
]


@pytest.mark.parametrize(("node", "inputs"), _CASES, ids=lambda c: getattr(c, "op_type", ""))
def test_numpy_computes_what_the_reference_does(node: NodeProto, inputs: list[Any]) -> None:
    found = direct.compute(node, inputs)
    given = {n: i for n, i in zip(node.input, inputs, strict=True) if n}
    graph = helper.make_graph(
        [node],
        "one",
        [_value(name, values) for name, values in given.items()],
        [helper.make_tensor_value_info("y", TensorProto.UNDEFINED, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    with np.errstate(all="ignore"):
        (wanted,) = ReferenceEvaluator(model).run(None, given)
    assert isinstance(found, np.ndarray)
    assert (found.dtype, found.shape) == (np.asarray(wanted).dtype, np.shape(wanted))
    assert np.array_equal(found, wanted, equal_nan=found.dtype.kind == "f")


def _value(name: str, values: Values) -> Any:
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape
    )


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        (_NODE("Div", ["a", "b"], ["y"]), [_ints(-7), _ints(2)]),
        (_NODE("Div", ["a", "b"], ["y"]), [_ints(7), _ints(0)]),
        (_NODE("Mod", ["a", "b"], ["y"], fmod=1), [_ints(-7), _ints(2)]),
        (_NODE("Add", ["a", "b"], ["y"]), [_ints(7), _MIXED]),
        (_NODE("Add", ["a", "b"], ["y"], axis=1), [_ints(7), _ints(1)]),
        (_NODE("Cast", ["a"], ["y"], to=TensorProto.INT64), [_MIXED]),
        (_NODE("Slice", ["a"], ["y"], starts=[0], ends=[1]), [_GRID]),
        (_NODE("Slice", list("abcde"), ["y"]), [_GRID, *map(_ints, (0, 1, 1, 0))]),
        (_NODE("Expand", ["a", "b"], ["y"]), [_GRID, _ints(-1, 3, 4)]),
        (_NODE("Range", ["a", "b", "c"], ["y"]), [_ints(0)[0], _ints(3)[0], _ints(0)[0]]),
        (_NODE("Reshape", ["a", "b"], ["y"], allowzero=1), [_GRID, _ints(0, 4)]),
    ],
)
def test_what_numpy_means_otherwise_is_left_to_the_reference(
    node: NodeProto, inputs: list[Any]
) -> None:
    assert direct.compute(node, inputs) is None
