"""The kinds of rewrites, by the names that everybody uses: `--without`, the report, the docs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

KINDS: Mapping[str, str] = {
    "affine": "BatchNormalization, scales and shifts go into an operator beside them",
    "branches": "convolutions that are added up, or stand behind each other, are one",
    "borders": "a Pad, a crop or a border that is written goes into a window's padding",
    "casts": "a Cast between float types goes where both sides share the narrow type",
    "concat": "branches that a Concat joins are one operator",
    "focus": "Focus, SpaceToDepth and PixelUnshuffle go into a convolution with a stride",
    "layout": "Transpose, Reshape and what is like them go where they cancel out",
    "pools": "an average goes into an operator beside it",
    "products": "products with constant matrices are one",
    "shuffles": "channels are chosen, or change places, within a kernel or before a DepthToSpace",
    "upsample": "a Resize by a whole factor goes into, or behind, what reads it",
}
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
    "shuffles": "Gather DepthToSpace",
    "upsample": "Resize Upsample",
}
_KIND_OF = {op: kind for kind, ops in _OPERATORS.items() for op in ops.split()}


def kind_of(op: str) -> str | None:
    """Which kind of rewrite an operator of the standard takes part in.

    None for one that only hands on what it reads.
    """
    return _KIND_OF.get(op)


def unknown(kinds: Iterable[str]) -> str | None:
    """What to tell of a name that is no kind's; None where all are."""
    for kind in kinds:
        if kind not in KINDS:
            from difflib import get_close_matches

            close = get_close_matches(kind, KINDS, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(KINDS)}"
            return f"--without {kind}: no kind of rewrites is called so; {hint}"
    return None
