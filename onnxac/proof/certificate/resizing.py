"""Resize and Upsample by whole factors, by the letter of their definition: one cell at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onnxac.proof.certificate.calls import Call, UnknownOperatorError
from onnxac.proof.certificate.cut import Array


def factors(call: Call) -> list[int]:
    """By which whole factors a Resize or Upsample makes each axis longer."""
    if call.get("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        raise UnknownOperatorError(f"{call.op} that crops")
    x = call.value(0)
    own = x.array.shape[x.live :]
    at = 1 if call.op == "Upsample" or call.opset < 11 else 2
    if "scales" in call.attributes:
        scales = list(call.attributes["scales"])
    elif call.has(at) and call.constant(at).size:
        scales = [float(v) for v in call.constant(at).reshape(-1)]
    else:
        scales = [int(n) / m for n, m in zip(call.constant(3).reshape(-1), own, strict=True)]
    if "axes" in call.attributes or any(s != int(s) or s < 1 for s in scales):
        raise UnknownOperatorError(f"{call.op} by a factor that is not whole")
    return [int(s) for s in scales]


def enlarge(call: Call) -> Array:
    """Resize and Upsample by whole factors, as the definition has it: cell by cell."""
    array = call.live(0)
    for axis, factor in enumerate(factors(call), 1):
        if factor > 1:
            weights = enlargement(call, array.shape[axis], factor)
            if call.absolute:
                weights = np.abs(weights)
            array = np.moveaxis(np.tensordot(array, weights, (axis, 1)), -1, axis)
    return array


def enlargement(call: Call, length: int, factor: int) -> Array:
    """[factor·n, n]: the weight of each old cell in each new one."""
    place = _PLACES.get(call.get("coordinate_transformation_mode", _older(call)))
    weights = np.zeros((length * factor, length))
    if place is None:
        raise UnknownOperatorError(f"{call.op} by coordinates that are not known here")
    for p in range(length * factor):
        # In float32, as runtimes compute it: what is rounded down must not lie just below.
        x = float(place(np.float32(p), np.float32(factor), np.float32(length)))
        for cell, weight in _cells(call, x):
            weights[p, min(max(cell, 0), length - 1)] += weight
    return weights


def _older(call: Call) -> str:
    return "half_pixel" if call.opset >= 11 and call.op == "Resize" else "asymmetric"


_PLACES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "asymmetric": lambda p, f, n: p / f,
    "half_pixel": lambda p, f, n: (p + np.float32(0.5)) / f - np.float32(0.5),
    "half_pixel_symmetric": lambda p, f, n: (p + np.float32(0.5)) / f - np.float32(0.5),
    "pytorch_half_pixel": lambda p, f, n: (p + np.float32(0.5)) / f - np.float32(0.5),
    "tf_half_pixel_for_nn": lambda p, f, n: (p + np.float32(0.5)) / f,
    "align_corners": lambda p, f, n: p * (n - 1) / (f * n - 1),
}


def _cells(call: Call, x: float) -> list[tuple[int, float]]:
    """Old cells around a place and their weights; beyond the ends, the last cell counts."""
    mode, low = call.get("mode", "nearest"), int(np.floor(x))
    part = x - low
    if mode == "nearest":
        return [(_nearest(call, x), 1.0)]
    if mode in ("linear", "bilinear"):
        return [(low, 1.0 - part), (low + 1, part)]
    if mode == "cubic" and not call.get("exclude_outside", 0):
        a = call.get("cubic_coeff_a", -0.75)
        found = []
        for k in range(-1, 3):
            t = abs(k - part)
            near = ((a + 2) * t - (a + 3)) * t * t + 1
            far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
            found.append((low + k, near if t <= 1 else far))
        return found
    raise UnknownOperatorError(f"{call.op} in mode {mode}")


def _nearest(call: Call, x: float) -> int:
    rounding = call.get("nearest_mode", "round_prefer_floor")
    if _older(call) == "asymmetric" or rounding == "floor":
        return int(np.floor(x))
    if rounding == "ceil":
        return int(np.ceil(x))
    return int(np.ceil(x - 0.5) if rounding == "round_prefer_floor" else np.floor(x + 0.5))
