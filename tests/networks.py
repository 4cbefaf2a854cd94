"""Hypothesis strategies: random networks in exact arithmetic.

Every strategy draws a `Drawn` network. Geometry is drawn by Hypothesis, so that it shrinks;
weights are integers from a drawn seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from exact import Array, Net, Tensor, TooLarge, Window, integers, newest_opset, response
from hypothesis import reject
from hypothesis import strategies as st
from onnx import ModelProto, numpy_helper

T = TypeVar("T")
Sizes = dict[str, int]


@dataclass(frozen=True)
class Drawn:
    """A model, and the values of its dynamic dims to try it at."""

    model: ModelProto
    sizes: tuple[Sizes, ...] = ({},)

    def __str__(self) -> str:
        known = {t.name: _shaped(t) for t in self.model.graph.initializer}
        lines = [
            f"{n.op_type}({', '.join(known.get(i, i) for i in n.input)}) -> {', '.join(n.output)}  "
            + " ".join(_told(a) for a in n.attribute)
            for n in self.model.graph.node
        ]
        inputs = {
            i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim]
            for i in self.model.graph.input if i.name not in known
        }
        opset = self.model.opset_import[0].version
        return "\n".join(
            [f"opset {opset}, inputs {inputs}, sizes {self.sizes}", *lines,
             "outputs " + ", ".join(o.name for o in self.model.graph.output)]
        )


def _shaped(tensor: Any) -> str:
    """A weight by its dims, an operand by its values."""
    values = numpy_helper.to_array(tensor)
    return str(values.tolist()) if values.dtype.kind == "i" else f"{tensor.name}{list(tensor.dims)}"


def _told(attribute: Any) -> str:
    from onnx.helper import get_attribute_value

    value = get_attribute_value(attribute)
    return f"{attribute.name}={'…' if attribute.HasField('t') else value}"


class Draws:
    """What a strategy draws with."""

    def __init__(self, draw: Callable[..., Any]) -> None:
        self._draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))

    def pick(self, *options: T) -> T:
        """One of the options; shrinks to the first."""
        return self._draw(st.sampled_from(options))  # type: ignore[no-any-return]

    def between(self, low: int, high: int) -> int:
        return int(self._draw(st.integers(low, high)))

    def chance(self, *, one_in: int = 2) -> bool:
        return bool(self._draw(st.integers(0, one_in - 1)) == one_in - 1)

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return list(self._draw(st.permutations(list(items))))

    # Weights, small so that depth stays in range.

    def weight(self, *shape: int) -> Array:
        return integers(self.rng, shape, 2)

    def style(self) -> str:
        return self.pick("initializer", "initializer", "initializer", "node", "identity", "cast")

    def factor(self, shape: Sequence[int]) -> Array:
        return self.rng.choice([1.0, -1.0, 2.0, 0.5, -0.5], tuple(shape))


def net(d: Draws) -> Net:
    opset = d.pick(17, 7, 8, 9, 10, 11, 12, 13, 14, 15, 18, 19, 21, newest_opset())
    return Net(opset=opset, ir_version=3 if opset < 9 and d.chance() else 8)


# Pieces of a branch.


def vector(d: Draws, x: Tensor, *, scalar: bool = True) -> tuple[int, ...]:
    """A shape that broadcasts over the channels of x, as exporters write it."""
    ones = (1,) * x.rank
    options = [(1, x.channels, *ones), (x.channels, *ones)]
    if scalar:
        options += [(), (1,)]
    return d.pick(*options)


def decorate(n: Net, d: Draws, x: Tensor) -> Tensor:
    """An elementwise linear operator on x, per channel."""
    kind = d.pick("bn", "bn", "mul", "add", "sub", "from", "neg", "div", "same", "same", "last")
    channels = x.channels
    if kind == "last":
        return channels_last(n, d, x)
    if kind == "bn":
        return batch_norm(n, d, x)
    if kind == "mul":
        return n.scale(x, d.factor(vector(d, x)), first=d.chance(), style=d.style())
    if kind in ("add", "sub", "from"):
        amount = integers(d.rng, vector(d, x))
        return n.shift(
            x, amount, op="Add" if kind == "add" else "Sub",
            first=kind == "from" or (kind == "add" and d.chance()), style=d.style(),
        )
    if kind == "neg":
        return n.unary("Neg", x)
    if kind == "div":
        shape = d.pick((), (1, channels, *(1,) * x.rank))
        return n.divide(x, d.rng.choice([1.0, 2.0, -2.0], shape))
    return same(n, d, x)


def same(n: Net, d: Draws, x: Tensor) -> Tensor:
    """An operator that, as it is set, hands x on."""
    kind = d.pick("Identity", "Dropout", "LeakyRelu", "PRelu", "Sum", "Max", "Cast", "Clip", "Transpose")
    if kind == "Dropout":
        return n.unary("Dropout", x)
    if kind == "LeakyRelu":
        return n.unary("LeakyRelu", x, alpha=1.0)
    if kind == "PRelu":
        return n.node("PRelu", [x.name, n.constant(np.ones((x.channels, *(1,) * x.rank)))], x)
    if kind == "Cast":
        return n.unary("Cast", x, to=1)
    if kind == "Clip" and n.opset < 11:
        return n.unary("Clip", x)
    if kind == "Clip":
        return n.node("Clip", [x.name], x)
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


def batch_norm(n: Net, d: Draws, x: Tensor) -> Tensor:
    c = x.channels
    gamma = d.rng.choice([1.0, -1.0, 2.0], c)
    beta, mean = integers(d.rng, (c,), 2), integers(d.rng, (c,), 2)
    if d.chance(one_in=4):
        beta, mean = 0 * beta, 0 * mean
    return n.batch_norm(x, gamma, beta, mean, d.rng.integers(-1, 2, c).astype(float), d.style())


def extended(
    n: Net, d: Draws, x: Tensor, windows: Sequence[Window], mode: str, *, value: float = 0.0
) -> tuple[Tensor, list[Window]]:
    """x cropped and padded so that the windows' own padding is what is left to an operator.

    Where the mode is not zero padding, all padding is a Pad node's.
    """
    cuts = {
        a: (max(-w.begin, 0), max(-w.end, 0), 1)
        for a, w in enumerate(windows, start=2) if w.begin < 0 or w.end < 0
    }
    if cuts:
        x = n.crop(x, cuts, style=d.style(), absolute=not _dynamic(n, x) and d.chance())
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


def _dynamic(n: Net, x: Tensor) -> bool:
    """Whether sizes may be anything; all inputs of a net are alike."""
    return any(isinstance(s, str) for shape in n.inputs.values() for s in shape[2:])


def convolve(
    n: Net, d: Draws, x: Tensor, out: int, windows: Sequence[Window], *, group: int = 1,
    mode: str = "constant", bias: bool | None = None, value: float = 0.0,
) -> Tensor:
    """A Conv with exactly these windows: crops, pads and later crops as drawn."""
    trims = [
        (d.between(0, 1), d.between(0, 1)) if d.chance(one_in=6) else (0, 0) for _ in windows
    ]
    windows = [
        w._replace(offset=w.offset - b * w.stride, extent=w.extent + (b + e) * w.stride)
        for w, (b, e) in zip(windows, trims, strict=True)
    ]
    x, rest = extended(n, d, x, windows, mode, value=value)
    taps = [w.taps for w in rest]
    biased = d.chance() if bias is None else bias
    y = n.conv(
        x, d.weight(out, x.channels // group, *taps), rest, group=group,
        bias=integers(d.rng, (out,)) if biased else None, style=d.style(),
        auto_pad=_auto_pad(d, x, rest), kernel_shape=d.chance(),
    )
    cuts = {a: (b, e, 1) for a, (b, e) in enumerate(trims, start=2) if b or e}
    if cuts:
        y = n.crop(y, cuts, style=d.style())
    return y


def _auto_pad(d: Draws, x: Tensor, windows: Sequence[Window]) -> str | None:
    """An auto_pad that means the same as these pads, where there is one and it is drawn."""
    if not d.chance(one_in=3):
        return None
    if all(w.begin == w.end == 0 for w in windows):
        return "VALID"
    if any(w.stride > 1 for w in windows):
        return None
    for name, odd in (("SAME_UPPER", 0), ("SAME_LOWER", 1)):
        if all(
            w.begin + w.end == w.span and w.begin == (w.span + odd) // 2 for w in windows
        ):
            return name
    return None


def pool(n: Net, d: Draws, x: Tensor, windows: Sequence[Window]) -> Tensor:
    x, rest = extended(n, d, x, windows, "constant")
    if any(w.begin >= w.taps or w.end >= w.taps for w in rest):
        raise TooLarge("an AveragePool can't pad by its whole kernel")
    if n.opset < 19 and any(w.dilation > 1 for w in rest):
        raise TooLarge("AveragePool has dilations from opset 19 on")
    return n.average_pool(x, rest)


# Sums.


def tree(n: Net, d: Draws, tensors: Sequence[Tensor]) -> Tensor:
    """The tensors added up, in any order and tree shape."""
    waiting = d.shuffled(tensors)
    while len(waiting) > 1:
        if len(waiting) > 2 and d.chance(one_in=4):
            waiting = [n.combine(waiting[:3], "Sum"), *waiting[3:]]
            continue
        op = d.pick("Add", "Add", "Add", "Sub")
        waiting = d.shuffled([n.combine(waiting[:2], op), *waiting[2:]])
    return waiting[0]


# Blocks: branches over one source that meet in a sum.


@dataclass(frozen=True)
class Frame:
    """What the branches of a block share."""

    out: int
    group: int
    strides: tuple[int, ...]
    extents: tuple[int, ...]
    mode: str


def branch(n: Net, d: Draws, x: Tensor, frame: Frame) -> Tensor:
    kind = d.pick("conv", "conv", "conv", "sequence", "pool", "identity", "multiple")
    if kind == "identity":
        return identity(n, d, x, frame)
    if kind == "pool":
        return pooled(n, d, x, frame)
    if kind == "sequence":
        return sequence(n, d, x, frame)
    if kind == "multiple":
        y = n.combine([convolve(n, d, x, frame.out, drawn_windows(d, frame), group=frame.group, mode=frame.mode) for _ in range(2)])
    else:
        y = convolve(
            n, d, x, frame.out, drawn_windows(d, frame), group=frame.group, mode=frame.mode,
            value=float(d.pick(0, 0, 0, 2)) if frame.mode == "constant" else 0.0,
        )
    for _ in range(d.pick(0, 1, 1, 2)):
        y = decorate(n, d, y)
    return y


def drawn_windows(d: Draws, frame: Frame, *, taps: Sequence[int] = (1, 2, 3, 3, 5)) -> list[Window]:
    """Windows of any kernel that give the frame's outputs."""
    windows = []
    for stride, extent in zip(frame.strides, frame.extents, strict=True):
        k, dilation = d.pick(*taps), d.pick(1, 1, 1, 2)
        span = dilation * (k - 1)
        # Somewhere around the middle; any offset is right as long as the extent is.
        middle = -(extent + span) // 2
        windows.append(Window(k, dilation, stride, middle + d.pick(0, 0, 0, -1, 1, 2, -2), extent))
    return windows


def identity(n: Net, d: Draws, x: Tensor, frame: Frame) -> Tensor:
    """x itself, or a crop of it, perhaps normalized; a 1x1 where the channels don't match."""
    windows = [
        Window(1, 1, s, max(0, -e // 2), e)
        for s, e in zip(frame.strides, frame.extents, strict=True)
    ]
    if any(w.begin > 0 or w.end > 0 for w in windows) or frame.out != x.channels:
        return convolve(n, d, x, frame.out, [Window(1, 1, s, -(e // 2), e) for s, e in zip(frame.strides, frame.extents, strict=True)], group=frame.group, mode=frame.mode)
    cuts = {
        a: (w.offset, -w.end, w.stride)
        for a, w in enumerate(windows, start=2) if w.offset or w.end or w.stride > 1
    }
    y = x
    before = d.chance()
    if before and d.chance():
        y = decorate(n, d, y)
    if cuts:
        if n.opset < 10 and any(c[2] > 1 for c in cuts.values()):
            raise TooLarge("Slice has no steps")
        y = n.crop(y, cuts, style=d.style())
    if not before and d.chance():
        y = decorate(n, d, y)
    return y


def pooled(n: Net, d: Draws, x: Tensor, frame: Frame) -> Tensor:
    if frame.out != x.channels:
        x = convolve(n, d, x, frame.out, [Window()] * x.rank, group=frame.group)
    y = pool(n, d, x, drawn_windows(d, replace(frame), taps=(2, 1, 4)))
    return batch_norm(n, d, y) if d.chance() else y


def sequence(n: Net, d: Draws, x: Tensor, frame: Frame) -> Tensor:
    """Two or three convolutions in a row, of which the windows multiply up to the frame's."""
    kind = d.pick("pw-k", "k-pw", "k-k", "pw-k-pw", "dw-pw", "pw-dw")
    middle = d.pick(2, 3, 4) * frame.group
    full = drawn_windows(d, frame)
    plain = [Window()] * x.rank
    shared: dict[str, Any] = {"mode": frame.mode}
    if kind == "pw-k":
        y = convolve(n, d, x, middle, plain, group=frame.group, bias=d.chance(one_in=3))
        y = _between(n, d, y)
        return convolve(n, d, y, frame.out, full, group=frame.group, **shared)
    if kind == "k-pw":
        y = _between(n, d, convolve(n, d, x, middle, full, group=frame.group, **shared))
        return convolve(n, d, y, frame.out, plain, group=d.pick(1, frame.group))
    if kind == "pw-k-pw":
        y = convolve(n, d, x, middle, plain, group=frame.group, bias=False)
        y = convolve(n, d, y, middle, full, group=middle if d.chance() else frame.group, **shared)
        return convolve(n, d, _between(n, d, y), frame.out, plain, group=frame.group)
    if kind == "dw-pw":
        y = _between(n, d, convolve(n, d, x, x.channels, full, group=x.channels, **shared))
        return convolve(n, d, y, frame.out, plain, group=frame.group)
    if kind == "pw-dw":
        y = convolve(n, d, x, frame.out, plain, group=frame.group, bias=d.chance(one_in=3))
        return convolve(n, d, y, frame.out, full, group=frame.out, **shared)
    first, second = [], []
    for stride, extent in zip(frame.strides, frame.extents, strict=True):
        s1, s2 = d.pick((stride, 1), (1, stride))
        k1, k2 = d.pick((3, 3), (1, 3), (3, 1), (2, 2), (3, 2))
        # The second one pads nothing, or a little: then it may not be merged.
        e2 = d.pick(1 - k2, 1 - k2, 1 - k2, 0)
        o2 = 0 if e2 == 1 - k2 else -((k2 - 1) // 2)
        e1 = extent - s1 * e2
        first.append(Window(k1, 1, s1, -(e1 + k1 - 1) // 2, e1))
        second.append(Window(k2, 1, s2, o2, e2))
    y = convolve(n, d, x, middle, first, group=frame.group, **shared)
    return convolve(n, d, _between(n, d, y), frame.out, second, group=frame.group, **shared)


def _between(n: Net, d: Draws, x: Tensor) -> Tensor:
    return decorate(n, d, x) if d.chance(one_in=3) else x


def channels_of(n: Net, d: Draws, x: Tensor, parts: Sequence[int]) -> list[Tensor]:
    """x split on its channels."""
    kind = d.pick("Split", "Slice", "Gather")
    at = [sum(parts[:i]) for i in range(len(parts))]
    if kind == "Slice":
        return [n.crop(x, {1: (a, x.channels - a - p, 1)}) for a, p in zip(at, parts, strict=True)]
    if kind == "Gather":
        return [
            n.node("Gather", [x.name, n.constant(np.arange(a, a + p))], x, axis=1,
                   shape=(x.shape[0], p, *x.shape[2:]))
            for a, p in zip(at, parts, strict=True)
        ]
    import onnx

    made = [
        Tensor(n.fresh("split"), (x.shape[0], p, *x.shape[2:]), x.bound, x.grain) for p in parts
    ]
    names = [m.name for m in made]
    if n.opset < 13:
        n.nodes.append(onnx.helper.make_node("Split", [x.name], names, axis=1, split=list(parts)))
    else:
        sizes = n.constant(np.asarray(parts, np.int64))
        n.nodes.append(onnx.helper.make_node("Split", [x.name, sizes], names, axis=1))
    return made


def concat(n: Net, tensors: Sequence[Tensor], axis: int = 1) -> Tensor:
    shape = list(tensors[0].shape)
    shape[axis] = sum(t.shape[axis] for t in tensors)
    return n.node(
        "Concat", [t.name for t in tensors], tensors[0], axis=axis, shape=shape,
        bound=max(t.bound for t in tensors), grain=max(t.grain for t in tensors),
    )


def block_input(n: Net, d: Draws, channels: int, rank: int) -> tuple[Tensor, list[Sizes]]:
    """A graph input, static or dynamic, and the sizes to try it at."""
    batch, least = d.pick(1, 2), 9 if rank < 3 else 7
    shape = (batch, channels, *(least + d.between(0, 2) for _ in range(rank)))
    dynamic = d.pick("no", "no", "batch", "map", "all")
    if dynamic == "no":
        return n.input(shape), [{}]
    names = ["h", "w", "t"][:rank]
    symbols = ["n" if dynamic != "map" else None, None, *(names if dynamic != "batch" else [])]
    sizes = [
        {"n": batch + i, **{s: shape[2 + a] + (3 * i + a * i) % 5 - i for a, s in enumerate(names)}}
        for i in range(3)
    ]
    return n.input(shape, symbols), sizes


def finish(n: Net, d: Draws, sizes: Sequence[Sizes], *tensors: Tensor) -> Drawn:
    n.output(*tensors)
    return Drawn(n.model(), tuple(sizes))


@st.composite
def blocks(draw: Callable[..., Any]) -> Drawn:
    """Up to four branches of any kind over one source, and what stands around them."""
    d = Draws(draw)
    n = net(d)
    rank = d.pick(2, 2, 2, 1, 3)
    group = d.pick(1, 1, 2, 3)
    width = group * d.pick(1, 2)
    out = width if d.chance() else group * d.pick(1, 2, 3)
    if d.chance(one_in=6):
        group = width = out = d.pick(2, 3)
    x, sizes = block_input(n, d, width, rank)
    frame = Frame(
        out, group,
        tuple(d.pick(1, 1, 1, 2, 3) for _ in range(rank)) if d.chance(one_in=3) else (d.pick(1, 1, 2),) * rank,
        tuple(d.pick(0, 0, -2, -1, 1, -4, 2) for _ in range(rank)),
        d.pick("constant", "constant", "constant", "reflect", "edge", *(["wrap"] if n.opset >= 19 else [])),
    )
    try:
        source = n.unary("Relu", x) if d.chance(one_in=4) else x
        if d.chance(one_in=6):
            source = convolve(n, d, x, width, [Window(3, 1, 1, -1, 0)] * rank)
        branches = [branch(n, d, source, frame) for _ in range(d.pick(2, 3, 1, 4))]
        total = tree(n, d, branches)
        outputs = [b for b in branches if d.chance(one_in=8)]
        outputs += [n.unary(d.pick("Relu", "Abs"), b) for b in branches if d.chance(one_in=8)]
        if d.chance(one_in=4):
            other = n.input(total.shape, _symbols_like(n, total))
            total = n.combine([total, other] if d.chance() else [other, total])
            if any(isinstance(s, str) for s in n.inputs[other.name]):
                sizes = _with_residual(frame, sizes, source)
        for _ in range(d.pick(0, 0, 1, 2)):
            total = decorate(n, d, total)
        if d.chance(one_in=4):
            total = n.unary("Relu", total)
        if d.chance(one_in=4):
            total = convolve(n, d, total, 2, drawn_windows(d, Frame(2, 1, (1,) * rank, (0,) * rank, "constant"), taps=(1, 3)))
        return finish(n, d, sizes, total, *outputs)
    except TooLarge:
        reject()


def _symbols_like(n: Net, x: Tensor) -> list[str | None]:
    """Symbols of a residual from elsewhere: dynamic where the first input is."""
    first = next(iter(n.inputs.values()))
    return [f"r{i}" if isinstance(s, str) and i != 0 else s if isinstance(s, str) else None
            for i, s in enumerate(first)]


def _with_residual(frame: Frame, sizes: Sequence[Sizes], x: Tensor) -> list[Sizes]:
    names = ["h", "w", "t"][: x.rank]
    return [
        {**s, **{
            f"r{a + 2}": Window(1, 1, frame.strides[a], 0, frame.extents[a]).length(s[name])
            for a, name in enumerate(names)
        }}
        for s in sizes
    ]


@st.composite
def acnet_blocks(draw: Callable[..., Any]) -> Drawn:
    """A kxk, a 1xk and a kx1 branch and the like: nothing is in the way of one Conv."""
    d = Draws(draw)
    n = net(d)
    rank = d.pick(2, 2, 2, 1, 3)
    group = d.pick(1, 1, 2)
    width, out = group * d.pick(1, 2, 3), group * d.pick(1, 2, 3)
    if d.chance(one_in=5):
        group = width = out = d.pick(2, 4)
    x, sizes = block_input(n, d, width, rank)
    mode = d.pick("constant", "constant", "constant", "reflect", "edge", *(["wrap"] if n.opset >= 19 else []))
    largest = []
    for _ in range(rank):
        k, dilation, stride = d.pick(3, 3, 5, 2, 4, 1), d.pick(1, 1, 2), d.pick(1, 1, 2, 3)
        begin, end = d.between(0, 2), d.between(0, 2)
        largest.append(Window(k, dilation, stride, -begin, begin + end - dilation * (k - 1)))
    try:
        branches = []
        for i in range(d.pick(3, 2, 4, 1)):
            windows = largest if not i else [_inside(d, w) for w in largest]
            y, rest = extended(n, d, x, windows, mode)
            taps = [w.taps for w in rest]
            y = n.conv(
                y, d.weight(out, width // group, *taps), rest, group=group,
                bias=integers(d.rng, (out,)) if d.chance() else None, style=d.style(),
                auto_pad=_auto_pad(d, y, rest), kernel_shape=d.chance(),
            )
            branches.append(batch_norm(n, d, y) if d.chance() else y)
        total = n.combine(branches, "Sum") if len(branches) > 1 and d.chance(one_in=5) else _added(n, d, branches)
        if d.chance():
            total = batch_norm(n, d, total)
        if d.chance(one_in=3):
            total = n.unary("Relu", total)
        return finish(n, d, sizes, total)
    except TooLarge:
        reject()


def _added(n: Net, d: Draws, tensors: Sequence[Tensor]) -> Tensor:
    waiting = list(tensors)
    while len(waiting) > 1:
        waiting = d.shuffled([n.combine(waiting[:2]), *waiting[2:]])
    return waiting[0]


def _inside(d: Draws, w: Window) -> Window:
    """A thinner window on the taps of a large one."""
    k = d.pick(1, w.taps)
    if k == w.taps:
        return w
    return w._replace(taps=1, dilation=1, offset=w.offset + w.dilation * d.between(0, w.taps - 1))


# Transposed convolutions, matrices.


@st.composite
def transposed(draw: Callable[..., Any]) -> Drawn:
    """Branches of ConvTranspose over one source, of one output size."""
    d = Draws(draw)
    n = net(d)
    rank, group = d.pick(2, 2, 1), d.pick(1, 1, 2)
    width, out = group * d.pick(1, 2), group * d.pick(1, 2)
    x, sizes = block_input(n, d, width, rank)
    up = d.pick(2, 2, 1, 3)
    extent = d.pick(up - 1, up - 1, 0, 2)
    try:
        source = convolve(n, d, x, width, [Window()] * rank, group=group) if d.chance(one_in=3) else x
        branches = []
        for _ in range(d.pick(2, 1, 3)):
            y = spread(n, d, source, out, group, up, extent)
            for _ in range(d.pick(0, 1, 2)):
                y = decorate(n, d, y)
            if d.chance(one_in=4):
                y = convolve(n, d, y, out, [Window()] * rank, group=group)
            branches.append(y)
        total = tree(n, d, branches)
        if d.chance(one_in=3):
            total = convolve(n, d, total, out, drawn_windows(d, Frame(out, 1, (d.pick(1, 2),) * rank, (0,) * rank, "constant"), taps=(1, 3)))
        if d.chance(one_in=3):
            total = decorate(n, d, total)
        return finish(n, d, sizes, total)
    except TooLarge:
        reject()


def spread(
    n: Net, d: Draws, x: Tensor, out: int, group: int, up: int, extent: int
) -> Tensor:
    """A ConvTranspose with up·(N − 1) + extent + 1 outputs."""
    taps, begins, ends, extras, dilations = [], [], [], [], []
    for _ in range(x.rank):
        k, dilation = d.pick(2, 3, 4, 1), d.pick(1, 1, 2)
        span = dilation * (k - 1)
        begin = d.between(0, 2)
        end = span - begin - extent
        extra = max(-end, 0)
        if extra >= max(up, dilation):
            raise TooLarge("output_padding is smaller than the stride")
        taps.append(k), begins.append(begin), ends.append(end + extra)
        extras.append(extra), dilations.append(dilation)
    weight = d.weight(x.channels, out // group, *taps)
    bias = integers(d.rng, (out,)) if d.chance() else None
    names = [x.name, n.constant(weight, d.style())]
    if bias is not None:
        names.append(n.constant(bias))
    sizes = [up * (s - 1) + extent + 1 for s in x.shape[2:]]
    flipped = np.moveaxis(weight.reshape(group, -1, out // group, *taps), 1, 2)
    return n.node(
        "ConvTranspose", names, x, shape=(x.shape[0], out, *sizes),
        bound=response(x, flipped.reshape(out, -1), bias), group=group,
        strides=[up] * x.rank, dilations=dilations, pads=begins + ends,
        **({"output_padding": extras} if any(extras) else {}),
    )


@st.composite
def matrices(draw: Callable[..., Any]) -> Drawn:
    """Linear layers: MatMul and Gemm, low-rank pairs, scales and shifts."""
    d = Draws(draw)
    n = net(d)
    lead = d.pick((2,), (2, 5), (1, 2, 4), ())
    width, out = d.pick(4, 3, 6), d.pick(4, 2, 5)
    left = bool(lead) and d.chance(one_in=5)
    shape = (*lead, 5, width) if left or not lead else (*lead, width)
    symbols = ["n"] if lead and d.chance() else []
    x = n.input(shape, symbols)
    sizes = [{"n": s} for s in (shape[0], 1, 7)] if symbols else [{}]
    try:
        branches = []
        for _ in range(d.pick(2, 1, 3)):
            if d.chance(one_in=3):
                y = linear(n, d, linear(n, d, x, d.pick(2, 1, 8), left=left), out, left=left)
            else:
                y = linear(n, d, x, out, left=left)
            for _ in range(d.pick(0, 1, 1, 2)):
                y = affine_last(n, d, y)
            branches.append(y)
        if d.chance(one_in=5) and branches[0].shape == x.shape:
            branches.append(x)
        total = tree(n, d, branches)
        for _ in range(d.pick(0, 1)):
            total = affine_last(n, d, total)
        if d.chance(one_in=3):
            total = n.unary("Relu", total)
        return finish(n, d, sizes, total)
    except TooLarge:
        reject()


def linear(n: Net, d: Draws, x: Tensor, out: int, *, left: bool = False) -> Tensor:
    """x·W, W·x or a Gemm."""
    if left:
        rows = x.shape[-2]
        w = d.weight(5, rows)
        return n.node(
            "MatMul", [n.constant(w, d.style()), x.name], x, shape=(*x.shape[:-2], 5, x.shape[-1]),
            bound=x.bound * float(np.abs(w).sum(1).max()),
        )
    width = x.shape[-1]
    w = d.weight(width, out)
    heavy = float(np.abs(w).sum(0).max())
    if len(x.shape) == 2 and d.chance():
        alpha, beta = d.pick(1.0, 2.0, 0.5), d.pick(1.0, 2.0, 0.0, -1.0)
        flip = d.chance()
        names = [x.name, n.constant(w.T if flip else w, d.style())]
        shape = d.pick((out,), (1, out), (), (1,))
        bias = integers(d.rng, shape)
        if n.opset < 11 or d.chance():
            names.append(n.constant(bias, d.style()))
        return n.node(
            "Gemm", names, x, shape=(*x.shape[:-1], out),
            bound=alpha * heavy * x.bound + abs(beta) * 3, grain=x.grain + 1,
            alpha=alpha, beta=beta, transB=int(flip),
        )
    return n.node(
        "MatMul", [x.name, n.constant(w, d.style())], x, shape=(*x.shape[:-1], out),
        bound=x.bound * heavy,
    )


def affine_last(n: Net, d: Draws, x: Tensor) -> Tensor:
    """A scale or shift over the last axis, or another one."""
    size = x.shape[-1]
    shapes = [(size,), (1, size), (), (1,)]
    if len(x.shape) > 2:
        shapes.append((x.shape[-2], 1))
    shape = d.pick(*[s for s in shapes if len(s) <= len(x.shape)])
    kind = d.pick("add", "mul", "sub", "neg", "div", "same")
    if kind == "mul":
        return n.scale(x, d.factor(shape), first=d.chance(), style=d.style())
    if kind in ("add", "sub"):
        return n.shift(x, integers(d.rng, shape), op=kind.title(), first=d.chance(), style=d.style())
    if kind == "div":
        return n.divide(x, d.rng.choice([1.0, 2.0], shape))
    return n.unary("Neg" if kind == "neg" else "Identity", x)


# Anything.


@st.composite
def graphs(draw: Callable[..., Any]) -> Drawn:
    """Random graphs: any operator on any tensor, sums where shapes agree, odd outputs."""
    d = Draws(draw)
    n = net(d)
    rank = d.pick(2, 2, 1)
    size = d.pick(4, 6, 8)
    width = d.pick(2, 4, size)
    symbols = [None, None, *["h", "w"][:rank]] if d.chance(one_in=3) else []
    x = n.input((1, width, *(size,) * rank), symbols)
    sizes = [{"h": size, "w": size}, {"h": size + 3, "w": size + 1}] if symbols else [{}]
    pool_of = [x]
    for _ in range(d.between(2, 9)):
        try:
            pool_of += _grown(n, d, d.pick(*pool_of[::-1]), pool_of)
        except TooLarge:
            continue
    used = {i for node in n.nodes for i in node.input}
    ends = [t for t in pool_of[1:] if t.name not in used]
    inner = [t for t in pool_of[1:] if t.name in used and d.chance(one_in=6)]
    if not ends:
        reject()
    return finish(n, d, sizes, *ends, *inner)


def _grown(n: Net, d: Draws, x: Tensor, others: Sequence[Tensor]) -> list[Tensor]:
    kind = d.pick(
        "add", "conv", "conv", "decorate", "crop", "pad", "pool", "concat", "split", "last",
        "relu", "maxpool", "matmul", "spread", "same", "transpose", "mean", "flatten",
    )
    rank = x.rank
    if rank < 1 and kind not in ("add", "last", "matmul", "relu"):
        kind = "matmul"
    fixed = not any(isinstance(s, str) for shape in n.inputs.values() for s in shape)
    if kind == "transpose":
        return [transpose(n, x, d.shuffled(range(len(x.shape))))] if fixed else [channels_last(n, d, x)]
    if kind == "mean":
        area = math.prod(x.shape[2:])
        if not fixed or area & (area - 1):
            raise TooLarge("a mean that rounds")
        shape = (*x.shape[:2], *(1,) * rank)
        return [n.unary("GlobalAveragePool", x, shape=shape, grain=x.grain + area.bit_length() - 1)]
    if kind == "flatten":
        if not fixed:
            raise TooLarge("a shape that varies")
        return [n.unary("Flatten", x, axis=1, shape=(x.shape[0], math.prod(x.shape[1:])))]
    if kind == "add":
        alike = [o for o in others if o.shape == x.shape]
        return [n.combine([x, d.pick(*alike)], d.pick("Add", "Sub", "Sum"))]
    if kind == "conv":
        group = math.gcd(x.channels, d.pick(1, 2, x.channels))
        frame = Frame(0, group, (d.pick(1, 1, 2),) * rank, (d.pick(0, 0, -2, 1),) * rank, "constant")
        out = d.pick(x.channels, group * 2)
        return [convolve(n, d, x, out, drawn_windows(d, frame, taps=(1, 3, 2)), group=group)]
    if kind == "decorate":
        return [decorate(n, d, x)]
    if kind == "crop":
        cut = {d.between(2, len(x.shape) - 1): (d.between(0, 1), d.between(0, 1), 1)}
        return [n.crop(x, cut, style=d.style())]
    if kind == "pad":
        mode = d.pick("constant", "reflect", "edge", *(["wrap"] if n.opset >= 19 else []))
        amounts = {d.between(2, len(x.shape) - 1): (d.between(0, 2), d.between(0, 2))}
        return [n.pad(x, amounts, mode=mode, value=d.pick(0.0, 0.0, 1.0), style=d.style())]
    if kind == "pool":
        frame = Frame(0, 1, (d.pick(1, 2),) * rank, (d.pick(0, -1),) * rank, "constant")
        return [pool(n, d, x, drawn_windows(d, frame, taps=(2, 1)))]
    if kind == "concat":
        axis = d.between(1, len(x.shape) - 1)
        alike = [
            o for o in others
            if o.shape[:axis] == x.shape[:axis] and o.shape[axis + 1:] == x.shape[axis + 1:]
        ]
        return [concat(n, [x, d.pick(*alike)], axis)]
    if kind == "split" and x.channels > 1:
        first = d.between(1, x.channels - 1)
        return channels_of(n, d, x, [first, x.channels - first])
    if kind == "last":
        # A vector as long as the last axis is no bias of the channels.
        if any(isinstance(s, str) for shape in n.inputs.values() for s in shape):
            return [n.unary("Neg", x)]
        return [affine_last(n, d, x)]
    if kind == "maxpool":
        windows = [Window(2, 1, 1, 0, -1)] * rank
        shape = (*x.shape[:2], *(w.length(s) for w, s in zip(windows, x.shape[2:], strict=True)))
        if min(shape) < 1:
            raise TooLarge("no output")
        return [n.node("MaxPool", [x.name], x, shape=shape, kernel_shape=[2] * rank)]
    if kind == "matmul":
        if any(isinstance(s, str) for shape in n.inputs.values() for s in shape):
            return [n.unary("Relu", x)]
        return [linear(n, d, x, d.pick(x.shape[-1], 3))]
    if kind == "spread":
        return [spread(n, d, x, d.pick(x.channels, 2), 1, 2, 1)]
    if kind == "same":
        return [same(n, d, x)]
    return [n.unary("Relu", x)]
