"""Convolutions by the letter of their definition: loops over outputs, taps and channels."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from onnxac.algebra import AffineConv, AffineSum, Axis

Array = NDArray[np.float64]


def element(axis: Axis, position: int, length: int) -> int | str:
    """Which source element lies at a position of x̂: its index, "between" or "beyond"."""
    last = axis.up * (length - 1)
    if 0 <= position <= last:
        return "between" if position % axis.up else position // axis.up
    if axis.edge == "zero":
        return "beyond"
    if axis.edge == "edge":
        return min(max(position, 0), length - 1)
    if axis.edge == "wrap":
        return position % length
    reflected = abs(position)
    return length - 1 - abs(length - 1 - reflected)


def reads(axis: Axis, length: int) -> list[list[int | str]]:
    """What each output reads, tap by tap."""
    return [
        [
            element(axis, axis.stride * p + axis.dilation * k + axis.offset, length)
            for k in range(axis.taps)
        ]
        for p in range(max(axis.length(length), 0))
    ]


def convolve(conv: AffineConv, x: Array) -> Array:
    """The convolution of x, [channels, *spatial]."""
    kernel = conv.kernel()
    if conv.axes is None:
        return np.asarray(kernel * x)
    maps = [reads(a, n) for a, n in zip(conv.axes, x.shape[1:], strict=True)]
    out, width = conv.channels
    per_in, per_out = width // conv.group, out // conv.group
    fill = np.zeros(width) if conv.fill is None else conv.fill()
    y = np.zeros((out, *map(len, maps)))
    for o in range(out):
        for at in itertools.product(*(range(len(m)) for m in maps)):
            for taps in itertools.product(*(range(a.taps) for a in conv.axes)):
                where = [m[p][k] for m, p, k in zip(maps, at, taps, strict=True)]
                for i in range(per_in):
                    channel = o // per_out * per_in + i
                    y[(o, *at)] += kernel[(o, i, *taps)] * _value(x, channel, where, fill)
    return y


def _value(x: Array, channel: int, where: Sequence[int | str], fill: Array) -> float:
    if "beyond" in where:
        return float(fill[channel])
    return 0.0 if "between" in where else float(x[(channel, *map(int, where))])


def evaluate(definition: AffineSum, sources: Mapping[str, Array]) -> Array:
    """The sum of convolutions of the sources, plus the bias."""
    total = np.asarray(sum(convolve(c, sources[s]) for s, c in definition.terms))
    if definition.bias is None:
        return total
    bias = definition.bias()
    return total + bias.reshape(bias.shape + (1,) * (total.ndim - bias.ndim))
