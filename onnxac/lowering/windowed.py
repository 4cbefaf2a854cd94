"""Windows with constant weights: Conv, ConvTranspose, AveragePool, and means over whole maps."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.algebra import AffineConv, AffineSum, Axis, Deferred, Obstacle
from onnxac.algebra.affine import Mark
from onnxac.algebra.frame import Perm, inverse, plain
from onnxac.algebra.kernel import Array
from onnxac.inference.dims import static
from onnxac.inference.windows import transposed_axes, window_axes
from onnxac.lowering.context import Context, Lowered, Rule, attribute, shifted


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

    def kernel() -> Array:
        # Stored as [in, out/group, *taps], and the taps run backwards.
        blocks = stored().reshape(group, channels // group, width, *taps).swapaxes(1, 2)
        behind = tuple(range(2, 2 + len(taps)))
        return np.flip(blocks.reshape(out, channels // group, *taps), behind)

    return _affine(node, context, axes, (out, channels), group, Deferred(kernel, stored))


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
    channels, share = shape[1], 1.0 / math.prod(taps)
    kernel = Deferred(lambda: np.full((channels, 1, *taps), share))
    return _affine(node, context, axes, (channels, channels), channels, kernel)


def _global_average(node: gs.Node, output: int, context: Context) -> Lowered:
    shape = context.shape(node.inputs[0])
    if shape is None or len(shape) < 3:
        return None
    return _mean(node, context, 1, None, kept=True)


def _reduce_mean(node: gs.Node, output: int, context: Context) -> Lowered:
    """A mean over all axes but the first and one more: the channels are on that one."""
    shape = context.shape(node.inputs[0])
    axes = (
        context.facts.value(node.inputs[1].name)
        if len(node.inputs) > 1 and context.is_constant(node.inputs[1])
        else node.attrs.get("axes")
    )
    if shape is None or axes is None or len(shape) < 3:
        return None
    rank = len(shape)
    left = sorted(set(range(rank)) - {int(a) % rank for a in np.asarray(axes).reshape(-1)})
    if len(left) != 2 or left[0] != 0:
        return None
    channel = left[1]
    order = (0, channel, *(i for i in range(1, rank) if i != channel))
    return _mean(node, context, channel, plain(order), kept=bool(attribute(node, "keepdims", 1)))


def _mean(
    node: gs.Node, context: Context, channel: int, view: Perm | None, *, kept: bool
) -> Lowered:
    shape = context.shape(node.inputs[0])
    if shape is None or not isinstance(shape[channel], int):
        return None
    step = context.step(node)
    conv = shifted((Axis(),) * (len(shape) - 2), int(str(shape[channel])), step)
    conv = replace(conv, view=view, mean=True, reshaped=not kept)
    perm = inverse(view) if kept else None
    return AffineSum(((node.inputs[0].name, conv),), None, frozenset({step}), perm)


def _weight(node: gs.Node, context: Context) -> tuple[int, ...] | Obstacle:
    if len(node.inputs) < 2:
        return Obstacle("attributes", "it has no weight")
    tensor = node.inputs[1]
    if not context.is_constant(tensor):
        return Obstacle("constant", f"its weight {context.why_not(tensor)}")
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
            return Obstacle("constant", f"its bias {context.why_not(bias)}")
        if context.static_shape(bias) != (out,):
            return Obstacle("attributes", f"its bias {bias.name} has not {out} entries")
    return None


def _affine(
    node: gs.Node,
    context: Context,
    axes: tuple[Axis, ...],
    channels: tuple[int, int],
    group: int,
    kernel: Deferred[Array],
) -> AffineSum:
    step = context.step(node)
    conv = AffineConv(axes, channels, group, kernel, marks=(Mark((step,), axes, group),))
    bias = context.operand(node, 2) if node.op != "AveragePool" else None
    return AffineSum(
        ((node.inputs[0].name, conv),),
        context.array(bias.name) if bias is not None else None,
        frozenset({step}),
    )


RULES: dict[str, Rule] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "ReduceMean": _reduce_mean,
}
