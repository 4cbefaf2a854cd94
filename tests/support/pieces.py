"""Pieces of random networks: one operator, or a few that belong together, as drawn.

Geometry is kept by windows: `convolve` gives exactly the outputs asked for, whether the
padding is the operator's own, a Pad's, or more of it that a Slice takes off again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from drawing import Draws
from exact import Net, Tensor, TooLarge, Window, integers, pads, response
from onnx import helper

# Elementwise.


def vector(d: Draws, x: Tensor) -> tuple[int, ...]:
    """A shape that broadcasts over the channels of x, as exporters write it."""
    ones = (1,) * x.rank
    return d.pick((1, x.channels, *ones), (x.channels, *ones), (), (1,))


def decorate(n: Net, d: Draws, x: Tensor) -> Tensor:
    """A linear operator of x that keeps its shape."""
    kind = d.pick("bn", "bn", "bn", "mul", "add", "sub", "from", "neg", "div", "same", "last")
    if kind == "bn":
        return batch_norm(n, d, x)
    if kind == "mul":
        return n.scale(x, d.factor(vector(d, x)), first=d.chance(), style=d.style())
    if kind in ("add", "sub", "from"):
        amount = integers(d.rng, vector(d, x))
        first = kind == "from" or (kind == "add" and d.chance())
        op = "Add" if kind == "add" else "Sub"
        return n.shift(x, amount, op=op, first=first, style=d.style())
    if kind == "neg":
        return n.unary("Neg", x)
    if kind == "div":
        shape = d.pick((), (1, x.channels, *(1,) * x.rank))
        return n.divide(x, d.rng.choice([1.0, 2.0, -2.0], shape))
    return channels_last(n, d, x) if kind == "last" else same(n, d, x)


def batch_norm(n: Net, d: Draws, x: Tensor) -> Tensor:
    c = x.channels
    gamma = d.rng.choice([1.0, -1.0, 2.0], c)
    beta, mean = integers(d.rng, (c,), 2), integers(d.rng, (c,), 2)
    if d.chance(one_in=4):
        beta, mean = 0 * beta, 0 * mean
    return n.batch_norm(x, gamma, beta, mean, d.rng.integers(-1, 2, c).astype(float), d.style())


def same(n: Net, d: Draws, x: Tensor) -> Tensor:
    """An operator that, as it is set, hands x on."""
    kind = d.pick(
        "Identity", "Dropout", "LeakyRelu", "PRelu", "Sum", "Max", "Cast", "Clip", "Transpose"
    )
    if kind == "LeakyRelu":
        return n.unary("LeakyRelu", x, alpha=1.0)
    if kind == "PRelu":
        return n.node("PRelu", [x.name, n.constant(np.ones((x.channels, *(1,) * x.rank)))], x)
    if kind == "Cast":
        return n.unary("Cast", x, to=1)
    if kind == "Transpose":
        return n.unary("Transpose", x, perm=list(range(len(x.shape))))
    return n.unary(kind, x)


def transpose(n: Net, x: Tensor, perm: Sequence[int]) -> Tensor:
    return n.unary("Transpose", x, perm=list(perm), shape=[x.shape[i] for i in perm])


def channels_last(n: Net, d: Draws, x: Tensor) -> Tensor:
    """x in the axis order of TensorFlow, where something linear happens to it, and back."""
    rank = len(x.shape)
    y = transpose(n, x, (0, *range(2, rank), 1))
    for _ in range(d.pick(0, 1, 2)):
        y = affine_last(n, d, y)
    if d.chance(one_in=3):
        y = n.combine([y, n.unary("Relu", y)]) if d.chance() else n.combine([y, y])
    if d.chance(one_in=4):
        y = linear(n, d, y, y.shape[-1])
    return transpose(n, y, (0, rank - 1, *range(1, rank - 1)))


def affine_last(n: Net, d: Draws, x: Tensor) -> Tensor:
    """A scale or shift over the last axis, or over the one before."""
    size = x.shape[-1]
    shapes: list[tuple[int, ...]] = [(size,), (1, size), (), (1,)]
    if len(x.shape) > 2:
        shapes.append((x.shape[-2], 1))
    shape = d.pick(*shapes)
    kind = d.pick("Add", "Mul", "Sub", "Neg", "Div", "Identity")
    if kind == "Mul":
        return n.scale(x, d.factor(shape), first=d.chance(), style=d.style())
    if kind in ("Add", "Sub"):
        amount = integers(d.rng, shape)
        return n.shift(x, amount, op=kind, first=d.chance(), style=d.style())
    if kind == "Div":
        return n.divide(x, d.rng.choice([1.0, 2.0], shape))
    return n.unary(kind, x)


# Windows.


def extended(
    n: Net,
    d: Draws,
    x: Tensor,
    windows: Sequence[Window],
    mode: str = "constant",
    value: float = 0.0,
) -> tuple[Tensor, list[Window]]:
    """x cropped and padded, and the windows with the padding that is left to the operator.

    Where padding is not by zeros, all of it is a Pad node's.
    """
    cuts = {
        a: (max(-w.begin, 0), max(-w.end, 0), 1)
        for a, w in enumerate(windows, start=2)
        if w.begin < 0 or w.end < 0
    }
    if cuts:
        x = n.crop(x, cuts, style=d.style(), absolute=not n.dynamic and d.chance())
    rest = [
        w._replace(offset=-max(w.begin, 0), extent=max(w.begin, 0) + max(w.end, 0) - w.span)
        for w in windows
    ]
    separate = mode != "constant" or value != 0 or d.chance(one_in=4)
    if separate and any(w.begin or w.end for w in rest):
        amounts = {a: (w.begin, w.end) for a, w in enumerate(rest, start=2)}
        x = n.pad(x, amounts, mode=mode, value=value, style=d.style())
        rest = [w._replace(offset=0, extent=-w.span) for w in rest]
    return x, rest


def plain_conv(
    n: Net,
    d: Draws,
    x: Tensor,
    out: int,
    windows: Sequence[Window],
    *,
    group: int = 1,
    bias: bool | None = None,
) -> Tensor:
    """A Conv with the windows' own padding."""
    biased = d.chance() if bias is None else bias
    return n.conv(
        x,
        d.weight(out, x.channels // group, *(w.taps for w in windows)),
        windows,
        group=group,
        bias=integers(d.rng, (out,)) if biased else None,
        style=d.style(),
        auto_pad=auto_pad(d, windows),
        kernel_shape=d.chance(),
    )


def convolve(
    n: Net,
    d: Draws,
    x: Tensor,
    out: int,
    windows: Sequence[Window],
    *,
    group: int = 1,
    mode: str = "constant",
    bias: bool | None = None,
    value: float = 0.0,
) -> Tensor:
    """A Conv with these windows: crops before and behind, padding by whatever means."""
    trims = [(d.between(0, 1), d.between(0, 1)) if d.chance(one_in=6) else (0, 0) for _ in windows]
    longer = [
        w._replace(offset=w.offset - b * w.stride, extent=w.extent + (b + e) * w.stride)
        for w, (b, e) in zip(windows, trims, strict=True)
    ]
    x, rest = extended(n, d, x, longer, mode, value)
    y = plain_conv(n, d, x, out, rest, group=group, bias=bias)
    cuts = {a: (b, e, 1) for a, (b, e) in enumerate(trims, start=2) if b or e}
    return n.crop(y, cuts, style=d.style()) if cuts else y


def auto_pad(d: Draws, windows: Sequence[Window]) -> str | None:
    """An auto_pad that means the same as these pads, where there is one and it is drawn."""
    if not d.chance(one_in=3):
        return None
    if all(w.begin == w.end == 0 for w in windows):
        return "VALID"
    for name, odd in (("SAME_UPPER", 0), ("SAME_LOWER", 1)):
        if all(
            w.stride == 1 and w.begin + w.end == w.span and w.begin == (w.span + odd) // 2
            for w in windows
        ):
            return name
    return None


def pool(n: Net, d: Draws, x: Tensor, windows: Sequence[Window]) -> Tensor:
    x, rest = extended(n, d, x, windows)
    if any(w.begin >= w.taps or w.end >= w.taps for w in rest):
        raise TooLarge("an AveragePool can't pad by its whole kernel")
    if n.opset < 19 and any(w.dilation > 1 for w in rest):
        raise TooLarge("AveragePool has dilations from opset 19 on")
    return n.average_pool(x, rest)


def spread(n: Net, d: Draws, x: Tensor, out: int, group: int, up: int, extent: int) -> Tensor:
    """A ConvTranspose with up·(N − 1) + extent + 1 outputs."""
    windows, extras = [], []
    for _ in range(x.rank):
        k, dilation, begin = d.pick(2, 3, 4, 1), d.pick(1, 1, 2), d.between(0, 2)
        end = dilation * (k - 1) - begin - extent
        extra = max(-end, 0)
        if extra >= max(up, dilation):
            raise TooLarge("output_padding is smaller than the stride")
        windows.append(Window(k, dilation, up, -begin, begin + end + extra - dilation * (k - 1)))
        extras.append(extra)
    taps = [w.taps for w in windows]
    weight = d.weight(x.channels, out // group, *taps)
    bias = integers(d.rng, (out,)) if d.chance() else None
    names = [x.name, n.constant(weight, d.style())]
    if bias is not None:
        names.append(n.constant(bias))
    sizes = [up * (s - 1) + extent + 1 for s in x.shape[2:]]
    by_output = np.moveaxis(weight.reshape(group, -1, out // group, *taps), 1, 2)
    further: dict[str, Any] = {"output_padding": extras} if any(extras) else {}
    return n.node(
        "ConvTranspose",
        names,
        x,
        shape=(x.shape[0], out, *sizes),
        bound=response(x, by_output.reshape(out, -1), bias),
        group=group,
        strides=[up] * x.rank,
        dilations=[w.dilation for w in windows],
        pads=pads(windows),
        **further,
    )


# Matrices.


def linear(n: Net, d: Draws, x: Tensor, out: int, *, left: bool = False) -> Tensor:
    """x·W, W·x or a Gemm."""
    if left:
        w = d.weight(out, x.shape[-2])
        return n.node(
            "MatMul",
            [n.constant(w, d.style()), x.name],
            x,
            shape=(*x.shape[:-2], out, x.shape[-1]),
            bound=x.bound * _heaviest(w),
        )
    w = d.weight(x.shape[-1], out)
    if len(x.shape) == 2 and d.chance():
        return gemm(n, d, x, w)
    return n.node(
        "MatMul",
        [x.name, n.constant(w, d.style())],
        x,
        shape=(*x.shape[:-1], out),
        bound=x.bound * _heaviest(w.T),
    )


def gemm(n: Net, d: Draws, x: Tensor, w: np.ndarray) -> Tensor:
    alpha, beta, flip = d.pick(1.0, 2.0, 0.5), d.pick(1.0, 2.0, 0.0, -1.0), d.chance()
    out = w.shape[1]
    names = [x.name, n.constant(w.T if flip else w, d.style())]
    if n.opset < 11 or d.chance():
        names.append(n.constant(integers(d.rng, d.pick((out,), (1, out), (), (1,))), d.style()))
    return n.node(
        "Gemm",
        names,
        x,
        shape=(x.shape[0], out),
        alpha=alpha,
        beta=beta,
        transB=int(flip),
        bound=alpha * _heaviest(w.T) * x.bound + abs(beta) * 3,
        grain=x.grain + (alpha == 0.5),
    )


def _heaviest(rows: np.ndarray) -> float:
    return float(np.abs(rows).sum(axis=1).max())


# Channels.


def parted(n: Net, d: Draws, x: Tensor, parts: Sequence[int]) -> list[Tensor]:
    """x taken apart on its channels."""
    kind = d.pick("Split", "Slice", "Gather")
    at = [sum(parts[:i]) for i in range(len(parts))]
    shapes = [(x.shape[0], p, *x.shape[2:]) for p in parts]
    if kind == "Slice":
        return [n.crop(x, {1: (a, x.channels - a - p, 1)}) for a, p in zip(at, parts, strict=True)]
    if kind == "Gather":
        rows = [n.constant(np.arange(a, a + p)) for a, p in zip(at, parts, strict=True)]
        return [
            n.node("Gather", [x.name, r], x, axis=1, shape=s)
            for r, s in zip(rows, shapes, strict=True)
        ]
    made = [Tensor(n.fresh("split"), s, x.bound, x.grain) for s in shapes]
    names = [m.name for m in made]
    if n.opset < 13:
        n.nodes.append(helper.make_node("Split", [x.name], names, axis=1, split=list(parts)))
    else:
        sizes = n.constant(np.asarray(parts, np.int64))
        n.nodes.append(helper.make_node("Split", [x.name, sizes], names, axis=1))
    return made


def concat(n: Net, tensors: Sequence[Tensor], axis: int = 1) -> Tensor:
    shape = list(tensors[0].shape)
    shape[axis] = sum(t.shape[axis] for t in tensors)
    return n.node(
        "Concat",
        [t.name for t in tensors],
        tensors[0],
        axis=axis,
        shape=shape,
        bound=max(t.bound for t in tensors),
        grain=max(t.grain for t in tensors),
    )


# Averages, and what follows a network's last map.


def global_average(n: Net, d: Draws, x: Tensor) -> Tensor:
    """The mean of each map, [N, C, 1, …] or [N, C]; the area has to be a power of two."""
    area = math.prod(x.shape[2:])
    if area & (area - 1):
        raise TooLarge("a mean that rounds")
    ones = (1,) * x.rank
    grain = x.grain + area.bit_length() - 1
    if d.chance():
        return n.unary("GlobalAveragePool", x, shape=(*x.shape[:2], *ones), grain=grain)
    keep = d.pick(1, 0)
    shape = (*x.shape[:2], *(ones if keep else ()))
    axes = list(range(2, len(x.shape))) if d.chance() else list(range(-x.rank, 0))
    if n.opset < 18:
        return n.unary("ReduceMean", x, axes=axes, keepdims=keep, shape=shape, grain=grain)
    held = n.constant(np.asarray(axes, np.int64))
    return n.node("ReduceMean", [x.name, held], x, keepdims=keep, shape=shape, grain=grain)


def flatten(n: Net, d: Draws, x: Tensor) -> Tensor:
    shape = (x.shape[0], math.prod(x.shape[1:]))
    if d.chance():
        return n.unary("Flatten", x, axis=1, shape=shape)
    held = n.constant(np.asarray([0, -1], np.int64))
    return n.node("Reshape", [x.name, held], x, shape=shape)


# Sums.


def tree(n: Net, d: Draws, tensors: Sequence[Tensor], *, signs: bool = True) -> Tensor:
    """The tensors added up, in any order and tree shape."""
    waiting = d.shuffled(tensors)
    while len(waiting) > 1:
        if len(waiting) > 2 and d.chance(one_in=4):
            waiting = [n.combine(waiting[:3], "Sum"), *waiting[3:]]
            continue
        op = d.pick("Add", "Add", "Add", "Sub") if signs else "Add"
        waiting = d.shuffled([n.combine(waiting[:2], op), *waiting[2:]])
    return waiting[0]


# Branches: over one source, to one number of outputs.


@dataclass(frozen=True)
class Frame:
    """What the branches of a block share."""

    out: int
    group: int
    strides: tuple[int, ...]
    extents: tuple[int, ...]
    mode: str = "constant"


def window_of(d: Draws, frame: Frame, *, taps: Sequence[int] = (1, 2, 3, 3, 5)) -> list[Window]:
    """Windows of any kernel that give the frame's outputs."""
    windows = []
    for stride, extent in zip(frame.strides, frame.extents, strict=True):
        k, dilation = d.pick(*taps), d.pick(1, 1, 1, 2)
        # Any offset is right as long as the extent is; most are around the middle.
        middle = -(extent + dilation * (k - 1)) // 2
        windows.append(Window(k, dilation, stride, middle + d.pick(0, 0, 0, -1, 1, 2, -2), extent))
    return windows


def branch(n: Net, d: Draws, x: Tensor, frame: Frame) -> Tensor:
    kind = d.pick("conv", "conv", "conv", "sequence", "pool", "identity", "two", "parts")
    if kind in ("sequence", "pool", "identity"):
        y = {"sequence": sequence, "pool": pooled, "identity": identity}[kind](n, d, x, frame)
        return decorate(n, d, y) if d.chance(one_in=3) else y
    value = float(d.pick(0, 0, 0, 2)) if frame.mode == "constant" else 0.0
    if kind == "parts" and x.channels > 1:
        y = in_parts(n, d, x, frame)
    elif kind == "two":
        y = n.combine([_framed(n, d, x, frame), _framed(n, d, x, frame)])
    else:
        y = _framed(n, d, x, frame, value=value)
    for _ in range(d.pick(0, 1, 1, 2)):
        y = decorate(n, d, y)
    return y


def _framed(n: Net, d: Draws, x: Tensor, frame: Frame, *, value: float = 0.0) -> Tensor:
    windows = window_of(d, frame)
    return convolve(n, d, x, frame.out, windows, group=frame.group, mode=frame.mode, value=value)


def identity(n: Net, d: Draws, x: Tensor, frame: Frame) -> Tensor:
    """x itself or a crop of it, perhaps normalized; a 1x1 where that can't be."""
    geometry = zip(frame.strides, frame.extents, strict=True)
    windows = [Window(1, 1, s, -(e // 2), e) for s, e in geometry]
    padded = any(w.begin > 0 or w.end > 0 for w in windows)
    strided = n.opset < 10 and any(w.stride > 1 for w in windows)
    if padded or strided or frame.out != x.channels:
        return convolve(n, d, x, frame.out, windows, group=frame.group, mode=frame.mode)
    cuts = {
        a: (w.offset, -w.end, w.stride)
        for a, w in enumerate(windows, start=2)
        if w.offset or w.end or w.stride > 1
    }
    y = decorate(n, d, x) if d.chance(one_in=3) else x
    return n.crop(y, cuts, style=d.style()) if cuts else y


def pooled(n: Net, d: Draws, x: Tensor, frame: Frame) -> Tensor:
    if frame.out != x.channels:
        x = plain_conv(n, d, x, frame.out, [Window()] * x.rank, group=frame.group)
    return pool(n, d, x, window_of(d, frame, taps=(2, 1, 4)))


def in_parts(n: Net, d: Draws, x: Tensor, frame: Frame) -> Tensor:
    """Channels taken apart, or put together, on the way."""
    if d.chance() and frame.out > 1:
        first = d.between(1, frame.out - 1)
        ends = [
            convolve(n, d, x, o, window_of(d, frame), mode=frame.mode)
            for o in (first, frame.out - first)
        ]
        return concat(n, ends)
    first = d.between(1, x.channels - 1)
    halves = parted(n, d, x, [first, x.channels - first])
    chosen = halves if d.chance() else halves[:1]
    return tree(
        n, d, [convolve(n, d, h, frame.out, window_of(d, frame), mode=frame.mode) for h in chosen]
    )


def sequence(n: Net, d: Draws, x: Tensor, frame: Frame) -> Tensor:
    """Two or three convolutions in a row, whose windows multiply up to the frame's."""
    kind = d.pick("pw-k", "k-pw", "k-k", "pw-k-pw", "dw-pw", "pw-dw")
    group, out, mode = frame.group, frame.out, frame.mode
    middle, full, single = d.pick(2, 3, 4) * group, window_of(d, frame), [Window()] * x.rank
    rarely = d.chance(one_in=3)
    if kind == "k-k":
        first, second = twice(d, frame)
        y = between(n, d, convolve(n, d, x, middle, first, group=group, mode=mode))
        return convolve(n, d, y, out, second, group=group, mode=mode)
    if kind == "pw-k":
        y = between(n, d, convolve(n, d, x, middle, single, group=group, bias=rarely))
        return convolve(n, d, y, out, full, group=group, mode=mode)
    if kind == "pw-dw":
        y = convolve(n, d, x, out, single, group=group, bias=rarely)
        return convolve(n, d, y, out, full, group=out, mode=mode)
    if kind == "pw-k-pw":
        y = convolve(n, d, x, middle, single, group=group, bias=False)
        y = convolve(n, d, y, middle, full, group=middle if d.chance() else group, mode=mode)
    elif kind == "dw-pw":
        y = convolve(n, d, x, x.channels, full, group=x.channels, mode=mode)
    else:
        y = convolve(n, d, x, middle, full, group=group, mode=mode)
    return convolve(n, d, between(n, d, y), out, single, group=group if d.chance() else 1)


def twice(d: Draws, frame: Frame) -> tuple[list[Window], list[Window]]:
    """Two windows per axis, one after the other. The second pads nothing, or a little."""
    first, second = [], []
    for stride, extent in zip(frame.strides, frame.extents, strict=True):
        s1, s2 = d.pick((stride, 1), (1, stride))
        k1, k2 = d.pick((3, 3), (1, 3), (3, 1), (2, 2), (3, 2))
        e2 = d.pick(1 - k2, 1 - k2, 1 - k2, 0)
        e1 = extent - s1 * e2
        first.append(Window(k1, 1, s1, -(e1 + k1 - 1) // 2, e1))
        second.append(Window(k2, 1, s2, 0 if e2 == 1 - k2 else -((k2 - 1) // 2), e2))
    return first, second


def between(n: Net, d: Draws, x: Tensor) -> Tensor:
    return decorate(n, d, x) if d.chance(one_in=3) else x
