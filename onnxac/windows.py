"""Attributes of sliding windows (Conv, pooling, ConvTranspose) as `Axis` geometry.

Everything that the ONNX specification says about pads, auto_pad, strides, dilations,
ceil_mode and output_padding is here, and nowhere else. Bad attributes are an `Obstacle`:
the checker lets strides of 0 and wrong lengths pass, and a runtime may crash on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
        begin, end = pads[i], pads[i + rank]
        if auto == "VALID":
            begin = end = 0
        elif auto in ("SAME_UPPER", "SAME_LOWER"):
            if n is None and s > 1:
                return Obstacle("auto_pad", f"{auto} at stride {s} pads by the input's size, which is dynamic")
            outputs = 1 if n is None else -(-n // s)
            total = span if n is None else max((outputs - 1) * s + span + 1 - n, 0)
            small, large = total // 2, total - total // 2
            begin, end = (small, large) if auto == "SAME_UPPER" else (large, small)
        elif auto not in ("NOTSET", ""):
            return Obstacle("attributes", f"auto_pad {auto!r} is not known")
        axis = Axis(taps=k, dilation=d, stride=s, offset=-begin, extent=begin + end - span)
        if n is not None and axis.length(n) < 1:
            return Obstacle("attributes", "the kernel is larger than the padded input")
        if attrs.get("ceil_mode") and s > 1:
            if n is None or -(-(n - 1 + axis.extent) // s) + 1 != axis.length(n):
                return Obstacle("ceil_mode", "ceil_mode adds a window that lies partly outside")
        axes.append(axis)
    return tuple(axes)


def transposed_axes(
    attrs: Mapping[str, Any], taps: Sequence[int], lengths: Lengths
) -> tuple[Axis, ...] | Obstacle:
    """Geometry of a ConvTranspose, as a window over its spread-out input.

    y[s·q + d·k − pad_begin] += x[q]·w[k], so tap K−1−k reads x̂[p + d·(K−1−k) + offset]
    with offset = pad_begin − d·(K−1): the kernel has to be flipped.
    """
    rank = len(taps)
    if attrs.get("output_shape") or _text(attrs.get("auto_pad", "NOTSET")) not in ("NOTSET", "", "VALID"):
        return Obstacle("output_shape", "its padding follows from output_shape or auto_pad")
    plain = window_axes({**attrs, "output_padding": None}, taps, [None] * len(lengths))
    extra = _ints(attrs, "output_padding", 0, rank)
    if isinstance(plain, Obstacle):
        return plain
    if isinstance(extra, Obstacle):
        return extra
    return tuple(
        Axis(
            taps=a.taps, dilation=a.dilation, stride=1, up=a.stride,
            offset=a.pad_begin - a.span, extent=a.span - a.pad_begin - a.pad_end + e,
        )
        for a, e in zip(plain, extra, strict=True)
    )


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
