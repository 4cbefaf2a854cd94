"""Windows with constant weights: Conv, ConvTranspose, AveragePool, and means over whole maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.algebra import Axis, Bias, Channels, Lazy, Obstacle
from onnxac.algebra.kernel import Array
from onnxac.inference.dims import static
from onnxac.inference.windows import transposed_axes, window_axes
from onnxac.lowering.context import Context, Lowered, Rule, attribute, mixed, moved, single


def _conv(node: gs.Node, output: int, context: Context) -> Lowered:
    weight = _weight(node, context)
    if isinstance(weight, Obstacle):
        return weight
    group = int(attribute(node, "group", 1))
    out, width, *taps = weight
    channels = width * group
    axes = window_axes(node.attrs, taps, _lengths(node, context, len(taps)))
    wrong = _mismatch(node, context, axes, group, channels, out, out)
    if wrong or isinstance(axes, Obstacle):
        return wrong
    kernel = context.array(node.inputs[1].name)
    return _affine(node, context, axes, (out, channels), group, kernel)


def _conv_transpose(node: gs.Node, output: int, context: Context) -> Lowered:
    weight = _weight(node, context)
    if isinstance(weight, Obstacle):
        return weight
    group = int(attribute(node, "group", 1))
    channels, width, *taps = weight
    out = width * group
    axes = transposed_axes(node.attrs, taps, _lengths(node, context, len(taps)))
    wrong = _mismatch(node, context, axes, group, channels, channels, out)
    if wrong or isinstance(axes, Obstacle):
        return wrong
    stored = context.array(node.inputs[1].name)

    def kernel(held: Array) -> Array:
        # Stored as [in, out/group, *taps], and the taps run backwards.
        blocks = held.reshape(group, channels // group, width, *taps).swapaxes(1, 2)
        behind = tuple(range(2, 2 + len(taps)))
        return np.flip(blocks.reshape(out, channels // group, *taps), behind)

    return _affine(node, context, axes, (out, channels), group, Lazy(kernel, stored))


def _average_pool(node: gs.Node, output: int, context: Context) -> Lowered:
    shape = context.shape(node.inputs[0])
    taps = list(attribute(node, "kernel_shape", []))
    if shape is None or not taps or not isinstance(shape[1], int) or len(shape) != len(taps) + 2:
        return Obstacle("shape", f"the channels of {node.inputs[0].name} are not known")
    axes = window_axes(node.attrs, taps, static(shape[2:]))
    if isinstance(axes, Obstacle):
        return axes
    lengths = static(shape[2:])
    padded = any(a.reads_beyond(n) for a, n in zip(axes, lengths, strict=True))
    if padded and not attribute(node, "count_include_pad", 0):
        return Obstacle(
            "average", "count_include_pad=0: at the border it divides by fewer elements"
        )
    share, whole = 1.0 / math.prod(taps), (Axis(), Axis(), *axes)
    step = context.step(node)
    term = replace(
        moved(node.inputs[0].name, whole, step),
        unit=share == 1,
        kernel=Lazy(lambda: np.full((1, 1, *taps), share)),
    )
    return single(term, step)


def _global_average(node: gs.Node, output: int, context: Context) -> Lowered:
    shape = context.shape(node.inputs[0])
    if shape is None or len(shape) < 3:
        return None
    return _reduced(node, range(2, len(shape)), len(shape), context, kept=True)


def _reduce(node: gs.Node, output: int, context: Context) -> Lowered:
    """ReduceMean, and ReduceSum over static axes: a mean times their length."""
    shape = context.shape(node.inputs[0])
    given = context.operand(node, 1)
    axes = node.attrs.get("axes") if given is None else context.value(given)
    if shape is None or (axes is None and given is not None):
        return None
    if axes is None:
        if attribute(node, "noop_with_empty_axes", 0):
            return None
        axes = range(len(shape))
    chosen = sorted({int(a) % len(shape) for a in np.asarray(axes).reshape(-1)})
    if not chosen or not shape:
        return None
    factor = 1.0
    if node.op == "ReduceSum":
        lengths = [shape[a] for a in chosen]
        if not all(isinstance(n, int) for n in lengths):
            return Obstacle("shape", "the number of elements it sums is not known")
        factor = float(math.prod(int(str(n)) for n in lengths))
    # Runtimes take 1 for yes, and whatever else for no.
    kept = attribute(node, "keepdims", 1) == 1
    return _reduced(node, chosen, len(shape), context, kept=kept, factor=factor)


def _reduced(
    node: gs.Node,
    chosen: Sequence[int],
    rank: int,
    context: Context,
    *,
    kept: bool,
    factor: float = 1.0,
) -> Lowered:
    """The mean along some axes, times a number; without `kept` the result lacks them."""
    step = context.step(node)
    axes = [Axis(mean=i in chosen) for i in range(rank)]
    view = list(range(rank))
    if not kept:
        view.sort(key=lambda i: i in chosen)
        axes = [axes[i] for i in view]
    hidden = 0 if kept else len(chosen)
    term = moved(node.inputs[0].name, axes, step, tuple(view), hidden)
    if factor != 1:
        term = replace(term, unit=False, kernel=Lazy(lambda: np.full((1,) * rank, factor)))
    return single(term, step)


def _weight(node: gs.Node, context: Context) -> tuple[int, ...] | Obstacle:
    if len(node.inputs) < 2:
        return Obstacle("attributes", "it has no weight")
    tensor = node.inputs[1]
    if not context.is_constant(tensor):
        return context.variable(tensor, "weight")
    shape = context.static_shape(tensor)
    if shape is None or len(shape) < 3 or 0 in shape:
        return Obstacle("attributes", f"its weight {tensor.name} is of no valid shape")
    return shape


def _lengths(node: gs.Node, context: Context, rank: int) -> list[int | None]:
    shape = context.shape(node.inputs[0])
    return [None] * rank if shape is None else static(shape[2:])


def _mismatch(
    node: gs.Node,
    context: Context,
    axes: tuple[Axis, ...] | Obstacle,
    group: int,
    channels: int,
    divisible: int,
    out: int,
) -> Obstacle | None:
    """What the checker lets pass, and a runtime may crash on."""
    if isinstance(axes, Obstacle):
        return axes
    if group < 1 or channels % group or divisible % group:
        return Obstacle("attributes", f"group {group} does not divide its channels")
    shape = context.shape(node.inputs[0])
    if shape is not None and isinstance(shape[1], int) and shape[1] != channels:
        return Obstacle(
            "attributes", f"its weight takes {channels} channels, its input has {shape[1]}"
        )
    bias = context.operand(node, 2)
    if bias is not None:
        if not context.is_constant(bias):
            return context.variable(bias, "bias")
        if context.static_shape(bias) != (out,):
            return Obstacle("attributes", f"its bias {bias.name} has not {out} entries")
    return None


def _affine(
    node: gs.Node,
    context: Context,
    axes: tuple[Axis, ...],
    channels: tuple[int, int],
    group: int,
    kernel: Lazy[Array],
) -> Lowered:
    step = context.step(node)
    mixing = Channels(1, *channels, group)
    # One tap along the batch.
    framed = Lazy(lambda k: k[:, :, None], kernel)
    term = mixed(node.inputs[0].name, framed, (Axis(), Axis(), *axes), mixing, step)
    bias = context.operand(node, 2)
    if bias is None:
        return single(term, step)
    return single(term, step, Bias(context.array(bias.name), 1, channels[0]))


RULES: dict[str, Rule] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "ReduceMean": _reduce,
    "ReduceSum": _reduce,
}
