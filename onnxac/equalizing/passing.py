"""How channels, and with them factors, pass through operators that have no weights.

f(x/s) = f(x)/s for a positive s per channel: that is so for what is piecewise linear through 0,
for what takes the largest or the mean of a channel, and for what moves elements about. Each rule
gives the channels of the outputs for those of the first input, or a sentence why there is no
telling; the operators that several tensors meet in are in `walk`. Channels are counted from 0
here, and -1 is one that was put in, of zeros.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.equalizing.channels import Channels, Values
from onnxac.graph.operators import traits
from onnxac.inference.dims import Shape
from onnxac.inference.facts import Facts

Passed = list[Channels] | str
# Gives the channels of the outputs for those of the input and the input's shape.
Rule = Callable[["Scene", gs.Node, Channels, Shape], Passed]


class Scene:
    """What rules may ask: shapes and constants of tensors."""

    def __init__(self, facts: Facts, added: Mapping[str, Shape]) -> None:
        self._facts, self._added = facts, added

    def shape(self, name: str) -> Shape | None:
        """The tensor's shape; None where even its rank is unknown."""
        return self._added.get(name) or self._facts.shape(name)

    def constant(self, tensor: gs.Tensor) -> Values | None:
        """The value of a constant; None where the tensor is none."""
        if isinstance(tensor, gs.Constant):
            return np.asarray(tensor.values)
        return self._facts.value(tensor.name)

    def operand(self, node: gs.Node, index: int, name: str) -> list[int] | None:
        """Integers that are an input in newer operator sets, and an attribute in older ones.

        An empty list where they are left out, None where they are computed.
        """
        if name in node.attrs:
            return [int(v) for v in np.atleast_1d(node.attrs[name])]
        if len(node.inputs) <= index or not node.inputs[index].name:
            return []
        value = self.constant(node.inputs[index])
        return None if value is None else [int(v) for v in np.atleast_1d(value)]


def _same(_: Scene, node: gs.Node, own: Channels, _shape: Shape) -> Passed:
    return [own] * len(node.outputs)


def _single(scene: Scene, node: gs.Node, own: Channels, shape: Shape) -> Passed:
    if any(t.name for t in node.outputs[1:]):
        return "its second output is none that a factor scales"
    return [own]


def _clip(scene: Scene, node: gs.Node, own: Channels, shape: Shape) -> Passed:
    bounds: list[float | None] = []
    for place, name in enumerate(("min", "max"), 1):
        given = len(node.inputs) > place and node.inputs[place].name
        value = scene.constant(node.inputs[place]) if given else node.attrs.get(name)
        if given and value is None:
            return "its bounds are computed"
        bounds.append(None if value is None else float(np.asarray(value).reshape(-1)[0]))
    low, high = bounds
    if high is not None and not high > np.finfo(np.float32).max / 2:
        return f"its upper bound {high:g} is the same for every channel, whatever its factor"
    if low is not None and low != 0 and not low < np.finfo(np.float32).min / 2:
        return f"its lower bound {low:g} is the same for every channel, whatever its factor"
    return _same(scene, node, own, shape)


def _slope(scene: Scene, node: gs.Node, own: Channels, shape: Shape) -> Passed:
    if scene.constant(node.inputs[1]) is None:
        return "its slope is computed"
    return _same(scene, node, own, shape)


def _pool(scene: Scene, node: gs.Node, own: Channels, shape: Shape) -> Passed:
    if own.axis != 1:
        return f"it takes axis 1 for the channels, which are on axis {own.axis}"
    return _single(scene, node, own, shape)


def _transpose(_: Scene, node: gs.Node, own: Channels, shape: Shape) -> Passed:
    perm = list(node.attrs.get("perm", reversed(range(len(shape)))))
    return [Channels(perm.index(own.axis), own.slots)]


def _reshaped(scene: Scene, node: gs.Node, own: Channels, shape: Shape) -> Passed:
    """Reshape and Flatten, read off where each channel's elements go."""
    after = scene.shape(node.outputs[0].name)
    if after is None:
        return "the shape that it makes is not known"
    lead = own.axis + 1
    if shape[:lead] == after[:lead]:
        return [own]
    first, second = list(shape), list(after)
    if not (isinstance(first[0], int) and isinstance(second[0], int)) and own.axis > 0:
        # The batch: all else being numbers, it is the same on both sides.
        first[0] = second[0] = 1
    before = [d for d in first if isinstance(d, int)]
    behind = [d for d in second if isinstance(d, int)]
    if len(before) < len(first) or len(behind) < len(second):
        return "the shape that it makes is not known"
    if math.prod(before) != math.prod(behind) or not math.prod(before):
        return "the shape that it makes is not known"
    places = [1] * len(before)
    places[own.axis] = -1
    labels = np.broadcast_to(own.slots.reshape(places), before).reshape(behind)
    for axis in range(labels.ndim):
        line = np.moveaxis(labels, axis, -1).reshape(-1, labels.shape[axis])
        if np.all(line == line[0]):
            return [Channels(axis, line[0].copy())]
    return "it spreads channels over several axes"


def _unsqueezed(scene: Scene, node: gs.Node, own: Channels, shape: Shape) -> Passed:
    axes = scene.operand(node, 1, "axes")
    if axes is None:
        return "its axes are computed"
    rank = len(shape) + len(axes)
    new = {a % rank for a in axes}
    return [Channels([i for i in range(rank) if i not in new][own.axis], own.slots)]


def _squeezed(scene: Scene, node: gs.Node, own: Channels, shape: Shape) -> Passed:
    axes = scene.operand(node, 1, "axes")
    if axes is None or (not axes and not all(isinstance(d, int) for d in shape)):
        return "its axes are computed"
    gone = {a % len(shape) for a in axes} or {i for i, d in enumerate(shape) if d == 1}
    if own.axis in gone:
        return "it takes the axis of the channels away"
    return [Channels(own.axis - sum(a < own.axis for a in gone), own.slots)]


def _split(scene: Scene, node: gs.Node, own: Channels, shape: Shape) -> Passed:
    axis = int(node.attrs.get("axis", 0)) % len(shape)
    if axis != own.axis:
        return _same(scene, node, own, shape)
    found, start = [], 0
    for tensor in node.outputs:
        made = scene.shape(tensor.name)
        size = made[axis] if made else None
        if not isinstance(size, int):
            return "the sizes that it makes are not known"
        found.append(Channels(axis, own.slots[start : start + size]))
        start += size
    return found if start == own.slots.size else "the sizes that it makes are not known"


def _slice(scene: Scene, node: gs.Node, own: Channels, shape: Shape) -> Passed:
    names = ("starts", "ends", "axes", "steps")
    starts, ends, axes, steps = (scene.operand(node, i, n) for i, n in enumerate(names, 1))
    if starts is None or ends is None or axes is None or steps is None:
        return "its bounds are computed"
    where = [a % len(shape) for a in axes] or list(range(len(starts)))
    slots = own.slots
    for index, axis in enumerate(where):
        if axis == own.axis:
            step = steps[index] if steps else 1
            # Below the first element is the end of a walk backwards, not the last element.
            end = None if step < 0 and ends[index] < -slots.size else ends[index]
            slots = slots[starts[index] : end : step]
    return [Channels(own.axis, slots)]


def _gather(scene: Scene, node: gs.Node, own: Channels, shape: Shape) -> Passed:
    axis = int(node.attrs.get("axis", 0)) % len(shape)
    indices = scene.constant(node.inputs[1])
    if indices is None:
        return "its indices are computed"
    if axis == own.axis:
        if indices.ndim != 1:
            return "it takes the axis of the channels apart"
        if np.any((indices < -own.slots.size) | (indices >= own.slots.size)):
            return "its indices are out of range"
        return [Channels(axis, own.slots[indices.astype(np.int64)])]
    moved = own.axis + (indices.ndim - 1 if axis < own.axis else 0)
    return [Channels(moved, own.slots)]


def _pad(scene: Scene, node: gs.Node, own: Channels, shape: Shape) -> Passed:
    # Operator sets before 11 have the pads as an attribute, before 2 under another name.
    pads = scene.operand(node, 1, "pads")
    axes = scene.operand(node, 3, "axes") or list(range(len(shape)))
    if not pads or len(pads) != 2 * len(axes):
        return "its pads are computed"
    ends = {a % len(shape): (pads[i], pads[i + len(axes)]) for i, a in enumerate(axes)}
    begin, end = ends.get(own.axis, (0, 0))
    if str(node.attrs.get("mode", "constant")) != "constant":
        return "it repeats channels" if begin or end else [own]
    fill = node.attrs.get("value", 0.0)
    if len(node.inputs) > 2 and node.inputs[2].name:
        found = scene.constant(node.inputs[2])
        if found is None:
            return "what it pads with is computed"
        fill = float(found.reshape(-1)[0])
    if fill:
        return f"it pads with {fill:g}, whatever a channel's factor"
    kept = own.slots[max(-begin, 0) : own.slots.size - max(-end, 0)]
    before, behind = (np.full(max(n, 0), -1) for n in (begin, end))
    return [Channels(own.axis, np.concatenate((before, kept, behind)))]


def _reduced(scene: Scene, node: gs.Node, own: Channels, shape: Shape) -> Passed:
    axes = scene.operand(node, 1, "axes")
    if axes is None:
        return "its axes are computed"
    if not axes and node.attrs.get("noop_with_empty_axes", 0) == 1:
        return [own]
    gone = {a % len(shape) for a in axes} or set(range(len(shape)))
    if own.axis in gone:
        return "it mixes channels"
    kept = node.attrs.get("keepdims", 1) == 1
    return [Channels(own.axis - (0 if kept else sum(a < own.axis for a in gone)), own.slots)]


def _resized(scene: Scene, node: gs.Node, own: Channels, shape: Shape) -> Passed:
    after = scene.shape(node.outputs[0].name)
    if after is None or after[own.axis] != own.slots.size:
        return "the shape that it makes is not known"
    if node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return "it may fill in a constant"
    return _same(scene, node, own, shape)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Relu", "LeakyRelu", "Identity", "Neg", "Abs"), _same),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), _pool),
    **dict.fromkeys(("ReduceMean", "ReduceSum"), _reduced),
    **dict.fromkeys(("Reshape", "Flatten"), _reshaped),
    **dict.fromkeys(("Resize", "Upsample"), _resized),
    "Dropout": _single,
    "Clip": _clip,
    "PRelu": _slope,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueezed,
    "Squeeze": _squeezed,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
}


def passed(scene: Scene, node: gs.Node, axis: int, count: int) -> Sequence[Channels] | str:
    """The channels of the outputs by their numbers in the input, or why a factor can't pass.

    axis, count  of the channels of the input
    """
    rule, shape = RULES.get(node.op), scene.shape(node.inputs[0].name)
    if rule is None and traits(node.op).elementwise:
        return f"{node.op} of x/s is not {node.op} of x, divided by s"
    if rule is None:
        return f"no factor per channel passes through {node.op}"
    if shape is None:
        return "the shape of what it reads is not known"
    return rule(scene, node, Channels(axis, np.arange(count)), shape)
