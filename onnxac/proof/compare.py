"""How far one output of two models is apart, and how far it may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxac.proof.feeds import Array

# Distance from 1 to the next number, by the name of the type. NumPy knows the first three only.
EPSILON = {
    "float16": 2.0**-10,
    "float32": 2.0**-23,
    "float64": 2.0**-52,
    "complex64": 2.0**-23,
    "complex128": 2.0**-52,
    "bfloat16": 2.0**-7,
}
NARROW_EPSILON = 2.0**-2

# Measured: one fused block in float32 is up to 4.4 epsilon from its original, sums
# included. Half precision is summed in single: only the roundings of results are left.
MULTIPLE = 8.0
HALF_MULTIPLE = 2.0

# Fewer values than that, and their largest error is a matter of luck.
CHANNEL_SIZE = 64

# Equality to the bit, in a form that `relative / tolerance` can be formed with: no two
# numbers that differ are closer than EXACT, and the quotient stays finite up to LARGEST.
EXACT = 1e-200
LARGEST = 1e100


def epsilon(dtype: np.dtype[Any]) -> float | None:
    """The relative spacing of a floating-point type; None for types that are exact."""
    if dtype.kind in "biuOSU" or "int" in dtype.name:
        return None
    return EPSILON.get(dtype.name, NARROW_EPSILON)


def base_tolerance(dtype: np.dtype[Any]) -> float:
    """What a type alone allows: a few roundings; `EXACT` for integers, booleans, strings."""
    spacing = epsilon(dtype)
    if spacing is None:
        return EXACT
    return spacing * (HALF_MULTIPLE if dtype.itemsize <= 2 else MULTIPLE)


@dataclass(frozen=True)
class Gap:
    """The distance of one output in one run: of the whole, and of each of its channels.

    A channel is a slice along axis 1 or along the last axis, if it has `CHANNEL_SIZE`
    values or more: a detector's scores, of 1 at most, share a tensor with coordinates
    in the hundreds, beside which an error in them would not be seen.

    distances  max |after - before|, of the whole and then of the channels
    scales     max |before|, likewise
    floor      the least that a scale counts as: an output of zeros has no magnitude
    axes       (axis, length) of the channels, in the order that they are listed in
    reason     what the difference is where it is no number (another shape, NaN against a
               number, different strings); the whole is then as far off as it is large
    finite     whether there was anything finite to compare
    """

    distances: Array
    scales: Array
    floor: float = 0.0
    axes: tuple[tuple[int, int], ...] = ()
    reason: str = ""
    finite: bool = True

    @property
    def relative(self) -> Array:
        """Distance over scale, of the whole and of each channel; finite."""
        with np.errstate(over="ignore"):
            ratio = self.distances / np.maximum(self.scales, self.floor)
        return np.asarray(np.minimum(ratio, LARGEST))

    def place(self, index: int) -> str:
        """Where the entry `index` of the arrays is in the output: `` or `[:, 3]`."""
        if index == 0:
            return ""
        index -= 1
        for axis, length in self.axes:
            if index < length:
                return f"[:, {index}]" if axis == 1 else f"[..., {index}]"
            index -= length
        return ""


def gap(before: Sequence[Array], after: Sequence[Array]) -> Gap:
    """The distance between two results of one output: a tensor each, or the same number of them."""
    if len(before) != len(after):
        return _whole(1.0, f"has {len(after)} tensors, the original's has {len(before)}")
    gaps = [_tensor_gap(b, a) for b, a in zip(before, after, strict=True)]
    if len(gaps) == 1:
        return gaps[0]
    # The tensors of a sequence are each judged whole; there may be none.
    named = next((g for g in gaps if g.reason), None)
    if named or not gaps:
        return named or Gap(np.zeros(1), np.ones(1))
    worst = max(gaps, key=lambda g: float(g.relative[0]))
    return Gap(
        worst.distances[:1], worst.scales[:1], worst.floor, finite=any(g.finite for g in gaps)
    )


def _whole(scale: float, reason: str) -> Gap:
    return Gap(np.array([scale]), np.array([scale]), reason=reason)


def _tensor_gap(before: Array, after: Array) -> Gap:
    if before.dtype != after.dtype:
        return _whole(1.0, f"is {after.dtype.name}, the original's is {before.dtype.name}")
    if before.shape != after.shape:
        return _whole(1.0, f"has shape {after.shape}, the original's has {before.shape}")
    if epsilon(before.dtype) is None:
        return _exact_gap(before, after)
    wide = np.complex128 if before.dtype.kind == "c" else np.float64
    return _float_gap(before.astype(wide), after.astype(wide), before.dtype)


def _exact_gap(before: Array, after: Array) -> Gap:
    differ = int(np.count_nonzero(before != after))
    if not differ:
        return Gap(np.zeros(1), np.ones(1))
    reason = f"differs in {differ} of {before.size} values, and {before.dtype.name} must be equal"
    if before.dtype.kind in "OSUb":
        return _whole(1.0, reason)
    # 2**63 and 2**63 + 1 are one float64, and yet not equal: the distance is 1 at least.
    distance = max(1.0, np.abs(before.astype(np.float64) - after.astype(np.float64)).max())
    scale = max(1.0, np.abs(before.astype(np.float64)).max())
    return Gap(np.array([distance]), np.array([scale]), reason=reason)


def _float_gap(before: Array, after: Array, dtype: np.dtype[Any]) -> Gap:
    finite = np.isfinite(before)
    magnitude = np.abs(np.where(finite, before, 0.0))
    odd = _special(before) != _special(after)
    if odd.any():
        index = tuple(int(i) for i in np.argwhere(odd)[0])
        reason = f"is {after[index]} at {list(index)}, where the original's is {before[index]}"
        return _whole(float(magnitude.max()) or 1.0, reason)
    distance = np.abs(np.where(finite, after, 0.0) - np.where(finite, before, 0.0))
    axes = tuple((axis, before.shape[axis]) for axis in _channel_axes(before.shape))
    return Gap(
        _maxima(distance, axes),
        _maxima(magnitude, axes),
        _smallest(dtype),
        axes,
        finite=bool(finite.any()) or not before.size,
    )


def _channel_axes(shape: tuple[int, ...]) -> list[int]:
    size = math.prod(shape)
    if len(shape) < 3:
        return []
    return [a for a in (1, len(shape) - 1) if shape[a] and size // shape[a] >= CHANNEL_SIZE]


def _maxima(values: Array, axes: Sequence[tuple[int, int]]) -> Array:
    """The maximum of all values, and behind it those of the slices along each axis."""
    parts = [np.array([values.max(initial=0.0)])]
    for axis, _ in axes:
        parts.append(values.max(axis=tuple(a for a in range(values.ndim) if a != axis)))
    return np.concatenate(parts)


def _special(values: Array) -> Array:
    """0 where a number is finite, and a code for NaN and for each infinity elsewhere."""
    if values.dtype.kind == "c":
        return np.asarray(_special(values.real) + 4 * _special(values.imag))
    return np.asarray(1 * np.isnan(values) + 2 * np.isposinf(values) + 3 * np.isneginf(values))


def _smallest(dtype: np.dtype[Any]) -> float:
    """A magnitude below which a type holds no normal number (float32's for the unknown ones)."""
    return float(np.finfo(dtype).tiny) if dtype.kind in "fc" else float(np.finfo(np.float32).tiny)
