"""How far one output of two models is apart, and how far it may be."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxac.inputs import Array

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

# Equality to the bit, in a form that `relative / tolerance` can be formed with.
EXACT = sys.float_info.min


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
    """The distance of one output in one run.

    `max_abs` and `scale` as in OutputDifference. Where there is no number for the
    distance (another shape, NaN against a number, different strings) `relative` is at
    least 1 and `reason` says what it is. `finite` is whether there was anything finite
    to compare.
    """

    max_abs: float
    scale: float
    relative: float
    reason: str = ""
    finite: bool = True


def gap(before: Sequence[Array], after: Sequence[Array]) -> Gap:
    """The distance between two results of one output: a tensor each, or the same number of them."""
    if len(before) != len(after):
        return _whole(1.0, f"has {len(after)} tensors, the original's has {len(before)}")
    gaps = [_tensor_gap(b, a) for b, a in zip(before, after, strict=True)]
    if not gaps:
        return Gap(0.0, 0.0, 0.0)
    worst = max(gaps, key=lambda g: g.relative)
    return Gap(
        worst.max_abs, worst.scale, worst.relative, worst.reason, any(g.finite for g in gaps)
    )


def _whole(scale: float, reason: str) -> Gap:
    return Gap(scale, scale, 1.0, reason)


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
        return Gap(0.0, 1.0, 0.0)
    reason = f"differs in {differ} of {before.size} values, and {before.dtype.name} must be equal"
    if before.dtype.kind in "OSUb":
        return _whole(1.0, reason)
    distance = np.abs(before.astype(np.float64) - after.astype(np.float64)).max()
    scale = max(1.0, float(np.abs(before.astype(np.float64)).max()))
    # 2**63 and 2**63 + 1 are one float64, and yet not equal.
    return Gap(float(distance), scale, max(float(distance) / scale, 1e-12), reason)


def _float_gap(before: Array, after: Array, dtype: np.dtype[Any]) -> Gap:
    finite = np.isfinite(before)
    scale = float(np.abs(before[finite]).max()) if finite.any() else 0.0
    odd = _special(before) != _special(after)
    if odd.any():
        index = tuple(int(i) for i in np.argwhere(odd)[0])
        reason = f"is {after[index]} at {list(index)}, where the original's is {before[index]}"
        return _whole(scale or 1.0, reason)
    distance = float(np.abs(before[finite] - after[finite]).max()) if finite.any() else 0.0
    # An output of zeros has no magnitude; then whatever can be seen at all is too much.
    floor = _smallest(dtype)
    relative = min(distance / max(scale, floor), sys.float_info.max)
    return Gap(distance, scale, relative, finite=bool(finite.any()) or not before.size)


def _special(values: Array) -> Array:
    """0 where a number is finite, and a code for NaN and for each infinity elsewhere."""
    if values.dtype.kind == "c":
        return np.asarray(_special(values.real) + 4 * _special(values.imag))
    return np.asarray(1 * np.isnan(values) + 2 * np.isposinf(values) + 3 * np.isneginf(values))


def _smallest(dtype: np.dtype[Any]) -> float:
    """A magnitude below which a type holds no normal number (float32's for the unknown ones)."""
    return float(np.finfo(dtype).tiny) if dtype.kind in "fc" else float(np.finfo(np.float32).tiny)
