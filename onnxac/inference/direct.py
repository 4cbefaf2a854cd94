"""Operators that constants are made by most often, computed by NumPy at once.

Exporters deliver Slice bounds, Pad amounts and BN statistics through short chains of these.
onnx's reference operators compute the same, but loading them takes as long as all else that a
small model needs, and calling one takes fifty times as long as the call to NumPy.
Where an operator is used in a way that is not met here, the answer is None: ask the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto, numpy_helper

from onnxac.inference.stored import Values

Inputs = Sequence[Values | None]
Attributes = Mapping[str, Any]

_INTEGERS = (np.dtype(np.int64), np.dtype(np.int32))
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_BOOL = np.dtype(bool)
# Element types between which a Cast means to NumPy what it means to ONNX, for all values.
_WHOLE: Mapping[int, np.dtype[Any]] = {
    TensorProto.INT64: np.dtype(np.int64),
    TensorProto.INT32: np.dtype(np.int32),
    TensorProto.FLOAT: np.dtype(np.float32),
    TensorProto.DOUBLE: np.dtype(np.float64),
    TensorProto.BOOL: _BOOL,
}
_READ: Mapping[int, Callable[[AttributeProto], Any]] = {
    AttributeProto.INT: lambda a: a.i,
    AttributeProto.INTS: lambda a: tuple(a.ints),
    AttributeProto.STRING: lambda a: a.s,
    AttributeProto.TENSOR: lambda a: a.t,
}


def compute(node: NodeProto, inputs: Inputs) -> Values | None:
    """The node's one output; None where only the reference operator tells.

    inputs  the values, None for one that is left out
    """
    rule = _RULES.get(node.op_type)
    if rule is None or len(node.output) != 1:
        return None
    attributes = {}
    for attribute in node.attribute:
        read = _READ.get(attribute.type)
        if read is None or attribute.ref_attr_name:
            return None
        attributes[attribute.name] = read(attribute)
    # Overflow and division by zero are the model's own business.
    with np.errstate(all="ignore"):
        return rule(inputs, attributes)


def _constant(_: Inputs, attributes: Attributes) -> Values | None:
    tensor = attributes.get("value")
    text = tensor is not None and tensor.data_type == TensorProto.STRING
    return None if tensor is None or text else numpy_helper.to_array(tensor)


def _identity(inputs: Inputs, _: Attributes) -> Values | None:
    return inputs[0]


def _axes(inputs: Inputs, attributes: Attributes) -> tuple[int, ...] | None:
    """Of Squeeze and Unsqueeze: an attribute before opset 13, an input from then on."""
    if len(inputs) > 1 and inputs[1] is not None:
        return tuple(int(a) for a in inputs[1].ravel())
    found = attributes.get("axes")
    return found if isinstance(found, tuple) else None


def _unsqueeze(inputs: Inputs, attributes: Attributes) -> Values | None:
    axes, data = _axes(inputs, attributes), inputs[0]
    return None if axes is None or data is None else np.expand_dims(data, axes)


def _squeeze(inputs: Inputs, attributes: Attributes) -> Values | None:
    axes, data = _axes(inputs, attributes), inputs[0]
    return None if axes is None or data is None else np.squeeze(data, axes)


def _concat(inputs: Inputs, attributes: Attributes) -> Values | None:
    parts = [i for i in inputs if i is not None]
    axis = attributes.get("axis")
    fits = axis is not None and len(parts) == len(inputs) and len({p.dtype for p in parts}) == 1
    return np.concatenate(parts, axis) if fits else None


def _transpose(inputs: Inputs, attributes: Attributes) -> Values | None:
    data = inputs[0]
    return None if data is None else np.transpose(data, attributes.get("perm"))


def _reshape(inputs: Inputs, attributes: Attributes) -> Values | None:
    data, target = inputs[0], inputs[1] if len(inputs) > 1 else None
    if data is None or target is None or (attributes.get("allowzero") and not target.all()):
        return None
    if any(not n for n in target[data.ndim :]):
        return None
    return data.reshape([int(n) or data.shape[i] for i, n in enumerate(target)])


def _cast(inputs: Inputs, attributes: Attributes) -> Values | None:
    data, wanted = inputs[0], _WHOLE.get(attributes.get("to", 0))
    if data is None or wanted is None or data.dtype not in (*_INTEGERS, _BOOL, wanted):
        return None
    cast: Values = data.astype(wanted)
    return cast


def _gather(inputs: Inputs, attributes: Attributes) -> Values | None:
    data, indices = inputs
    if data is None or indices is None:
        return None
    return np.asarray(np.take(data, indices, attributes.get("axis", 0)))


def _scatter_nd(inputs: Inputs, attributes: Attributes) -> Values | None:
    """Borders that are written one after another, element by element in the reference."""
    data, indices, updates = inputs
    if data is None or indices is None or updates is None or not indices.ndim:
        return None
    depth = indices.shape[-1]
    fits = updates.shape == (*indices.shape[:-1], *data.shape[depth:])
    if not depth or not fits or attributes.get("reduction", b"none") != b"none":
        return None
    written: Values = data.copy()
    written[tuple(np.moveaxis(indices, -1, 0))] = updates
    return written


def _paired(inputs: Inputs, *kinds: np.dtype[Any]) -> tuple[Values, Values] | None:
    """Both inputs, where they are of one element type, and it is one of these."""
    first, second = inputs
    if first is None or second is None or first.dtype != second.dtype:
        return None
    return (first, second) if first.dtype in kinds else None


def _add(inputs: Inputs, attributes: Attributes) -> Values | None:
    pair = None if attributes else _paired(inputs, *_INTEGERS, *_FLOATS)
    return None if pair is None else np.asarray(np.add(*pair))


def _sub(inputs: Inputs, attributes: Attributes) -> Values | None:
    pair = None if attributes else _paired(inputs, *_INTEGERS, *_FLOATS)
    return None if pair is None else np.asarray(np.subtract(*pair))


def _mul(inputs: Inputs, attributes: Attributes) -> Values | None:
    pair = None if attributes else _paired(inputs, *_INTEGERS, *_FLOATS)
    return None if pair is None else np.asarray(np.multiply(*pair))


def _div(inputs: Inputs, attributes: Attributes) -> Values | None:
    pair = None if attributes else _paired(inputs, *_INTEGERS, *_FLOATS)
    if pair is None:
        return None
    first, second = pair
    if first.dtype in _FLOATS:
        return np.asarray(np.divide(first, second))
    # NumPy rounds down, ONNX towards zero.
    return np.asarray(first // second) if (first >= 0).all() and (second > 0).all() else None


def _mod(inputs: Inputs, attributes: Attributes) -> Values | None:
    pair = None if attributes.get("fmod") else _paired(inputs, *_INTEGERS)
    return np.asarray(np.mod(*pair)) if pair is not None and pair[1].all() else None


def _sqrt(inputs: Inputs, _: Attributes) -> Values | None:
    data = inputs[0]
    return None if data is None or data.dtype not in _FLOATS else np.asarray(np.sqrt(data))


def _equal(inputs: Inputs, attributes: Attributes) -> Values | None:
    pair = None if attributes else _paired(inputs, *_INTEGERS, *_FLOATS, _BOOL)
    return None if pair is None else np.asarray(np.equal(*pair))


def _where(inputs: Inputs, _: Attributes) -> Values | None:
    condition, pair = inputs[0], _paired(inputs[1:], *_INTEGERS, *_FLOATS, _BOOL)
    if condition is None or pair is None or condition.dtype != _BOOL:
        return None
    return np.asarray(np.where(condition, *pair))


def _range(inputs: Inputs, _: Attributes) -> Values | None:
    parts = [i for i in inputs if i is not None and i.dtype in _INTEGERS and i.size == 1]
    if len(parts) < 3 or not parts[2].all():
        return None
    start, limit, delta = (int(p.item()) for p in parts)
    counted: Values = np.arange(start, limit, delta).astype(parts[0].dtype)
    return counted


def _expand(inputs: Inputs, _: Attributes) -> Values | None:
    data, target = inputs
    if data is None or target is None or (target < 1).any():
        return None
    shape = np.broadcast_shapes(data.shape, tuple(int(n) for n in target))
    return np.broadcast_to(data, shape).copy()


def _constant_of_shape(inputs: Inputs, attributes: Attributes) -> Values | None:
    target, held = inputs[0], attributes.get("value")
    if target is None or (target < 0).any():
        return None
    if held is not None and held.data_type not in _WHOLE:
        return None
    value = np.zeros(1, np.float32) if held is None else numpy_helper.to_array(held)
    return np.full(tuple(int(n) for n in target), value.ravel()[0]) if value.size == 1 else None


def _slice(inputs: Inputs, attributes: Attributes) -> Values | None:
    """With its bounds as inputs, from opset 10 on; Python clamps them as ONNX does."""
    data, starts, ends, *rest = (*inputs, None, None)[:5] if len(inputs) > 2 else (None,) * 5
    if attributes or data is None or starts is None or ends is None:
        return None
    axes, steps = (None if r is None else [int(n) for n in r] for r in rest)
    axes = [a % data.ndim for a in axes] if axes is not None else list(range(len(starts)))
    steps = steps if steps is not None else [1] * len(axes)
    if 0 in steps or len(set(axes)) < len(axes):
        return None
    cuts = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cuts[axis] = slice(int(start), int(end), step)
    return data[tuple(cuts)].copy()


_RULES: Mapping[str, Callable[[Inputs, Attributes], Values | None]] = {
    "Constant": _constant,
    "Identity": _identity,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Concat": _concat,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Cast": _cast,
    "Gather": _gather,
    "ScatterND": _scatter_nd,
    "Add": _add,
    "Sub": _sub,
    "Mul": _mul,
    "Div": _div,
    "Mod": _mod,
    "Sqrt": _sqrt,
    "Equal": _equal,
    "Where": _where,
    "Range": _range,
    "Expand": _expand,
    "ConstantOfShape": _constant_of_shape,
    "Slice": _slice,
}
