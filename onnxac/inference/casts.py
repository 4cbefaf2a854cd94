"""Which element types and values can be had in which type, so that nothing is rounded."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import TensorProto

from onnxac.inference.stored import Values

# Up to here, float64 holds every integer.
_LARGEST_EXACT = 2**53

_WIDER: dict[int, frozenset[int]] = {
    TensorProto.FLOAT16: frozenset({TensorProto.FLOAT, TensorProto.DOUBLE}),
    TensorProto.BFLOAT16: frozenset({TensorProto.FLOAT, TensorProto.DOUBLE}),
    TensorProto.FLOAT: frozenset({TensorProto.DOUBLE}),
    TensorProto.INT32: frozenset({TensorProto.INT64, TensorProto.DOUBLE}),
    TensorProto.BOOL: frozenset(
        {TensorProto.INT32, TensorProto.INT64, TensorProto.FLOAT, TensorProto.DOUBLE}
    ),
}


def holds(wide: int | None, narrow: int | None) -> bool:
    """Whether each value of one element type is one of the other's; an unknown type is any."""
    return None in (wide, narrow) or wide == narrow or wide in _WIDER.get(narrow or 0, ())


def widest(kinds: Iterable[int | None]) -> int | None:
    """The type that holds all others, of types that hold one another."""
    found: int | None = None
    for kind in kinds:
        if found is None or (kind is not None and not holds(found, kind)):
            found = kind
    return found


def outgrows_floats(values: Values | None) -> bool:
    """Whether there are integers that float64 rounds."""
    if values is None or values.dtype.kind not in "iu" or not values.size:
        return False
    return int(np.max(values)) > _LARGEST_EXACT or int(np.min(values)) < -_LARGEST_EXACT
