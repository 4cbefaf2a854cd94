"""How far one tensor of two models is apart, and how far its type lets it be. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

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

# Fewer values than that, and their largest error is a matter of luck: such a channel is judged
# over all runs together.
CHANNEL_SIZE = 64
# An axis longer than that is not one of channels.
MOST_CHANNELS = 4096

# Equality to the bit, in a form that `relative / tolerance` can be formed with: no two
# numbers that differ are closer than EXACT, and the quotient stays finite up to LARGEST.
EXACT = 1e-200
LARGEST = 1e100

# What stands for the two models in a reason, until somebody knows their names.
FIRST = "{first}"


def epsilon(dtype: np.dtype[Any]) -> float | None:
    """The relative spacing of a floating-point type; None for types that are exact."""
    if dtype.kind in "biuOSU" or "int" in dtype.name:
        return None
    return EPSILON.get(dtype.name, NARROW_EPSILON)


def base_tolerance(spacing: float | None) -> float:
    """What a type of this epsilon allows: a few roundings; `EXACT` for those that are exact."""
    if spacing is None:
        return EXACT
    return spacing * (HALF_MULTIPLE if spacing >= EPSILON["float16"] else MULTIPLE)


@dataclass(frozen=True)
class Axis:
    """Channels of a tensor: the slices along one axis. `values` is how many each of them has."""

    axis: int
    length: int
    values: int


@dataclass(frozen=True)
class Gap:
    """The distance of one tensor in one run: of the whole, and of each of its channels.

    A channel is a slice along axis 1, along axis 2 of five, or along the last axis: a
    detector's scores, of 1 at most, share a tensor with coordinates in the hundreds, beside
    which an error in them would not be seen.

    distances  max |second - first|, of the whole and then of the channels
    scales     max |first|, likewise; with rtol and atol, what these allow where it is worst
    floor      the least that a scale counts as: an output of zeros has no magnitude
    axes       of the channels, in the order that they are listed in
    reason     what the difference is where it is no number (another shape, NaN against a
               number, different strings); the whole is then as far off as it is large.
               `FIRST` stands for the first model
    epsilon    of the first tensor's type; None for types that are exact
    low, high  smallest and largest finite value of the first; low > high where there is none
    size       number of values of the first
    """

    distances: Array
    scales: Array
    floor: float = 0.0
    axes: tuple[Axis, ...] = ()
    reason: str = ""
    epsilon: float | None = None
    low: float = math.inf
    high: float = -math.inf
    size: int = 0

    @cached_property
    def relative(self) -> Array:
        """Distance over scale, of the whole and of each channel; finite."""
        with np.errstate(over="ignore"):
            ratio = self.distances / np.maximum(self.scales, self.floor)
        return np.asarray(np.minimum(ratio, LARGEST))

    @property
    def is_finite(self) -> bool:
        """Whether there was anything finite to compare."""
        return self.low <= self.high

    def place(self, index: int) -> str:
        """Where the entry `index` of the arrays is in the tensor: `` or `[:, 3]`."""
        if index == 0:
            return ""
        index -= 1
        for axis in self.axes:
            if index < axis.length:
                return place_in(axis.axis, index)
            index -= axis.length
        return ""


@dataclass(frozen=True)
class Measures:
    """What a gap tells of its first array alone: its scales, and what else it takes from it."""

    scales: Array
    known: Mapping[str, Any]


def place_in(axis: int, index: int) -> str:
    """`[:, 3]` for the slice 3 of axis 1, `[..., 3]` for that of a last axis (-1)."""
    return f"[..., {index}]" if axis < 0 else f"[{':, ' * axis}{index}]"


def gap(
    before: Sequence[Array],
    after: Sequence[Array],
    *,
    floor: float = 0.0,
    elementwise: tuple[float, float] | None = None,
    wide: bool = False,
    measured: dict[int, Measures] | None = None,
) -> Gap:
    """The distance between two results of one tensor: an array each, or the same number of them.

    floor        the least magnitude that it is judged at
    elementwise  rtol and atol: then each value is judged by itself
    wide         the first is the second in another floating-point type, and may be
    measured     what is known of the arrays of the first, by their places; filled in here, for
                 those who compare it with another one
    """
    measured = {} if measured is None else measured
    if len(before) != len(after):
        return _whole(1.0, f"has {len(after)} tensors, where {FIRST} has {len(before)}")
    gaps = [
        _near_gap(b, a, floor, index, measured) or _tensor_gap(b, a, floor, elementwise, wide)
        if elementwise is None
        else _tensor_gap(b, a, floor, elementwise, wide)
        for index, (b, a) in enumerate(zip(before, after, strict=True))
    ]
    if len(gaps) == 1:
        return gaps[0]
    # The tensors of a sequence are each judged whole; there may be none.
    named = next((g for g in gaps if g.reason), None)
    if named or not gaps:
        return named or Gap(np.zeros(1), np.ones(1))
    worst = max(gaps, key=lambda g: float(g.relative[0]))
    return Gap(
        worst.distances[:1],
        worst.scales[:1],
        worst.floor,
        epsilon=worst.epsilon,
        low=min(g.low for g in gaps),
        high=max(g.high for g in gaps),
        size=sum(g.size for g in gaps),
    )


def _whole(scale: float, reason: str, first: Array | None = None) -> Gap:
    known = {} if first is None else _known(first, epsilon(first.dtype))
    return Gap(np.array([scale]), np.array([scale]), reason=reason, **known)


def _known(first: Array, spacing: float | None) -> dict[str, Any]:
    """What a gap tells of the first tensor alone."""
    values = first
    if first.dtype.kind in "OSU":
        # Of strings it is told only whether they are all the same.
        values = first != first.flat[0] if first.size else np.zeros(0)
    elif first.dtype.kind == "c":
        values = np.abs(first)
    elif first.dtype.kind == "V":
        values = first.astype(np.float64)
    low, high = _ends(values)
    if not math.isfinite(high - low):
        low, high = _ends(values[np.isfinite(values)])
    return {"epsilon": spacing, "low": low, "high": high, "size": first.size}


def _ends(values: Array) -> tuple[float, float]:
    """The smallest and the largest value; +inf and -inf where there is none."""
    return (float(values.min()), float(values.max())) if values.size else (math.inf, -math.inf)


def _near_gap(
    before: Array, after: Array, floor: float, index: int, measured: dict[int, Measures]
) -> Gap | None:
    """The gap of two finite arrays of single or double precision, computed in their own type.

    The difference of two numbers is rounded once there, and exact where they are close. None where
    there is more to it.
    """
    dtype = before.dtype
    if dtype not in (np.float32, np.float64) or after.dtype != dtype or before.shape != after.shape:
        return None
    axes = channel_axes(before.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.asarray(np.subtract(after, before))
        np.abs(distance, out=distance)
        distances = _maxima(distance, axes)
        # Whatever is not finite on either side is not finite here.
        if not np.isfinite(distances[0]):
            return None
        if index not in measured:
            known = _known(before, epsilon(dtype))
            measured[index] = Measures(_maxima(np.abs(before, out=distance), axes), known)
    found = measured[index]
    least = max(floor, _smallest(dtype))
    return Gap(distances, found.scales, least, axes, **found.known)


def _tensor_gap(
    before: Array,
    after: Array,
    floor: float,
    elementwise: tuple[float, float] | None,
    wide: bool,
) -> Gap:
    spacing = epsilon(before.dtype)
    both_float = spacing is not None and epsilon(after.dtype) is not None
    if before.dtype != after.dtype and not (wide and both_float):
        return _whole(1.0, f"is {after.dtype.name}, where {FIRST} has {before.dtype.name}", before)
    if before.shape != after.shape:
        return _whole(1.0, f"has shape {after.shape}, where {FIRST} has {before.shape}", before)
    if spacing is None:
        return _exact_gap(before, after)
    kind = np.complex128 if before.dtype.kind == "c" else np.float64
    least = max(floor, _smallest(before.dtype))
    found = _float_gap(before.astype(kind), after.astype(kind), least, elementwise)
    return replace(found, epsilon=spacing)


def _exact_gap(before: Array, after: Array) -> Gap:
    differ = int(np.count_nonzero(before != after))
    if not differ:
        return Gap(np.zeros(1), np.ones(1), **_known(before, None))
    reason = f"differs in {differ} of {before.size} values, and {before.dtype.name} must be equal"
    if before.dtype.kind in "OSUb":
        return _whole(1.0, reason, before)
    # 2**63 and 2**63 + 1 are one float64, and yet not equal: the distance is 1 at least.
    distance = max(1.0, np.abs(before.astype(np.float64) - after.astype(np.float64)).max())
    scale = max(1.0, np.abs(before.astype(np.float64)).max())
    return Gap(np.array([distance]), np.array([scale]), reason=reason, **_known(before, None))


def _float_gap(
    before: Array, after: Array, floor: float, elementwise: tuple[float, float] | None
) -> Gap:
    known = _known(before, None)
    finite = np.isfinite(before)
    all_finite = bool(finite.all())
    if not all_finite or not np.isfinite(after).all():
        odd = _special(before) != _special(after)
        if odd.any():
            index = tuple(int(i) for i in np.argwhere(odd)[0])
            magnitude = np.abs(np.where(finite, before, 0.0))
            reason = f"is {after[index]} at {list(index)}, where {FIRST} has {before[index]}"
            return _whole(float(magnitude.max()) or 1.0, reason, before)
        before, after = np.where(finite, before, 0.0), np.where(finite, after, 0.0)
    magnitude, distance = np.abs(before), np.abs(after - before)
    if elementwise is not None and before.size:
        rtol, atol = elementwise
        allowed = atol + rtol * magnitude
        worst = int(np.argmax(distance / np.maximum(allowed, EXACT)))
        return Gap(
            distance.reshape(-1)[worst : worst + 1],
            allowed.reshape(-1)[worst : worst + 1],
            EXACT,
            **known,
        )
    axes = channel_axes(before.shape)
    return Gap(_maxima(distance, axes), _maxima(magnitude, axes), floor, axes, **known)


def channel_axes(shape: tuple[int, ...]) -> tuple[Axis, ...]:
    """The axes whose slices are judged by themselves; the last is axis -1."""
    size, rank = math.prod(shape), len(shape)
    if not size:
        return ()
    places = [-1, *([1] if rank > 2 else []), *([2] if rank > 4 else [])]
    return tuple(
        Axis(a, shape[a], size // shape[a])
        for a in places[: max(rank, 0)]
        if 1 < shape[a] <= MOST_CHANNELS
    )


def _maxima(values: Array, axes: Sequence[Axis]) -> Array:
    """The maximum of all values, and behind it those of the slices along each axis, in float64."""
    parts = [_slice_maxima(values, axis.axis % values.ndim) for axis in axes]
    whole = parts[0] if parts else values
    return np.concatenate([np.array([whole.max(initial=0.0)]), *parts]).astype(np.float64)


def _slice_maxima(values: Array, kept: int) -> Array:
    """The maximum of each slice along an axis.

    In steps that NumPy has a quick loop for: over what lies together, or of long rows.
    """
    outer, own = math.prod(values.shape[:kept]), values.shape[kept]
    inner = math.prod(values.shape[kept + 1 :])
    if kept < values.ndim - 1:
        found = values.reshape(outer, own, inner).max(axis=2)
    elif values.ndim > 2:
        # Short rows are put side by side, as many as one map has.
        rows = values.shape[-2]
        found = values.reshape(-1, rows * own).max(axis=0).reshape(rows, own)
    else:
        found = values.reshape(outer, own)
    return np.asarray(found.max(axis=0))


def _special(values: Array) -> Array:
    """0 where a number is finite, and a code for NaN and for each infinity elsewhere."""
    if values.dtype.kind == "c":
        return np.asarray(_special(values.real) + 4 * _special(values.imag))
    return np.asarray(1 * np.isnan(values) + 2 * np.isposinf(values) + 3 * np.isneginf(values))


def _smallest(dtype: np.dtype[Any]) -> float:
    """A magnitude below which a type holds no normal number (float32's for the unknown ones)."""
    return float(np.finfo(dtype).tiny) if dtype.kind in "fc" else float(np.finfo(np.float32).tiny)
