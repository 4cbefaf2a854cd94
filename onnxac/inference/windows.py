"""Attributes of sliding windows (Conv, pooling, ConvTranspose) as `Axis` geometry.

Everything that the ONNX specification says about pads, auto_pad, strides, dilations,
ceil_mode and output_padding is here, and nowhere else. Bad attributes are an `Obstacle`:
the checker lets strides of 0 and wrong lengths pass, and a runtime may crash on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxac.algebra import Axis, Obstacle

Lengths = Sequence["int | None"]


def _ints(attrs: Mapping[str, Any], name: str, default: int, count: int) -> list[int] | Obstacle:
    values = list(attrs.get(name) or [default] * count)
    if len(values) != count:
        return Obstacle("attributes", f"{name} has {len(values)} entries for {count} spatial axes")
    least = 0 if name in ("pads", "output_padding") else 1
    if any(v < least for v in values):
        return Obstacle("attributes", f"{name} holds a value below {least}")
    return values


def window_axes(
    attrs: Mapping[str, Any], taps: Sequence[int], lengths: Lengths
) -> tuple[Axis, ...] | Obstacle:
    """Geometry of a Conv or pooling window.

    taps     spatial kernel size
    lengths  spatial extents of the input, None where dynamic
    """
    rank = len(taps)
    if len(lengths) != rank:
        return Obstacle("attributes", f"a kernel of {rank} axes on an input of {len(lengths)}")
    found = (
        _ints(attrs, "strides", 1, rank),
        _ints(attrs, "dilations", 1, rank),
        _ints(attrs, "pads", 0, 2 * rank),
    )
    for values in found:
        if isinstance(values, Obstacle):
            return values
    strides, dilations, pads = (list(v) for v in found if not isinstance(v, Obstacle))
    shape = attrs.get("kernel_shape")
    if shape and list(shape) != list(taps):
        return Obstacle("attributes", "kernel_shape does not match the weight")
    auto = _text(attrs.get("auto_pad", "NOTSET"))
    axes = []
    for i, (k, s, d, n) in enumerate(zip(taps, strides, dilations, lengths, strict=True)):
        span = d * (k - 1)
        padding = _padding(auto, (pads[i], pads[i + rank]), span, s, n)
        if isinstance(padding, Obstacle):
            return padding
        begin, end = padding
        axis = Axis(taps=k, dilation=d, stride=s, offset=-begin, extent=begin + end - span)
        if n is not None and axis.length(n) < 1:
            return Obstacle("attributes", "the kernel is larger than the padded input")
        if attrs.get("ceil_mode") and s > 1 and (n is None or (n - 1 + axis.extent) % s):
            return Obstacle("ceil_mode", "ceil_mode adds a window that lies partly outside")
        axes.append(axis)
    return tuple(axes)


def _padding(
    auto: str, pads: tuple[int, int], span: int, stride: int, length: int | None
) -> tuple[int, int] | Obstacle:
    """What is padded at the begin and the end of one axis."""
    if auto in ("NOTSET", ""):
        return pads
    if auto == "VALID":
        return 0, 0
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        return Obstacle("attributes", f"auto_pad {auto!r} is not known")
    if length is None and stride > 1:
        return Obstacle(
            "auto_pad", f"{auto} at stride {stride} pads by the input's size, which is dynamic"
        )
    outputs = 1 if length is None else -(-length // stride)
    total = span if length is None else max((outputs - 1) * stride + span + 1 - length, 0)
    small, large = total // 2, total - total // 2
    return (small, large) if auto == "SAME_UPPER" else (large, small)


def transposed_axes(
    attrs: Mapping[str, Any], taps: Sequence[int], lengths: Lengths
) -> tuple[Axis, ...] | Obstacle:
    """Geometry of a ConvTranspose, as a window over its spread-out input.

    y[s·q + d·k − pad_begin] += x[q]·w[k], so tap K−1−k reads x̂[p + d·(K−1−k) + offset]
    with offset = pad_begin − d·(K−1): the kernel has to be flipped.
    """
    rank = len(taps)
    if attrs.get("output_shape") or _text(attrs.get("auto_pad", "NOTSET")) not in (
        "NOTSET",
        "",
        "VALID",
    ):
        return Obstacle("output_shape", "its padding follows from output_shape or auto_pad")
    plain = window_axes({**attrs, "output_padding": None}, taps, [None] * len(lengths))
    extra = _ints(attrs, "output_padding", 0, rank)
    if isinstance(plain, Obstacle):
        return plain
    if isinstance(extra, Obstacle):
        return extra
    if any(e >= max(a.stride, a.dilation) for a, e in zip(plain, extra, strict=True)):
        return Obstacle("attributes", "output_padding is not less than stride or dilation")
    return tuple(
        Axis(
            taps=a.taps,
            dilation=a.dilation,
            stride=1,
            up=a.stride,
            offset=a.pad_begin - a.span,
            extent=a.span - a.pad_begin - a.pad_end + e,
        )
        for a, e in zip(plain, extra, strict=True)
    )


# Operands of Slice and Pad by name: attributes in older opsets, inputs 1, 2, … in newer ones.
OPERANDS = {"Slice": ("starts", "ends", "axes", "steps"), "Pad": ("pads", "value", "axes")}


Bounds = list[tuple[int, int, int, int]]


def slice_bounds(operands: Sequence[Any], rank: int) -> Bounds | Obstacle:
    """(start, end, axis, step) of a Slice, axes counted from the front, each at most once."""
    given = [None if v is None else _vector(v) for v in operands]
    starts, ends, named, steps = given
    if operands[0] is None or operands[1] is None:
        return Obstacle("constant", "its bounds are computed at run time")
    if (
        starts is None
        or ends is None
        or any((v is None) != (o is None) for v, o in zip(given, operands, strict=True))
    ):
        return Obstacle("attributes", "its bounds are no lists of integers")
    named = list(range(len(starts))) if named is None else named
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(named) == len(steps):
        return Obstacle("attributes", "it has not as many starts as ends, axes and steps")
    axes = _axes(named, rank)
    if axes is None:
        return Obstacle("attributes", f"its axes {named} are not those of a tensor of {rank} axes")
    return list(zip(starts, ends, axes, steps, strict=True))


def _vector(value: Any) -> list[int] | None:
    """A list of integers from an attribute or a constant; None where it is none."""
    array = np.asarray(value)
    return [int(v) for v in array] if array.ndim == 1 and array.dtype.kind in "iu" else None


def _axes(named: Sequence[int], rank: int) -> list[int] | None:
    """Axes counted from the front; None where one is not there, or there twice."""
    if any(not -rank <= a < rank for a in named):
        return None
    axes = [a % rank for a in named]
    return axes if len(set(axes)) == len(axes) else None


def slice_axes(operands: Sequence[Any], shape: Lengths) -> tuple[Axis, ...] | Obstacle:
    """Geometry of a Slice with constant bounds, for every axis of the tensor.

    A crop of a at the start and b at the end has offset a and extent −a−b; a step is a stride.
    """
    bounds = slice_bounds(operands, len(shape))
    if isinstance(bounds, Obstacle):
        return bounds
    cuts = [Axis()] * len(shape)
    for start, end, axis, step in bounds:
        cut = _cut(shape[axis], start, end, step)
        if isinstance(cut, Obstacle):
            return cut
        cuts[axis] = cut
    return tuple(cuts)


def takes_one(operands: Sequence[Any], rank: int) -> list[bool]:
    """Axes of which a Slice takes the first or the last element alone, whatever their extent."""
    single = [False] * rank
    bounds = slice_bounds(operands, rank)
    for start, end, axis, step in [] if isinstance(bounds, Obstacle) else bounds:
        one = (start, end) == (0, 1) or (start == -1 and end >= 2**31 - 1)
        single[axis] = one and step == 1
    return single


def _cut(length: int | None, start: int, end: int, step: int) -> Axis | Obstacle:
    if step < 1:
        return Obstacle("attributes", "it runs backwards")
    if length is not None:
        first = min(max(start + length if start < 0 else start, 0), length)
        last = min(max(end + length if end < 0 else end, 0), length)
        if last <= first:
            return Obstacle("attributes", "it takes nothing")
        return Axis(stride=step, offset=first, extent=-first - (length - last))
    if start < 0 or 0 <= end < 2**31 - 1:
        return Obstacle("dynamic", "its bounds count from the other end of a dynamic extent")
    behind = -end if end < 0 else 0
    return Axis(stride=step, offset=start, extent=-start - behind)


def pad_axes(operands: Sequence[Any], shape: Lengths) -> tuple[Axis, ...] | Obstacle:
    """Geometry of a Pad with constant amounts, for every axis; `edge` is left at zero."""
    amounts, _, named = operands
    if amounts is None:
        return Obstacle("constant", "its amounts are computed at run time")
    values = _vector(amounts)
    chosen = list(range(len(shape))) if named is None else _vector(named)
    if values is None or chosen is None:
        return Obstacle("attributes", "its amounts or axes are no lists of integers")
    if len(values) != 2 * len(chosen):
        return Obstacle("attributes", f"{len(values)} amounts for {len(chosen)} axes")
    places = _axes(chosen, len(shape))
    if places is None:
        return Obstacle(
            "attributes", f"its axes {chosen} are not those of a tensor of {len(shape)} axes"
        )
    axes = [Axis()] * len(shape)
    for i, axis in enumerate(places):
        begin, end = values[i], values[i + len(places)]
        axes[axis] = Axis(offset=-begin, extent=begin + end)
    return tuple(axes)


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
