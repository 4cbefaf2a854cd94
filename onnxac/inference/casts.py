"""Element types: which holds all values of which, so that a Cast to it rounds nothing."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import TensorProto

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
