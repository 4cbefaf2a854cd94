"""Resize and Upsample by whole factors: the source made longer, along one axis or several.

Nearest, each element is repeated; whether a node's coordinates and its rounding come to that is
found out by computing them. What is interpolated is only known to keep constants, so that
operators on single positions may go before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxac.algebra import Axis, Obstacle, Sampling
from onnxac.inference.dims import Dim, Extent
from onnxac.lowering.context import Context, Lowered, Rule, attribute, moved, same, single

Floats = NDArray[np.float32]
# Attributes that say how to interpolate, and what they are where they are left out.
_RULE: Mapping[str, object] = {
    "mode": "nearest",
    "coordinate_transformation_mode": "half_pixel",
    "cubic_coeff_a": -0.75,
    "exclude_outside": 0,
    "antialias": 0,
}
# Positions along an axis of n elements, made longer f times; p counts from 0.
_COORDINATES: dict[str, Callable[[Floats, int, int], Floats]] = {
    "asymmetric": lambda p, f, n: p / np.float32(f),
    "half_pixel": lambda p, f, n: (p + np.float32(0.5)) / np.float32(f) - np.float32(0.5),
    "half_pixel_symmetric": lambda p, f, n: (p + np.float32(0.5)) / np.float32(f) - np.float32(0.5),
    "pytorch_half_pixel": lambda p, f, n: (p + np.float32(0.5)) / np.float32(f) - np.float32(0.5),
    "tf_half_pixel_for_nn": lambda p, f, n: (p + np.float32(0.5)) / np.float32(f),
    "align_corners": lambda p, f, n: p * np.float32(n - 1) / np.float32(max(f * n - 1, 1)),
}
_ROUNDING: dict[str, Callable[[Floats], Floats]] = {
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}
# Where positions don't hang on the length, an axis of this many elements shows both ends.
_ENOUGH = 5


def _resize(node: gs.Node, output: int, context: Context) -> Lowered:
    source, result = node.inputs[0], node.outputs[0]
    before, after = context.shape(source), context.shape(result)
    if before is None or after is None or len(before) != len(after):
        return Obstacle("shape", f"the shape of {source.name} or of what comes out is not known")
    rule = _rule(node, context)
    if rule["coordinate_transformation_mode"] == "tf_crop_and_resize":
        return Obstacle("resize", "it crops while it resizes")
    axes: list[Axis] = []
    for axis, (old, new) in enumerate(zip(before, after, strict=True)):
        factor = _factor(old, new)
        if factor is None or not _is_whole(node, axis, factor, context):
            return Obstacle("resize", "its factors are not known to be whole")
        if factor == 1:
            axes.append(Axis())
            continue
        if rule["mode"] != "nearest":
            held = tuple(sorted((k, v) for k, v in rule.items() if k in node.attrs or k == "mode"))
            axes.append(Axis(sampling=Sampling(factor, held)))
        elif _repeats(rule, factor, old):
            axes.append(Axis(sampling=Sampling(factor)))
        else:
            return Obstacle("resize", "its rounding does not repeat all elements equally often")
    if all(a.is_identity for a in axes):
        return same(node, context)
    step = context.step(node)
    return single(moved(source.name, axes, step), step)


def _rule(node: gs.Node, context: Context) -> dict[str, Any]:
    """How positions are computed; before opset 11 without any attributes but the mode."""
    rule = {k: attribute(node, k, default) for k, default in _RULE.items()}
    rule["nearest_mode"] = attribute(node, "nearest_mode", "round_prefer_floor")
    if context.opset < 11:
        rule |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return rule


def _factor(old: Dim, new: Dim) -> int | None:
    """By how much an extent was made longer, where that is a whole number at all sizes."""
    if isinstance(old, int) and isinstance(new, int):
        return new // old if old and new % old == 0 and new else None
    if isinstance(old, Extent) and isinstance(new, Extent):
        return next((f for f in range(1, 17) if old.times(f) == new), None)
    return None


def _is_whole(node: gs.Node, axis: int, factor: int, context: Context) -> bool:
    """Whether a scale that is given is that factor: rounded down, another may give its size."""
    place = 1 if context.opset < 11 or node.op == "Upsample" else 2
    given = node.attrs.get("scales")
    tensor = context.operand(node, place)
    if tensor is not None:
        given = context.value(tensor)
    if given is None or not np.size(given):
        # Without scales there are sizes, whose quotient is the scale.
        return place == 2 and context.operand(node, 3) is not None
    chosen = node.attrs.get("axes")
    scales = [float(v) for v in np.reshape(given, -1)]
    if chosen is None:
        return axis < len(scales) and scales[axis] == factor
    rank = len(context.shape(node.inputs[0]) or ())
    named = dict(zip([int(a) % rank for a in chosen], scales, strict=False))
    return named.get(axis, 1.0) == factor


def _repeats(rule: Mapping[str, Any], factor: int, length: Dim) -> bool:
    """Whether each element is read `factor` times, in order."""
    where = _COORDINATES.get(str(rule["coordinate_transformation_mode"]))
    rounded = _ROUNDING.get(str(rule["nearest_mode"]))
    if where is None or rounded is None:
        return False
    if rule["coordinate_transformation_mode"] == "align_corners" and not isinstance(length, int):
        return False
    count = length if isinstance(length, int) else _ENOUGH
    places = np.arange(count * factor, dtype=np.float32)
    read = np.clip(rounded(where(places, factor, count)), 0, count - 1)
    return bool(np.array_equal(read, np.repeat(np.arange(count), factor)))


RULES: dict[str, Rule] = {"Resize": _resize, "Upsample": _resize}
