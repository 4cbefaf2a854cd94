"""Convolutions by the letter of their definition: loops over outputs, taps and channels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from onnxac.algebra import Axis, Sum, Term

Array = NDArray[np.float64]


def element(axis: Axis, position: int, length: int) -> int | str:
    """Which source element lies at a position of x̂: its index, "between" or "beyond"."""
    if axis.sampling is not None:
        assert not axis.sampling.rule
        found = element(axis.unsampled, position, length * axis.sampling.factor)
        return found if isinstance(found, str) else found // axis.sampling.factor
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


def framed(term: Term, x: Array) -> Array:
    """The source with its axes where the view says."""
    order: list[int] = []
    dims: list[int] = []
    for entry in term.view:
        parts = [entry] if isinstance(entry, int) else list(entry or ())
        order += parts
        dims.append(math.prod(x.shape[i] for i in parts))
    rest = [i for i in range(x.ndim) if i not in order]
    return x.transpose(*order, *rest).reshape(dims)


def convolve(term: Term, x: Array) -> Array:
    """The term of the source x, all its axes included."""
    kernel = term.kernel()
    if term.axes is None:
        return np.asarray(kernel * x)
    x = framed(term, x)
    for number, axis in enumerate(term.axes):
        if axis.mean:
            x = x.mean(axis=number, keepdims=True)
    still = [Axis() if a.mean else a for a in term.axes]
    maps = [reads(a, n) for a, n in zip(still, x.shape, strict=True)]
    channels = term.channels
    if channels is None:
        kernel = kernel[None, None]
    else:
        # One "output channel" more than taps: its axis is not convolved.
        maps[channels.axis] = [[o] for o in range(channels.out)]
        kernel = np.expand_dims(kernel, 2 + channels.axis)
    fill = np.zeros(1) if term.fill is None else term.fill().reshape(-1)
    y = np.zeros([len(m) for m in maps])
    for at in itertools.product(*(range(len(m)) for m in maps)):
        for taps in itertools.product(*(range(n) for n in kernel.shape[2:])):
            where = [m[p][k] for m, p, k in zip(maps, at, taps, strict=True)]
            if channels is None:
                y[at] += kernel[(0, 0, *taps)] * _value(x, where, float(fill[0]))
                continue
            o = at[channels.axis]
            per_in, per_out = channels.width // channels.group, channels.out // channels.group
            for i in range(per_in):
                channel = o // per_out * per_in + i
                where[channels.axis] = channel
                held = float(fill[channel % len(fill)])
                y[at] += kernel[(o, i, *taps)] * _value(x, where, held)
    shown = len(term.axes) - term.hidden
    return y.reshape(y.shape[:shown])


def _value(x: Array, where: Sequence[int | str], fill: float) -> float:
    if "beyond" in where:
        return fill
    return 0.0 if "between" in where else float(x[tuple(int(w) for w in where)])


def evaluate(definition: Sum, sources: Mapping[str, Array]) -> Array:
    """The sum of terms, plus the biases."""
    total = np.asarray(sum(convolve(t, sources[t.source]) for t in definition.terms))
    for bias in definition.biases:
        values = bias.values()
        if bias.axis is not None:
            values = values.reshape(-1, *[1] * (total.ndim - 1 - bias.axis))
        total = total + values
    return total
