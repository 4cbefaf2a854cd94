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

# Element types between which a Cast means to NumPy what it means to ONNX, for all values.
_WHOLE: Mapping[int, np.dtype[Any]] = {
    TensorProto.INT64: np.dtype(np.int64),
    TensorProto.INT32: np.dtype(np.int32),
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
    # An extent of 0 may mean that of the data, or none.
    if data is None or target is None or not target.all() or attributes.get("allowzero"):
        return None
    return data.reshape([int(n) for n in target])


def _cast(inputs: Inputs, attributes: Attributes) -> Values | None:
    data, wanted = inputs[0], _WHOLE.get(attributes.get("to", 0))
    if data is None or wanted is None or data.dtype not in _WHOLE.values():
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
}
