"""Operators that only move data, or compute shapes: the second half of the naive opinion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import numpy_helper

from onnxac.proof.certificate.calls import Call, UnknownOperatorError
from onnxac.proof.certificate.cut import Array, as_float
from onnxac.proof.certificate.resizing import enlarge


def _axis(call: Call, axis: int, index: int = 0) -> int:
    """An axis of the model as one of the array."""
    value = call.value(index)
    rank = value.array.ndim - value.live
    return axis % rank + value.live


def reshape(call: Call) -> Array:
    """Reshape."""
    x = call.value(0)
    shape = call.ints("shape", 1)
    own = x.array.shape[x.live :]
    if not call.get("allowzero", 0):
        shape = [own[i] if n == 0 else n for i, n in enumerate(shape)]
    return x.array.reshape((*x.array.shape[: x.live], *shape))


def flatten(call: Call) -> Array:
    """Flatten."""
    x = call.value(0)
    own = x.array.shape[x.live :]
    axis = call.get("axis", 1)
    axis = axis + len(own) if axis < 0 else axis
    rows = int(np.prod(own[:axis]))
    return x.array.reshape(*x.array.shape[: x.live], rows, int(np.prod(own[axis:])))


def transpose(call: Call) -> Array:
    """Transpose."""
    x = call.value(0)
    rank = x.array.ndim - x.live
    order = call.get("perm", list(range(rank))[::-1])
    return x.array.transpose(*range(x.live), *(p + x.live for p in order))


def unsqueeze(call: Call) -> Array:
    """Unsqueeze."""
    x = call.value(0)
    axes = call.ints("axes", 1)
    rank = x.array.ndim - x.live + len(axes)
    return np.expand_dims(x.array, tuple(a % rank + x.live for a in axes))


def squeeze(call: Call) -> Array:
    """Squeeze."""
    x = call.value(0)
    axes = call.ints("axes", 1)
    if axes is None:
        axes = [i for i, n in enumerate(x.array.shape[x.live :]) if n == 1]
    return np.squeeze(x.array, tuple(_axis(call, a) for a in axes))


def concat(call: Call) -> Array:
    """Concat; a constant among tensors is repeated for every probe."""
    if call.folds:
        return np.concatenate(
            [call.constant(i) for i in range(len(call.args))], call.get("axis", 0)
        )
    probes = next(a.array.shape[0] for a in call.args if a is not None and a.live)
    parts = []
    for i, arg in enumerate(call.args):
        if arg is not None and arg.live:
            parts.append(arg.array)
        else:
            fixed = call.addend(i)
            parts.append(np.broadcast_to(fixed, (probes, *fixed.shape)))
    rank = parts[0].ndim - 1
    return np.concatenate(parts, call.attributes["axis"] % rank + 1)


def split(call: Call) -> list[Array]:
    """Split."""
    x = call.value(0)
    axis = _axis(call, call.get("axis", 0))
    sizes = call.ints("split", 1)
    if sizes is None:
        each = -(-x.array.shape[axis] // call.outputs)
        ends = [min(each * i, x.array.shape[axis]) for i in range(1, call.outputs)]
    else:
        ends = list(np.cumsum(sizes)[:-1])
    return list(np.split(x.array, ends, axis))


def bounds(call: Call, rank: int) -> list[tuple[int, int, int, int]]:
    """Axis, start, end and step of each axis that a Slice cuts."""
    starts, ends = call.ints("starts", 1), call.ints("ends", 2)
    axes = call.ints("axes", 3, list(range(len(starts))))
    steps = call.ints("steps", 4, [1] * len(starts))
    return [(a % rank, s, e, t) for a, s, e, t in zip(axes, starts, ends, steps, strict=True)]


def cut(call: Call) -> Array:
    """Slice."""
    x = call.value(0)
    where = [slice(None)] * x.array.ndim
    for axis, start, end, step in bounds(call, x.array.ndim - x.live):
        size = x.array.shape[axis + x.live]
        # Towards lower numbers, an end before the first element is one that Python reads as a size.
        stop = None if step < 0 and end < -size else end
        where[axis + x.live] = slice(start, stop, step)
    return x.array[tuple(where)]


def gather(call: Call) -> Array:
    """Gather by constant places."""
    places = call.constant(1).astype(np.int64)
    return np.take(call.value(0).array, places, _axis(call, call.get("axis", 0)))


def expand(call: Call) -> Array:
    """Expand."""
    x = call.value(0)
    shape = tuple(int(n) for n in call.constant(1).reshape(-1))
    lead, own = x.array.shape[: x.live], x.array.shape[x.live :]
    whole = np.broadcast_shapes(own, shape)
    array = x.array.reshape(*lead, *(1,) * (len(whole) - len(own)), *own)
    return np.broadcast_to(array, (*lead, *whole))


def tile(call: Call) -> Array:
    """Tile."""
    x = call.value(0)
    return np.tile(x.array, (*(1,) * x.live, *(int(n) for n in call.constant(1).reshape(-1))))


def gather_nd(call: Call) -> Array:
    """GatherND at constant places, without batches."""
    if call.get("batch_dims", 0):
        raise UnknownOperatorError("GatherND with batches")
    x = call.value(0)
    where = np.moveaxis(call.constant(1).astype(np.int64), -1, 0)
    return np.asarray(x.array[(*(slice(None),) * x.live, *where)])


def widths(call: Call, rank: int) -> list[tuple[int, int]]:
    """How many cells a Pad adds before and behind each axis."""
    pads = call.ints("pads" if "pads" in call.attributes else "paddings", 1)
    axes = [a % rank for a in call.ints("", 3, list(range(rank)))]
    found = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        found[axis] = pads[i], pads[i + len(axes)]
    return found


def pad(call: Call) -> Array:
    """Pad, by a constant or by what the map holds."""
    x = call.value(0)
    wide = [(0, 0)] * x.live + widths(call, x.array.ndim - x.live)
    crop = tuple(
        slice(max(-b, 0), n - max(-e, 0)) for (b, e), n in zip(wide, x.array.shape, strict=True)
    )
    array = x.array[crop]
    wide = [(max(b, 0), max(e, 0)) for b, e in wide]
    mode = call.get("mode", "constant")
    if mode != "constant":
        return np.pad(array, wide, mode=mode)
    value = call.constant(2) if call.has(2) else np.asarray(call.get("value", 0.0))
    fixed = call.added(value) if x.live else value
    return np.pad(array, wide, constant_values=fixed.reshape(-1)[0])


def choose(call: Call) -> Array:
    """Where, by a constant condition."""
    condition = call.constant(0)
    branches = []
    for i in (1, 2):
        fixed = not call.value(i).live and not call.folds
        branches.append(call.addend(i) if fixed else call.value(i).array)
    return np.where(condition, *branches)


def scatter(call: Call) -> Array:
    """ScatterND at constant places, without a reduction."""
    if call.get("reduction", "none") != "none":
        raise UnknownOperatorError("ScatterND with a reduction")
    data, updates = call.value(0), call.value(2)
    places = call.constant(1).astype(np.int64)
    where = tuple(np.moveaxis(places, -1, 0))
    if call.folds:
        result = data.array.copy()
        result[where] = updates.array
        return result
    probes = (data if data.live else updates).array.shape[0]
    base = data.array if data.live else call.addend(0)
    result = np.array(np.broadcast_to(base, (probes, *base.shape[data.live :])))
    result[(slice(None), *where)] = updates.array if updates.live else call.addend(2)
    return result


def shape_of(call: Call) -> Array:
    """Shape: the same for every probe, so a constant."""
    x = call.value(0)
    whole = np.asarray(x.array.shape[x.live :], np.int64)
    return whole[call.get("start", 0) : call.attributes.get("end")]


def filled(call: Call) -> Array:
    """ConstantOfShape."""
    shape = [int(n) for n in call.constant(0).reshape(-1)]
    value = call.attributes.get("value")
    fill = np.zeros(1) if value is None else as_float(numpy_helper.to_array(value))
    return np.full(shape, fill.reshape(-1)[0])


def space_to_depth(call: Call) -> Array:
    """SpaceToDepth."""
    x, b = call.live(0), call.attributes["blocksize"]
    q, n, c, h, w = x.shape
    y = x.reshape(q, n, c, h // b, b, w // b, b).transpose(0, 1, 4, 6, 2, 3, 5)
    return y.reshape(q, n, c * b * b, h // b, w // b)


def depth_to_space(call: Call) -> Array:
    """DepthToSpace."""
    x, b = call.live(0), call.attributes["blocksize"]
    q, n, c, h, w = x.shape
    if call.get("mode", "DCR") == "DCR":
        y = x.reshape(q, n, b, b, c // b**2, h, w).transpose(0, 1, 4, 5, 2, 6, 3)
    else:
        y = x.reshape(q, n, c // b**2, b, b, h, w).transpose(0, 1, 2, 5, 3, 6, 4)
    return y.reshape(q, n, c // b**2, h * b, w * b)


def _plain(function: Callable[..., Any]) -> Callable[[Call], Array]:
    """An operator of constants only, which is what shapes are computed with."""

    def apply(call: Call) -> Array:
        return np.asarray(function(*(call.constant(i) for i in range(len(call.args)))))

    return apply


MOVING: dict[str, Callable[[Call], Array | list[Array]]] = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Squeeze": squeeze,
    "Concat": concat,
    "Split": split,
    "Slice": cut,
    "Gather": gather,
    "GatherND": gather_nd,
    "Expand": expand,
    "Tile": tile,
    "Pad": pad,
    "Where": choose,
    "ScatterND": scatter,
    "Shape": shape_of,
    "ConstantOfShape": filled,
    "SpaceToDepth": space_to_depth,
    "DepthToSpace": depth_to_space,
    "Resize": enlarge,
    "Upsample": enlarge,
    "Range": _plain(lambda a, b, c: np.arange(a.item(), b.item(), c.item()).astype(a.dtype)),
    "Equal": _plain(np.equal),
    "Less": _plain(np.less),
    "Greater": _plain(np.greater),
    "Not": _plain(np.logical_not),
    "Sqrt": _plain(np.sqrt),
    "Reciprocal": _plain(lambda a: 1.0 / a),
    "Pow": _plain(np.power),
    "Floor": _plain(np.floor),
    "Ceil": _plain(np.ceil),
}
