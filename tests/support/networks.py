"""Hypothesis strategies: random networks in exact arithmetic."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from drawing import Drawn, Draws, Sizes, extensions, finish, source, start
from exact import INT64_MAX, Array, Net, Tensor, TooLarge, Window, integers
from hypothesis import reject
from hypothesis import strategies as st
from pieces import (
    Frame,
    affine_last,
    batch_norm,
    branch,
    channels_last,
    concat,
    convolve,
    decorate,
    extended,
    flatten,
    global_average,
    linear,
    parted,
    plain_conv,
    pool,
    same,
    spread,
    transpose,
    tree,
    window_of,
)

Make = Callable[[Draws], Drawn]


def network(make: Make) -> Callable[[], st.SearchStrategy[Drawn]]:
    """A strategy from a function; what leaves the exact range is drawn again."""

    @st.composite
    @functools.wraps(make)
    def drawn(draw: Callable[..., Any]) -> Drawn:
        try:
            return make(Draws(draw))
        except TooLarge:
            reject()

    return drawn


@network
def blocks(d: Draws) -> Drawn:
    """Up to four branches of any kind over one source, and what stands around them."""
    n = start(d)
    rank, group = d.pick(2, 2, 2, 1, 3), d.pick(1, 1, 2, 3)
    width = group * d.pick(1, 2)
    out = width if d.chance() else group * d.pick(1, 2, 3)
    if d.chance(one_in=6):
        group = width = out = d.pick(2, 3)
    x, sizes = source(n, d, width, rank)
    odd = d.chance(one_in=3)
    strides = [d.pick(1, 1, 1, 2, 3) for _ in range(rank)] if odd else [d.pick(1, 1, 2)] * rank
    extents = [d.pick(0, 0, -2, -1, 1, -4, 2) for _ in range(rank)]
    frame = Frame(out, group, tuple(strides), tuple(extents), d.pick(*extensions(n)))
    read = n.unary("Relu", x) if d.chance(one_in=4) else x
    if d.chance(one_in=6):
        read = convolve(n, d, x, width, [Window(3, 1, 1, -1, 0)] * rank)
    branches = [branch(n, d, read, frame) for _ in range(d.pick(2, 3, 1, 4))]
    total = tree(n, d, branches)
    seen = [b for b in branches if d.chance(one_in=8)]
    seen += [n.unary(d.pick("Relu", "Abs"), b) for b in branches if d.chance(one_in=8)]
    if d.chance(one_in=4):
        total, sizes = residual(n, d, total, frame, sizes)
    for _ in range(d.pick(0, 0, 1, 2)):
        total = decorate(n, d, total)
    if d.chance(one_in=4):
        total = n.unary("Relu", total)
    if d.chance(one_in=4):
        square = Frame(2, 1, (1,) * rank, (0,) * rank)
        total = convolve(n, d, total, 2, window_of(d, square, taps=(1, 3)))
    return finish(n, sizes, total, *seen)


def residual(
    n: Net, d: Draws, x: Tensor, frame: Frame, sizes: Sequence[Sizes]
) -> tuple[Tensor, list[Sizes]]:
    """x plus a tensor from elsewhere, of x's shape at every size."""
    own = next(iter(n.inputs.values()))
    symbols = [s if isinstance(s, str) else None for s in own]
    named = [symbols[0], None, *(f"r{s}" if s else None for s in symbols[2:])]
    other = n.input(x.shape, named)
    lengths = {
        s: Window(stride=frame.strides[a], extent=frame.extents[a]).length
        for a, s in enumerate(symbols[2:])
        if s
    }
    sized = [{**at, **{f"r{s}": f(at[s]) for s, f in lengths.items()}} for at in sizes]
    return n.combine(d.shuffled([x, other])), sized


@network
def acnet_blocks(d: Draws) -> Drawn:
    """A kxk, a 1xk and a kx1 branch and the like: nothing is in the way of one Conv."""
    n = start(d)
    rank, group = d.pick(2, 2, 2, 1, 3), d.pick(1, 1, 2)
    width, out = group * d.pick(1, 2, 3), group * d.pick(1, 2, 3)
    if d.chance(one_in=5):
        group = width = out = d.pick(2, 4)
    x, sizes = source(n, d, width, rank)
    mode = d.pick(*extensions(n))
    largest = []
    for _ in range(rank):
        k, dilation, stride = d.pick(3, 3, 5, 2, 4), d.pick(1, 1, 2), d.pick(1, 1, 2, 3)
        begin, end = d.between(0, 2), d.between(0, 2)
        largest.append(Window(k, dilation, stride, -begin, begin + end - dilation * (k - 1)))
    branches = []
    for i in range(d.pick(3, 2, 4, 1)):
        windows = [_inside(d, w, mode) for w in largest] if i else largest
        y, rest = extended(n, d, x, windows, mode)
        y = plain_conv(n, d, y, out, rest, group=group)
        branches.append(batch_norm(n, d, y) if d.chance() else y)
    total = tree(n, d, branches, signs=False)
    if d.chance():
        total = batch_norm(n, d, total)
    if d.chance(one_in=3):
        total = n.unary("Relu", total)
    return finish(n, sizes, total)


def _inside(d: Draws, w: Window, mode: str) -> Window:
    """The same window, or one of its taps."""
    if d.chance():
        return w
    k = d.between(0, w.taps - 1)
    tap = w._replace(taps=1, dilation=1, offset=w.offset + w.dilation * k)
    # What is cropped at one end and then wrapped has lost what it would wrap to the other.
    return w if mode == "wrap" and tap.begin * tap.end < 0 else tap


@network
def transposed(d: Draws) -> Drawn:
    """Branches of ConvTranspose over one source, of one output size."""
    n = start(d)
    rank, group = d.pick(2, 2, 1), d.pick(1, 1, 2)
    width, out = group * d.pick(1, 2), group * d.pick(1, 2)
    x, sizes = source(n, d, width, rank)
    up = d.pick(2, 2, 1, 3)
    extent, single = d.pick(up - 1, up - 1, 0, 2), [Window()] * rank
    read = convolve(n, d, x, width, single, group=group) if d.chance(one_in=3) else x
    branches = []
    for _ in range(d.pick(2, 1, 3)):
        y = spread(n, d, read, out, group, up, extent)
        for _ in range(d.pick(0, 1, 2)):
            y = decorate(n, d, y)
        branches.append(convolve(n, d, y, out, single, group=group) if d.chance(one_in=4) else y)
    total = tree(n, d, branches)
    if d.chance(one_in=3):
        frame = Frame(out, 1, (d.pick(1, 2),) * rank, (0,) * rank)
        total = convolve(n, d, total, out, window_of(d, frame, taps=(1, 3)))
    if d.chance(one_in=3):
        total = decorate(n, d, total)
    return finish(n, sizes, total)


@network
def matrices(d: Draws) -> Drawn:
    """Linear layers: MatMul and Gemm, low-rank pairs, scales and shifts."""
    n = start(d)
    lead = d.pick((2,), (2, 5), (1, 2, 4), ())
    width, out = d.pick(4, 3, 6), d.pick(4, 2, 5)
    left = not lead or d.chance(one_in=5)
    shape = (*lead, 5, width) if left else (*lead, width)
    symbols = ["n"] if lead and d.chance() else []
    x = n.input(shape, symbols)
    sizes = [{"n": s} for s in (shape[0], 1, 7)] if symbols else [{}]
    branches = []
    for _ in range(d.pick(2, 1, 3)):
        y = x
        if d.chance(one_in=3):
            y = linear(n, d, y, d.pick(2, 1, 8), left=left)
        y = linear(n, d, y, out, left=left)
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
    return finish(n, sizes, total)


@network
def heads(d: Draws) -> Drawn:
    """The end of a classifier: convolutions, an average or a flattened map, linear layers."""
    n = start(d)
    size, width, rank = d.pick(4, 2, 8, 1, 3), d.pick(2, 4), d.pick(2, 2, 1)
    x = n.input((d.pick(2, 1), width, *(size,) * rank), ["n"] if d.chance(one_in=3) else [])
    sizes = [{"n": 1}, {"n": 3}]
    y = x
    for _ in range(d.pick(0, 1, 2)):
        if d.chance():
            y = decorate(n, d, y)
            continue
        extent = d.pick(0, 0, 1 - y.shape[2])
        frame = Frame(0, 1, (1,) * rank, (extent,) * rank)
        y = convolve(n, d, y, d.pick(2, 3), window_of(d, frame, taps=(1, 3, size)))
    if d.chance():
        y = global_average(n, d, y)
        if len(y.shape) > 2 and d.chance(one_in=3):
            y = decorate(n, d, y)
    if len(y.shape) > 2 and d.chance(one_in=6):
        return finish(n, sizes, convolve(n, d, y, 2, [Window()] * rank))
    y = flatten(n, d, y)
    ends = []
    for _ in range(d.pick(1, 1, 2)):
        end = linear(n, d, y, 3)
        ends.append(affine_last(n, d, end) if d.chance(one_in=3) else end)
    return finish(n, sizes, tree(n, d, ends), *([y] if d.chance(one_in=6) else []))


# Anything.


@network
def graphs(d: Draws) -> Drawn:
    """Any operator on any tensor, sums where shapes agree, and odd outputs."""
    n = start(d)
    rank, size = d.pick(2, 2, 1), d.pick(4, 6, 8)
    symbols = [None, None, *["h", "w"][:rank]] if n.opset != 10 and d.chance(one_in=3) else []
    x = n.input((1, d.pick(2, 4, size), *(size,) * rank), symbols)
    sizes = [{"h": size, "w": size}, {"h": size + 3, "w": size + 1}] if symbols else [{}]
    made = [x]
    for _ in range(d.between(2, 9)):
        grown = d.pick(*made[::-1])
        kinds = _OF_MAPS if grown.rank > 0 else _OF_MATRICES
        try:
            made += d.pick(*kinds)(n, d, grown, made)
        except TooLarge:
            continue
    used = {i for node in n.nodes for i in node.input}
    ends = [t for t in made[1:] if t.name not in used]
    inner = [t for t in made[1:] if t.name in used and d.chance(one_in=6)]
    if not ends:
        raise TooLarge("nothing was made")
    return finish(n, sizes, *ends, *inner)


Grow = Callable[[Net, Draws, Tensor, Sequence[Tensor]], list[Tensor]]


def _sum(n: Net, d: Draws, x: Tensor, others: Sequence[Tensor]) -> list[Tensor]:
    alike = [o for o in others if o.shape == x.shape]
    return [n.combine([x, d.pick(*alike)], d.pick("Add", "Sub", "Sum"))]


def _convolution(n: Net, d: Draws, x: Tensor, _: Sequence[Tensor]) -> list[Tensor]:
    group = math.gcd(x.channels, d.pick(1, 2, x.channels))
    frame = Frame(0, group, (d.pick(1, 1, 2),) * x.rank, (d.pick(0, 0, -2, 1),) * x.rank)
    out = d.pick(x.channels, group * 2)
    return [convolve(n, d, x, out, window_of(d, frame, taps=(1, 3, 2)), group=group)]


def _crop(n: Net, d: Draws, x: Tensor, _: Sequence[Tensor]) -> list[Tensor]:
    cut = {d.between(2, len(x.shape) - 1): (d.between(0, 1), d.between(0, 1), 1)}
    return [n.crop(x, cut, style=d.style())]


def _pad(n: Net, d: Draws, x: Tensor, _: Sequence[Tensor]) -> list[Tensor]:
    amounts = {d.between(2, len(x.shape) - 1): (d.between(0, 2), d.between(0, 2))}
    mode, value = d.pick(*extensions(n)), d.pick(0.0, 0.0, 1.0)
    return [n.pad(x, amounts, mode=mode, value=value, style=d.style())]


def _pool(n: Net, d: Draws, x: Tensor, _: Sequence[Tensor]) -> list[Tensor]:
    frame = Frame(0, 1, (d.pick(1, 2),) * x.rank, (d.pick(0, -1),) * x.rank)
    return [pool(n, d, x, window_of(d, frame, taps=(2, 1)))]


def _max_pool(n: Net, d: Draws, x: Tensor, _: Sequence[Tensor]) -> list[Tensor]:
    shape = (*x.shape[:2], *(s - 1 for s in x.shape[2:]))
    if min(shape) < 1:
        raise TooLarge("no output")
    return [n.node("MaxPool", [x.name], x, shape=shape, kernel_shape=[2] * x.rank)]


def _concat(n: Net, d: Draws, x: Tensor, others: Sequence[Tensor]) -> list[Tensor]:
    axis = d.between(1, len(x.shape) - 1)
    alike = [
        o
        for o in others
        if len(o.shape) == len(x.shape)
        and o.shape[:axis] == x.shape[:axis]
        and o.shape[axis + 1 :] == x.shape[axis + 1 :]
    ]
    return [concat(n, [x, d.pick(*alike)], axis)]


def _split(n: Net, d: Draws, x: Tensor, _: Sequence[Tensor]) -> list[Tensor]:
    if x.channels < 2:
        raise TooLarge("nothing to split")
    first = d.between(1, x.channels - 1)
    return parted(n, d, x, [first, x.channels - first])


def _spread(n: Net, d: Draws, x: Tensor, _: Sequence[Tensor]) -> list[Tensor]:
    return [spread(n, d, x, d.pick(x.channels, 2), 1, 2, 1)]


def _transpose(n: Net, d: Draws, x: Tensor, _: Sequence[Tensor]) -> list[Tensor]:
    if n.dynamic:
        return [channels_last(n, d, x)]
    return [transpose(n, x, d.shuffled(range(len(x.shape))))]


def _last(n: Net, d: Draws, x: Tensor, _: Sequence[Tensor]) -> list[Tensor]:
    """A vector as long as the last axis is no bias of the channels."""
    return [n.unary("Neg", x) if n.dynamic else affine_last(n, d, x)]


def _matrix(n: Net, d: Draws, x: Tensor, _: Sequence[Tensor]) -> list[Tensor]:
    return [n.unary("Relu", x) if n.dynamic else linear(n, d, x, d.pick(x.shape[-1], 3))]


def _mean(n: Net, d: Draws, x: Tensor, _: Sequence[Tensor]) -> list[Tensor]:
    return [n.unary("Abs", x) if n.dynamic else global_average(n, d, x)]


def _flatten(n: Net, d: Draws, x: Tensor, _: Sequence[Tensor]) -> list[Tensor]:
    return [n.unary("Abs", x) if n.dynamic else flatten(n, d, x)]


def _relu(n: Net, d: Draws, x: Tensor, _: Sequence[Tensor]) -> list[Tensor]:
    return [n.unary("Relu", x)]


def _decorate(n: Net, d: Draws, x: Tensor, _: Sequence[Tensor]) -> list[Tensor]:
    return [decorate(n, d, x)]


def _same(n: Net, d: Draws, x: Tensor, _: Sequence[Tensor]) -> list[Tensor]:
    return [same(n, d, x)]


_OF_MATRICES: tuple[Grow, ...] = (_sum, _last, _matrix, _relu)
_OF_MAPS: tuple[Grow, ...] = (
    _sum,
    _convolution,
    _convolution,
    _decorate,
    _crop,
    _pad,
    _pool,
    _concat,
    _split,
    _last,
    _relu,
    _max_pool,
    _matrix,
    _spread,
    _same,
    _transpose,
    _mean,
    _flatten,
)


# Data that only moves: borders and extensions in other words than Pad.


@network
def moved(d: Draws) -> Drawn:
    """A source that is extended by hand, and convolutions of what comes out."""
    n = start(d)
    n.opset = max(n.opset, 11)
    channels, size = d.pick(2, 1, 3), d.pick(6, 7, 5)
    dynamic = d.chance(one_in=3)
    x = n.input((d.pick(1, 2), channels, size, size), [None, None, "h", "w"] if dynamic else [])
    sizes = [{"h": size + i, "w": size + 2 * i} for i in range(3)] if dynamic else [{}]
    bias = integers(d.rng, (channels,))
    y = x
    if d.chance():
        y = n.conv(x, d.weight(channels, channels, 1, 1), [Window()] * 2, bias=bias)
    for _ in range(d.pick(1, 1, 2)):
        kind = d.pick("bordered", "wrapped", "padded", "gathered", "mirrored", "bordered", "padded")
        if kind == "bordered":
            y = bordered(n, d, y, integers(d.rng, (channels,)) if d.chance(one_in=4) else bias)
        else:
            y = MOVES[kind](n, d, y)
    window = d.pick(INSIDE, INSIDE, AROUND)
    ends = [plain_conv(n, d, y, 2, [window, window], bias=d.chance()) for _ in range(d.pick(1, 2))]
    total = tree(n, d, ends)
    if d.chance(one_in=3):
        total = decorate(n, d, total)
    return finish(n, sizes, total, *([y] if d.chance(one_in=8) else []))


INSIDE, AROUND = Window(3, extent=-2), Window(3, offset=-1)


def _ends(d: Draws) -> tuple[int, int]:
    begin, end = d.pick((1, 1), (2, 2), (1, 0), (0, 2))
    return begin, end


def wrapped(n: Net, d: Draws, x: Tensor) -> Tensor:
    """Circular padding as the legacy exporter writes it; or its ends in the wrong order."""
    for axis in d.pick((2, 3), (3, 2), (2,), (3,)):
        begin, end = _ends(d)
        parts = [x]
        if begin:
            parts.insert(0, _last_of(n, x, axis, begin))
        if end:
            parts.append(_first_of(n, x, axis, end))
        if d.chance(one_in=6):
            parts = parts[::-1]
        x = concat(n, parts, axis) if len(parts) > 1 or d.chance() else x
    return x


def _slice(n: Net, x: Tensor, axis: int, start: int, end: int, length: int) -> Tensor:
    shape = list(x.shape)
    shape[axis] = length
    names = [n.constant([v]) for v in (start, end, axis)]
    return n.node("Slice", [x.name, *names], x, shape=shape)


def _last_of(n: Net, x: Tensor, axis: int, count: int) -> Tensor:
    return _slice(n, x, axis, -count, INT64_MAX, count)


def _first_of(n: Net, x: Tensor, axis: int, count: int) -> Tensor:
    return _slice(n, x, axis, 0, count, count)


def mirrored(n: Net, d: Draws, x: Tensor) -> Tensor:
    """The first and last rows repeated: edge padding by one; or rows that are not at the edge."""
    axis = d.pick(2, 3)
    off = d.pick(0, 0, 1)
    first = _slice(n, x, axis, off, off + 1, 1)
    last = _slice(n, x, axis, -1 - off, -off or INT64_MAX, 1)
    return concat(n, [first, x, last], axis)


def padded(n: Net, d: Draws, x: Tensor) -> Tensor:
    """Pads and crops in a row, each of a mode and an end of its own."""
    for _ in range(d.pick(2, 1, 3)):
        axis, (begin, end) = d.pick(3, 2), d.pick((1, 0), (0, 1), (1, 1), (0, 2), (2, 0))
        if d.chance(one_in=4):
            x = n.crop(x, {axis: (begin, end, 1)})
        else:
            x = n.pad(x, {axis: (begin, end)}, mode=d.pick(*extensions(n)))
    return x


def gathered(n: Net, d: Draws, x: Tensor) -> Tensor:
    """Rows picked by index: reflected, reversed, repeated, or just taken."""
    axis = d.pick(2, 3)
    size = x.shape[axis]
    rows = d.pick(
        [1, *range(size), size - 2],
        list(range(size))[::-1],
        [*range(size), 0],
        list(range(1, size)),
        list(range(0, size, 2)),
        [0, 0, *range(size)],
    )
    if n.dynamic:
        rows = d.pick([0, 1, 2, 3], [3, 2, 1, 0], [1, 2, 3])
    shape = list(x.shape)
    shape[axis] = len(rows)
    return n.node("Gather", [x.name, n.constant(rows)], x, axis=axis, shape=shape)


def bordered(n: Net, d: Draws, x: Tensor, values: Array) -> Tensor:
    """A zero padding whose border is overwritten: by one value per channel, or by others."""
    if n.dynamic:
        return n.pad(x, {2: _ends(d), 3: _ends(d)}, value=d.pick(0.0, 1.0))
    padded = n.pad(x, {2: (1, 1), 3: (1, 1)})
    batch, channels, height, width = padded.shape
    values = values.reshape(1, channels, 1, 1)
    inner = np.zeros((height, width), bool)
    inner[1:-1, 1:-1] = True
    if d.chance(one_in=4):
        inner[0, d.between(0, width - 1)] = True
    full = np.broadcast_to(values, padded.shape).copy()
    if d.chance(one_in=4):
        full[0, 0, 0, d.between(0, width - 1)] += 1
    bound = max(x.bound, float(np.abs(full).max()))
    kind = d.pick("Where", "ScatterND", "Rows")
    if kind == "Where":
        mask = n.constant(np.broadcast_to(inner, (1, 1, height, width)))
        return n.node("Where", [mask, padded.name, n.constant(full)], padded, bound=bound)
    if kind == "ScatterND":
        where = np.argwhere(np.broadcast_to(~inner, padded.shape))
        names = [padded.name, n.constant(where), n.constant(full[tuple(where.T)])]
        return n.node("ScatterND", names, padded, bound=bound)
    # Rows and columns one after the other, through a transposition, as dynamo writes it.
    y = padded
    for perm, length in (((2, 0, 1, 3), height), ((3, 0, 1, 2), width)):
        y = transpose(n, y, perm)
        for row in (0, length - 1):
            update = np.broadcast_to(
                values.reshape(1, 1, channels, 1), (1, batch, channels, y.shape[3])
            )
            names = [y.name, n.constant([[row]]), n.constant(update)]
            y = n.node("ScatterND", names, y, bound=bound)
        y = transpose(n, y, [perm.index(i) for i in range(4)])
    return y


MOVES = {"wrapped": wrapped, "gathered": gathered, "mirrored": mirrored, "padded": padded}
