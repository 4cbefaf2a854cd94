"""Focus, space to depth and their other spellings, as Nets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from exact import INT64_MAX, Net, Tensor

Place = tuple[int, int]
SPELLINGS = ("slices", "SpaceToDepth", "reshaped", "blocks_last")


def space_to_depth(
    net: Net, x: Tensor, block: int, spelling: str, order: Sequence[Place] = ()
) -> Tensor:
    """[N, C, H, W] → [N, C·block², H/block, W/block].

    order  for the slices: which place of the block comes when
    """
    n, c, h, w = x.shape
    shape = (n, c * block * block, h // block, w // block)
    if spelling == "slices":
        parts = [strided(net, x, block, place) for place in order]
        shape = (n, c * len(parts), h // block, w // block)
        return net.node("Concat", [p.name for p in parts], x, shape=shape, axis=1)
    if spelling == "SpaceToDepth":
        return net.node("SpaceToDepth", [x.name], x, shape=shape, blocksize=block)
    # Channels come first (PixelUnshuffle), or the places of the block do (DCR).
    perm = [0, 1, 3, 5, 2, 4] if spelling == "reshaped" else [0, 3, 5, 1, 2, 4]
    split, joined = _targets(net, x, block)
    apart = (n, c, h // block, block, w // block, block)
    y = net.node("Reshape", [x.name, split], x, shape=apart)
    y = net.node("Transpose", [y.name], y, shape=[apart[p] for p in perm], perm=perm)
    return net.node("Reshape", [y.name, joined], y, shape=shape)


def strided(net: Net, x: Tensor, block: int, place: Place) -> Tensor:
    """x[:, :, i::block, j::block] as two Slices."""
    for axis, start in zip((2, 3), place, strict=True):
        shape = list(x.shape)
        shape[axis] = -(-(shape[axis] - start) // block)
        bounds = [[start], [INT64_MAX], [axis], [block]]
        names = [net.constant(np.array(b, np.int64)) for b in bounds]
        x = net.node("Slice", [x.name, *names], x, shape=shape)
    return x


def _targets(net: Net, x: Tensor, block: int) -> tuple[str, str]:
    """Targets of both Reshapes: constants, or computed from the shape where that is dynamic."""
    n, c, h, w = x.shape
    if not net.dynamic:
        split = net.constant(np.array([n, c, h // block, block, w // block, block]))
        return split, net.constant(np.array([n, c * block * block, h // block, w // block]))
    shape = net.node("Shape", [x.name], x).name
    sizes = []
    for axis in (0, 2, 3):
        place = net.constant(np.array([axis], np.int64))
        size = net.node("Gather", [shape, place], x, axis=0).name
        if axis:
            size = net.node("Div", [size, net.constant(np.array([block], np.int64))], x).name
        sizes.append(size)
    number, high, wide = sizes
    once, channels, every = (
        net.constant(np.array([v], np.int64)) for v in (block, c, c * block * block)
    )
    split = net.node("Concat", [number, channels, high, once, wide, once], x, axis=0).name
    return split, net.node("Concat", [number, every, high, wide], x, axis=0).name
