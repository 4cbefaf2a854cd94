"""Shapes that follow from an operand that holds a shape: Reshape, Expand, Tile, Resize, …

onnx's own inference follows such operands where they are numbers. Here their entries may be
dynamic extents (`symbols`), and so may those of the input. None stands for an extent of which
nothing is known, and for a whole shape of which not even the rank is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from onnxac.inference.dims import Dim, Shape, broadcast, divided, plus, product, quotient
from onnxac.inference.stored import Values
from onnxac.inference.symbols import Symbol

Dims = list[Dim | None]


class Operands(NamedTuple):
    """What is known of a node's inputs, one entry per input; None for what is not.

    shapes   of each input
    symbols  what the small ones hold, in extents
    values   what the small ones hold that are constants
    """

    shapes: Sequence[Shape | None]
    symbols: Sequence[Symbol | None]
    values: Sequence[Values | None]
    attrs: Mapping[str, Any]

    @property
    def shape(self) -> Shape | None:
        """Shape of the first input."""
        return self.shapes[0]

    def symbol(self, index: int) -> Symbol | None:
        """What an input holds; of a vector of which only the length is known, no entry is."""
        if index >= len(self.symbols):
            return None
        held, shape = self.symbols[index], self.shapes[index]
        if held is None and shape is not None and len(shape) == 1 and isinstance(shape[0], int):
            return (None,) * shape[0]
        return held


def _reshape(node: Operands) -> Dims | None:
    """The target, with its zeros and its −1 filled in as far as the input's shape tells."""
    target, shape = node.symbol(1), node.shape
    if target is None:
        return None
    dims: Dims = []
    for place, wanted in enumerate(target):
        if wanted == 0 and not node.attrs.get("allowzero", 0):
            dims.append(shape[place] if shape is not None and place < len(shape) else None)
        else:
            dims.append(None if wanted == -1 else wanted)
    if shape is not None and dims.count(None) == 1:
        # All elements go somewhere: what is left open is what the others leave.
        rest = [d for d in dims if d is not None]
        dims[dims.index(None)] = quotient(shape, rest)
    return dims


def _expand(node: Operands) -> Dims | None:
    """Input and target, broadcast against each other."""
    target, shape = node.symbol(1), node.shape
    if target is None or shape is None:
        return None
    rank = max(len(shape), len(target))
    left = [*[1] * (rank - len(shape)), *shape]
    right = [*[1] * (rank - len(target)), *target]
    return [broadcast(a, b) for a, b in zip(left, right, strict=True)]


def _filled(node: Operands) -> Dims | None:
    """ConstantOfShape: what its input holds."""
    target = node.symbol(0)
    return None if target is None else list(target)


def _range(node: Operands) -> Dims | None:
    """The length of a Range that counts up from zero."""
    start, limit, delta = (node.symbol(i) for i in range(3))
    return [limit[0] if limit and start == (0,) and delta == (1,) else None]


def _flatten(node: Operands) -> Dims | None:
    """Two axes: those before `axis`, and those from it on."""
    shape, axis = node.shape, int(node.attrs.get("axis", 1))
    return None if shape is None else [product(shape[:axis]), product(shape[axis:])]


def _tile(node: Operands) -> Dims | None:
    """Each axis as often as the repeats say."""
    shape, repeats = node.shape, node.symbol(1)
    if shape is None or repeats is None or len(repeats) != len(shape):
        return None
    return [product([d, r]) for d, r in zip(shape, repeats, strict=True)]


def _pad(node: Operands) -> Dims | None:
    """Begin and end added to each of the axes."""
    shape, amounts, axes = node.shape, node.symbol(1), node.symbol(3)
    if shape is None or amounts is None:
        return None
    chosen = _places(axes, len(shape))
    if chosen is None or len(amounts) != 2 * len(chosen):
        return None
    dims: Dims = list(shape)
    for begin, end, axis in zip(amounts, amounts[len(chosen) :], chosen, strict=False):
        dims[axis] = plus(plus(dims[axis], begin), end)
    return dims


def _places(axes: Symbol | Sequence[int] | None, rank: int) -> list[int] | None:
    """The axes that an operand names, all where it is left out; None where it can't be read."""
    if axes is None:
        return list(range(rank))
    found = [a % rank for a in axes if isinstance(a, int) and -rank <= a < rank]
    return found if len(found) == len(axes) else None


def _resize(node: Operands) -> Dims | None:
    """Sizes as they are, or ⌊extent · scale⌋ for scales that are whole or one over that."""
    shape, attrs = node.shape, node.attrs
    if (
        shape is None
        or attrs.get("keep_aspect_ratio_policy", b"stretch") != b"stretch"
        or attrs.get("coordinate_transformation_mode") == b"tf_crop_and_resize"
    ):
        return None
    chosen = _places(attrs.get("axes"), len(shape))
    wanted = node.symbol(3) or None
    scales = node.values[1 if len(node.values) == 2 else 2] if len(node.values) > 1 else None
    held = attrs.get("scales") if scales is None else scales
    if chosen is None:
        return None
    dims: Dims = list(shape)
    if wanted is not None and len(wanted) == len(chosen):
        for axis, dim in zip(chosen, wanted, strict=True):
            dims[axis] = dim
        return dims
    if wanted is not None or held is None or len(held) != len(chosen):
        return None
    for axis, scale in zip(chosen, held, strict=True):
        dims[axis] = _scaled(shape[axis], float(scale))
    return dims


def _scaled(dim: Dim, scale: float) -> Dim | None:
    if not 0 < scale < 2**31:
        return None
    exact = Fraction(scale)
    if exact.denominator == 1:
        return product([dim, exact.numerator])
    return divided(dim, exact.denominator) if exact.numerator == 1 else None


def _depth_to_space(node: Operands) -> Dims | None:
    """[N, C·block², H, W] → [N, C, H·block, W·block]."""
    shape, block = node.shape, int(node.attrs.get("blocksize", 0))
    if shape is None or len(shape) != 4 or block < 1:
        return None
    first, channels, *around = shape
    return [first, divided(channels, block * block), *(product([d, block]) for d in around)]


def _space_to_depth(node: Operands) -> Dims | None:
    """[N, C, H, W] → [N, C·block², H/block, W/block]."""
    shape, block = node.shape, int(node.attrs.get("blocksize", 0))
    if shape is None or len(shape) != 4 or block < 1:
        return None
    first, channels, *around = shape
    return [first, product([channels, block * block]), *(divided(d, block) for d in around)]


RULES: dict[str, Callable[[Operands], Dims | None]] = {
    "Reshape": _reshape,
    "Expand": _expand,
    "ConstantOfShape": _filled,
    "Range": _range,
    "Flatten": _flatten,
    "Tile": _tile,
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
