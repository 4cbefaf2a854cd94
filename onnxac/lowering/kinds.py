"""Which kind of rewrite (`report.kinds`) an operator takes part in."""

from __future__ import annotations

_OPERATORS = {
    "affine": "BatchNormalization Mul Div Neg",
    "borders": "Pad Slice",
    "branches": "Conv ConvTranspose Add Sub Sum Mean",
    "casts": "Cast",
    "concat": "Concat Split",
    "focus": "SpaceToDepth",
    "layout": "Transpose Reshape Flatten Squeeze Unsqueeze Expand Tile",
    "pools": "AveragePool GlobalAveragePool ReduceMean ReduceSum",
    "products": "MatMul Gemm Einsum",
    "shuffles": "Gather",
    "upsample": "Resize Upsample",
}
_KIND_OF = {op: kind for kind, ops in _OPERATORS.items() for op in ops.split()}


def kind_of(op: str) -> str | None:
    """The kind of an operator of the standard; None for one that only hands on what it reads."""
    return _KIND_OF.get(op)
