"""What a map of labels says: where every output element comes from, as axes and a fill.

A region of operators that only move data was run on a source whose elements carry their own
numbers. The result is a crop or an extension of the source if there is one position map per
axis, channels and batch stay, and whatever lies outside is one constant per channel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxac.algebra import Axis, Edge, Sampling
from onnxac.algebra.kernel import Array

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Located:
    """Geometry per spatial axis, and the constant [C] beyond the source; None for zero."""

    axes: tuple[Axis, ...]
    fill: Array | None

    def equals(self, other: Located) -> bool:
        """Whether both say the same."""
        if self.fill is None or other.fill is None:
            return self.axes == other.axes and self.fill is other.fill
        return self.axes == other.axes and bool(np.array_equal(self.fill, other.fill))


def locate(
    labels: Integers, copied: Flags, values: Array, shape: tuple[int, ...], lead: int = 2
) -> Located | None:
    """Axes and fill that put the labels where they are; None where none do.

    labels  [N, C, *P]: number of the source element that each output element is
    copied  which output elements are source elements; the others hold `values`
    shape   [N, C, *L] of the source
    lead    axes that stay as they are: 1 for [N, *L, C]
    """
    out = labels.shape
    if out[:lead] != shape[:lead] or not copied.any():
        return None
    positions = np.unravel_index(np.where(copied, labels, 0), shape)
    axes: list[Axis] = []
    inside = np.ones(out, bool)
    expected = [np.arange(n).reshape(_along(i, len(out))) for i, n in enumerate(out[:lead])]
    for i in range(lead, len(out)):
        others = tuple(k for k in range(len(out)) if k != i)
        present = np.asarray(copied.any(axis=others))
        line = np.where(copied, positions[i], -1).max(axis=others)
        axis = _axis(line, present, shape[i], out[i])
        if axis is None:
            return None
        axes.append(axis)
        inside = inside & present.reshape(_along(i, len(out)))
        expected.append(np.clip(line, 0, None).reshape(_along(i, len(out))))
    right = np.ravel_multi_index(tuple(np.broadcast_arrays(*expected)), shape)
    if not np.array_equal(copied, inside) or not np.array_equal(labels[copied], right[inside]):
        return None
    # Without an axis of channels one constant is all there may be.
    whole = out if lead == 2 else (out[0], 1, *out[1:])
    fill = _fill(values.reshape(whole), inside.reshape(whole))
    return None if fill is None else Located(tuple(axes), fill if np.any(fill) else None)


def _along(axis: int, rank: int) -> tuple[int, ...]:
    """Shape of a vector that lies along one axis."""
    return tuple(-1 if i == axis else 1 for i in range(rank))


def _fill(values: Array, inside: Flags) -> Array | None:
    """The one constant per channel outside; None where there are several."""
    outside = [values[:, c][~inside[:, c]] for c in range(values.shape[1])]
    if inside.all():
        return np.zeros(len(outside))
    fill = np.asarray([held[0] for held in outside])
    same = all(np.all(held == f) for held, f in zip(outside, fill, strict=True))
    return fill if same else None


def _axis(line: Integers, present: Flags, length: int, out: int) -> Axis | None:
    """Geometry of one axis: `line` is the source position per output, where `present`."""
    at, extent = np.arange(out), out - length
    factor = out // length
    # Each element, so many times: what Expand and Concat make behind a Reshape.
    if factor > 1 and present.all() and np.array_equal(line, at // factor):
        return Axis(sampling=Sampling(factor)) if out == factor * length else None
    if not present.all():
        first = int(np.argmax(present))
        offset = int(line[first]) - first
        reached = (at + offset >= 0) & (at + offset < length)
        # Outputs that would be source elements must neither be overwritten nor change places.
        exact = np.array_equal(line, np.where(reached, at + offset, -1))
        return Axis(offset=offset, extent=extent) if exact else None
    modes: dict[Edge, Callable[[Integers], Integers]] = {
        "zero": lambda p: p,
        "wrap": lambda p: p % length,
        "edge": lambda p: np.clip(p, 0, length - 1),
        "reflect": lambda p: length - 1 - np.abs(length - 1 - np.abs(p)),
    }
    for edge, source in modes.items():
        for shift in range(1 - length, length):
            if np.array_equal(source(at + shift), line):
                return Axis(offset=shift, extent=extent, edge=edge)
    return None
