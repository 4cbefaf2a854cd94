"""Convolutions and pools as their definitions say, in float64, for many probes at once.

Arrays are [M, C, *S]. Padding is done beforehand, so that a window never leaves its array.
Probes are often impulses: a single value in each group of channels. Then an output is a column
of the kernel, and is copied instead of being summed up; nothing else is done for speed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxac.proof.certificate.cut import Array

# Above this many values in an array, it is not worth looking whether they are mostly zeros.
_LOOKED_AT = 2**24
# From so many different positions of impulses on, it is faster to sum up; less on small arrays.
_PLACES, _PLACES_SMALL, _SMALL = 64, 16, 2**18


@dataclass(frozen=True)
class Geometry:
    """How windows lie on a map, per spatial axis."""

    stride: Sequence[int]
    dilation: Sequence[int]
    begin: Sequence[int]
    end: Sequence[int]

    def outputs(self, space: Sequence[int], taps: Sequence[int]) -> list[int]:
        """How many windows there are on a padded map. Raises ValueError where there are none."""
        size = [
            (n - d * (k - 1) - 1) // s + 1
            for n, k, s, d in zip(space, taps, self.stride, self.dilation, strict=True)
        ]
        if min(size, default=1) <= 0:
            raise ValueError("a window is larger than its map")
        return size

    def reach(self, at: Sequence[int], size: Sequence[int]) -> tuple[Any, ...]:
        """Which cells of a padded map one tap sees, over all windows, as an index."""
        cells = [
            slice(d * k, d * k + s * (n - 1) + 1, s)
            for k, n, s, d in zip(at, size, self.stride, self.dilation, strict=True)
        ]
        return ..., *cells

    def sees(
        self, place: Sequence[int], tap: Sequence[int], size: Sequence[int]
    ) -> tuple[int, ...] | None:
        """The window that sees a place of the map through this tap, if there is one."""
        found = []
        for axis, (q, k) in enumerate(zip(place, tap, strict=True)):
            away = int(q) + self.begin[axis] - self.dilation[axis] * k
            p, rest = divmod(away, self.stride[axis])
            if rest or not 0 <= p < size[axis]:
                return None
            found.append(p)
        return tuple(found)


@dataclass(frozen=True)
class Impulses:
    """The values of an array that is zero but for a few places.

    spots        [rank, number of different places]
    probe, channel, spot, value   of each value that is not zero; `spot` counts in `spots`
    """

    probe: Array
    channel: Array
    spots: Array
    spot: Array
    value: Array


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


def convolve(x: Array, kernel: Array, group: int, geometry: Geometry) -> Array:
    """y[m, o, p] = Σ kernel[o, i, k] · x[m, i, stride·p + dilation·k − begin], x padded by zeros.

    x       [M, C, *S]
    kernel  [O, C/group, *K]
    """
    x = pad(x, geometry.begin, geometry.end)
    taps = kernel.shape[2:]
    size = geometry.outputs(x.shape[2:], taps)
    m, c = x.shape[0], kernel.shape[1]
    cells = x.reshape(m, group, c, *x.shape[2:]).transpose(1, 2, 0, *range(3, x.ndim + 1))
    if c == 1 and kernel.shape[0] == group:
        sums = np.zeros((group, m, *size))
        for at in np.ndindex(*taps):
            weight = kernel[(slice(None), 0, *at)].reshape(-1, *(1,) * (sums.ndim - 1))
            sums += weight * cells[geometry.reach(at, size)][:, 0]
        return np.moveaxis(sums, 1, 0)
    columns = np.empty((group, c, math.prod(taps), m * math.prod(size)))
    for k, at in enumerate(np.ndindex(*taps)):
        seen = cells[geometry.reach(at, size)]
        columns[:, :, k] = seen.reshape(group, c, -1)
    matrix = kernel.reshape(group, -1, c * math.prod(taps))
    y = matrix @ columns.reshape(group, c * math.prod(taps), -1)
    y = y.reshape(kernel.shape[0], m, *size)
    return np.moveaxis(y, 1, 0)


def impulses(x: Array) -> Impulses | None:
    """Where x is not zero, and what it is there, if that is at few places."""
    if x.size > _LOOKED_AT or np.count_nonzero(x) > x.shape[0] * x.shape[1]:
        return None
    places = np.nonzero(x)
    at = np.stack(places[2:]) if places[2:] else np.zeros((0, len(places[0])), int)
    spots, which = np.unique(at, axis=1, return_inverse=True)
    if spots.shape[1] > (_PLACES if x.size > _SMALL else _PLACES_SMALL):
        return None
    return Impulses(places[0], places[1], spots, which.reshape(-1), x[places])


def copied(
    found: Impulses, x: Array, kernel: Array, group: int, geometry: Geometry
) -> Array | None:
    """`convolve` of impulses: columns of the kernel, at the places that see them.

    None where two channels of one group are not zero at one place of a probe.
    """
    m, height = x.shape[0], kernel.shape[0] // group
    taps, width = kernel.shape[2:], kernel.shape[1]
    space = [n + b + e for n, b, e in zip(x.shape[2:], geometry.begin, geometry.end, strict=True)]
    size = geometry.outputs(space, taps)
    block, inner = found.channel // width, found.channel % width
    seen = (found.probe * group + block) * max(found.spots.shape[1], 1) + found.spot
    # np.unique loads all of numpy.ma.
    if not np.diff(np.sort(seen)).all():
        return None
    # Columns of one tap lie together.
    table = kernel.reshape(group, height, width, -1).transpose(3, 0, 2, 1)
    y = np.zeros((*size, m, group, height))
    for spot, place in enumerate(found.spots.T):
        own = found.spot == spot
        rows, blocks, factor = found.probe[own], block[own], found.value[own, None]
        for k, tap in enumerate(np.ndindex(*taps)):
            p = geometry.sees(place, tap, size)
            if p is not None:
                y[p][rows, blocks] += table[k, blocks, inner[own]] * factor
    return np.moveaxis(y.reshape(*size, m, group * height), (-2, -1), (0, 1))


def spread(x: Array, kernel: Array, group: int, geometry: Geometry) -> Array:
    """ConvTranspose, no padding: y[m, o, stride·q + dilation·k] += kernel[i, o, k] · x[m, i, q].

    x       [M, C, *S]
    kernel  [C, O/group, *K]
    """
    m, c = x.shape[0], x.shape[1] // group
    taps, space = kernel.shape[2:], x.shape[2:]
    size = [
        s * (n - 1) + d * (k - 1) + 1
        for n, k, s, d in zip(space, taps, geometry.stride, geometry.dilation, strict=True)
    ]
    y = np.zeros((m, group, kernel.shape[1], *size))
    flat = x.reshape(m, group, c, -1)
    weights = kernel.reshape(group, c, kernel.shape[1], *taps)
    for at in np.ndindex(*taps):
        part = weights[(slice(None), slice(None), slice(None), *at)].transpose(0, 2, 1) @ flat
        where = geometry.reach(at, space)
        y[where] += part.reshape(m, group, kernel.shape[1], *space)
    return y.reshape(m, -1, *size)


def windows(x: Array, taps: Sequence[int], geometry: Geometry) -> list[Array]:
    """The cells of a padded map that each tap of a window sees, an array [M, C, *P] per tap."""
    size = geometry.outputs(x.shape[2:], taps)
    return [x[geometry.reach(at, size)] for at in np.ndindex(*taps)]


def automatic(mode: str, size: int, taps: int, stride: int, dilation: int) -> tuple[int, int]:
    """What `auto_pad` comes to along one axis, for convolutions and pools."""
    if mode in ("NOTSET", "VALID", ""):
        return 0, 0
    out = -(-size // stride)
    whole = max((out - 1) * stride + dilation * (taps - 1) + 1 - size, 0)
    less = whole // 2
    return (less, whole - less) if mode == "SAME_UPPER" else (whole - less, less)
