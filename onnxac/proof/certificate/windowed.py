"""Convolutions and pools as their definitions say, in float64, for many probes at once.

Arrays are [M, C, *S]. Padding is done beforehand, so that a window never leaves its array.
Probes are often impulses: a single value in each group of channels. Then an output is a column
of the kernel, and is copied instead of being summed up; nothing else is done for speed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from onnxac.proof.certificate.cut import Array

# Above this many values in an array, it is not worth looking whether they are mostly zeros.
_LOOKED_AT = 2**24
# From so many different positions of impulses on, it is faster to sum up.
_PLACES = 16


def pad(x: Array, begin: Sequence[int], end: Sequence[int], value: float = 0.0) -> Array:
    """[M, C, *S] with more cells, or fewer where a number is negative, along the last axes."""
    crop = [
        slice(max(-b, 0), n - max(-e, 0)) for b, e, n in zip(begin, end, x.shape[2:], strict=True)
    ]
    x = x[(slice(None), slice(None), *crop)]
    widths = [(max(b, 0), max(e, 0)) for b, e in zip(begin, end, strict=True)]
    if not any(map(any, widths)):
        return x
    return np.pad(x, [(0, 0), (0, 0), *widths], constant_values=value)


def outputs(size: int, taps: int, stride: int, dilation: int) -> int:
    """How many windows there are along an axis that is padded already."""
    return (size - dilation * (taps - 1) - 1) // stride + 1


def convolve(
    x: Array, kernel: Array, group: int, stride: Sequence[int], dilation: Sequence[int]
) -> Array:
    """y[m, o, p] = Σ kernel[o, i, k] · x[m, i, stride·p + dilation·k], no padding.

    x       [M, C, *S]
    kernel  [O, C/group, *K]
    """
    taps = kernel.shape[2:]
    size = [outputs(*n) for n in zip(x.shape[2:], taps, stride, dilation, strict=True)]
    if min(size, default=1) <= 0:
        raise ValueError("a window is larger than its map")
    impulses = _impulses(x, group)
    if impulses is not None:
        return _copied(impulses, x.shape[0], kernel, group, (size, stride, dilation))
    m, c = x.shape[0], kernel.shape[1]
    place = math.prod(size)
    columns = np.empty((group, m, place, c, math.prod(taps)))
    for k, at in enumerate(np.ndindex(*taps)):
        cells = x[(slice(None), slice(None), *_reach(at, size, stride, dilation))]
        columns[..., k] = cells.reshape(m, group, c, place).transpose(1, 0, 3, 2)
    matrix = kernel.reshape(group, -1, c * math.prod(taps)).transpose(0, 2, 1)
    y = columns.reshape(group, m * place, -1) @ matrix
    y = y.reshape(group, m, place, -1).transpose(1, 0, 3, 2)
    return y.reshape(m, kernel.shape[0], *size)


def _reach(
    at: Sequence[int], size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[slice]:
    return [
        slice(d * k, d * k + s * (n - 1) + 1, s)
        for k, n, s, d in zip(at, size, stride, dilation, strict=True)
    ]


def _impulses(x: Array, group: int) -> tuple[Array, ...] | None:
    """Where x is not zero, and what it is there, if no group has two channels at one place."""
    m, c = x.shape[:2]
    if x.size > _LOOKED_AT or np.count_nonzero(x) > m * group * _PLACES:
        return None
    places = np.nonzero(x)
    block = places[1] // (c // group)
    seen = np.ravel_multi_index((places[0], block, *places[2:]), (m, group, *x.shape[2:]))
    if len(np.unique(seen)) != len(seen):
        return None
    if places[2:] and len(np.unique(np.ravel_multi_index(places[2:], x.shape[2:]))) > _PLACES:
        return None
    return *places, x[places]


def _copied(
    impulses: tuple[Array, ...],
    m: int,
    kernel: Array,
    group: int,
    geometry: tuple[Sequence[int], Sequence[int], Sequence[int]],
) -> Array:
    """The convolution of impulses: columns of the kernel, at the places that see them."""
    size, stride, dilation = geometry
    probe, channel, *at, value = impulses
    width, height = kernel.shape[1], kernel.shape[0] // group
    taps = kernel.shape[2:]
    # Columns of one tap lie together.
    table = np.moveaxis(kernel.reshape(group, height, width, -1), -1, 0).transpose(0, 1, 3, 2)
    y = np.zeros((*size, m, group, height))
    places, which = (
        np.unique(np.stack(at), axis=1, return_inverse=True)
        if at
        else (
            np.zeros((0, 1), int),
            np.zeros(len(probe), int),
        )
    )
    for index in range(places.shape[1]):
        own = which.reshape(-1) == index
        rows, block = probe[own], channel[own] // width
        inner, factor = channel[own] % width, value[own, None]
        for k, tap in enumerate(np.ndindex(*taps)):
            away = [q - d * t for q, d, t in zip(places[:, index], dilation, tap, strict=True)]
            if any(a % s for a, s in zip(away, stride, strict=True)):
                continue
            p = tuple(int(a // s) for a, s in zip(away, stride, strict=True))
            if all(0 <= i < n for i, n in zip(p, size, strict=True)):
                y[p][rows, block] += table[k, block, inner] * factor
    return np.moveaxis(y.reshape(*size, m, group * height), (-2, -1), (0, 1))


def spread(
    x: Array, kernel: Array, group: int, stride: Sequence[int], dilation: Sequence[int]
) -> Array:
    """ConvTranspose, no padding: y[m, o, stride·q + dilation·k] += kernel[i, o, k] · x[m, i, q].

    x       [M, C, *S]
    kernel  [C, O/group, *K]
    """
    m, c = x.shape[0], x.shape[1] // group
    taps, space = kernel.shape[2:], x.shape[2:]
    size = [
        s * (n - 1) + d * (k - 1) + 1
        for n, k, s, d in zip(space, taps, stride, dilation, strict=True)
    ]
    y = np.zeros((m, group, kernel.shape[1], *size))
    flat = x.reshape(m, group, c, -1)
    weights = kernel.reshape(group, c, kernel.shape[1], *taps)
    for at in np.ndindex(*taps):
        part = weights[(slice(None), slice(None), slice(None), *at)].transpose(0, 2, 1) @ flat
        where = _reach(at, space, stride, dilation)
        y[(slice(None), slice(None), slice(None), *where)] += part.reshape(
            m, group, kernel.shape[1], *space
        )
    return y.reshape(m, -1, *size)


def windows(
    x: Array, taps: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[Array]:
    """The cells that each tap of a window sees, one array [M, C, *P] per tap."""
    size = [outputs(*n) for n in zip(x.shape[2:], taps, stride, dilation, strict=True)]
    return [
        x[(slice(None), slice(None), *_reach(at, size, stride, dilation))]
        for at in itertools.product(*map(range, taps))
    ]


def automatic(mode: str, size: int, taps: int, stride: int, dilation: int) -> tuple[int, int]:
    """What `auto_pad` comes to along one axis, for convolutions and pools."""
    if mode in ("NOTSET", "VALID", ""):
        return 0, 0
    out = -(-size // stride)
    whole = max((out - 1) * stride + dilation * (taps - 1) + 1 - size, 0)
    less = whole // 2
    return (less, whole - less) if mode == "SAME_UPPER" else (whole - less, less)
