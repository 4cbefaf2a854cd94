"""What a map of labels says where channels change their places: Focus, space to depth, shuffles.

A region of operators that only move data was run on a source whose elements carry their own
numbers. Here every output channel is one channel of the source, read at every so-manieth
position: y[n, o, p] = x[n, c(o), stride·p + offset(o)]. Channels of one offset are one term, so
the region is a sum of strided selections, however it was spelled (four Slices and a Concat;
Reshape, Transpose, Reshape).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from onnxac.algebra import Axis
from onnxac.lowering.labels import Flags, Integers


@dataclass(frozen=True)
class Arranged:
    """Where output channels come from; equal at all sizes, but for the numbers of outputs.

    strides  one per spatial axis
    parts    first positions per spatial axis → (output channel, channel of the source)
    """

    strides: tuple[int, ...]
    parts: tuple[tuple[tuple[int, ...], tuple[tuple[int, int], ...]], ...]


def arrange(labels: Integers, copied: Flags, shape: tuple[int, ...]) -> Arranged | None:
    """What puts the labels where they are; None where nothing does.

    labels  [N, O, *P]: number of the source element that each output element is
    copied  which output elements are source elements; all have to be
    shape   [N, C, *L] of the source
    """
    out = labels.shape
    if len(out) != len(shape) or out[0] != shape[0] or 0 in out or not copied.all():
        return None
    batch, channel, *spatial = np.unravel_index(labels, shape)
    rows = channel[0].reshape(out[1], -1)[:, 0]
    if not np.array_equal(batch, _spread(np.arange(out[0]), 0, out)):
        return None
    if not np.array_equal(channel, _spread(rows, 1, out)):
        return None
    lines = [_line(at, axis, out) for axis, at in enumerate(spatial, start=2)]
    found = [line for line in lines if line is not None]
    if len(found) < len(lines):
        return None
    parts: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for o, row in enumerate(rows):
        parts.setdefault(tuple(int(first[o]) for _, first in found), []).append((o, int(row)))
    chosen = tuple((offsets, tuple(pairs)) for offsets, pairs in parts.items())
    return Arranged(tuple(stride for stride, _ in found), chosen)


def line(stride: int, counts: Iterable[tuple[int, int]]) -> Axis | None:
    """The axis that gives all these numbers of outputs; None where none does.

    counts  lengths of the source, each with the number of outputs there
    """
    seen = list(counts)
    extent = max(stride * (p - 1) - (n - 1) for n, p in seen)
    if any((n - 1 + extent) // stride + 1 != p for n, p in seen):
        return None
    fits = all((n - 1 + extent) % stride == 0 for n, _ in seen)
    return Axis(stride=stride, extent=extent, fits=fits)


def _spread(values: Integers, axis: int, shape: tuple[int, ...]) -> Integers:
    """A vector along one axis, repeated along the others."""
    along = values.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return np.broadcast_to(along, shape)


def _line(at: Integers, axis: int, out: tuple[int, ...]) -> tuple[int, Integers] | None:
    """Stride, and the first position per output channel, of positions along one axis."""
    others = tuple(slice(None) if i in (1, axis) else 0 for i in range(len(out)))
    lines = at[others]
    count = out[axis]
    stride = int(lines[0, 1] - lines[0, 0]) if count > 1 else 1
    if stride < 1:
        return None
    expected = lines[:, :1] + stride * np.arange(count)
    whole = expected.reshape([n if i in (1, axis) else 1 for i, n in enumerate(out)])
    return (stride, lines[:, 0]) if np.array_equal(at, np.broadcast_to(whole, out)) else None
