"""Stored tensors, read with care.

The checker lets pass data that is longer than type and dims say, element types that nobody
defined, and text that is no UTF-8. None of that may cost a model that does not need it: such
a tensor is one whose value can't be had, with a reason.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper
from onnx.external_data_helper import uses_external_data

from onnxac.storage.files import data_range

Values = npt.NDArray[Any]

# Types of less than a byte: several elements share one.
_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
_PACKED = {TensorProto.DataType.Value(n): b for n, b in _BITS.items() if hasattr(TensorProto, n)}
# Bytes up to which it is quicker to copy data than to ask for its length.
_COPIED = 1 << 16
# Types that NumPy has as they are stored, on machines that store the lowest byte first.
_NATIVE: dict[int, np.dtype[Any]] = {
    kind: np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))
    for kind in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32)
    if sys.byteorder == "little"
}
# Two numbers per element.
_PAIRED = (TensorProto.COMPLEX64, TensorProto.COMPLEX128)


def flaw(tensor: TensorProto) -> str | None:
    """Why the tensor's value can't be had; None where it can. Its data is not copied."""
    try:
        width = int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (KeyError, TypeError, ValueError):
        return f"its element type {tensor.data_type} is not defined"
    if tensor.data_type == TensorProto.STRING:
        return "it holds text"
    if any(d < 0 for d in tensor.dims):
        return "it has a negative extent"
    if tensor.HasField("segment"):
        return "it is stored in segments"
    count = math.prod(tensor.dims)
    bits = _PACKED.get(tensor.data_type)
    if tensor.HasField("raw_data"):
        expected = count * width if bits is None else -(-count * bits // 8)
        return None if _holds_raw(tensor, expected) else "its data does not fit its type and dims"
    if uses_external_data(tensor) or bits is not None:
        return None
    held = len(getattr(tensor, onnx.helper.tensor_dtype_to_field(tensor.data_type)))
    expected = count * (2 if tensor.data_type in _PAIRED else 1)
    return None if held == expected else "its data does not fit its type and dims"


def _holds_raw(tensor: TensorProto, expected: int) -> bool:
    """Whether raw_data is of that length: told by the size of the message where it can be."""
    if expected <= _COPIED:
        return len(tensor.raw_data) == expected
    head = TensorProto(dims=tensor.dims, data_type=tensor.data_type, name=tensor.name)
    length = TensorProto(data_type=max(expected, 1)).ByteSize() - 1
    if tensor.ByteSize() == head.ByteSize() + 1 + length + expected:
        return True
    return len(tensor.raw_data) == expected


def read(tensor: TensorProto, folder: Path) -> Values:
    """The value of a tensor without a flaw. Raises ModelError where external data is missing."""
    if uses_external_data(tensor):
        data_range(tensor, folder)
    elif (kind := _NATIVE.get(tensor.data_type)) is not None and tensor.HasField("raw_data"):
        return np.frombuffer(tensor.raw_data, kind).reshape(tuple(tensor.dims))
    return np.asarray(numpy_helper.to_array(tensor, str(folder)))
