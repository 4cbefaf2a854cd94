"""What a composition computes with: its kernel, the branches in it, and what becomes of a bias."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from onnxac.algebra import kernel as kernels
from onnxac.algebra.axis import Axis
from onnxac.algebra.frames import Frame
from onnxac.algebra.kernel import Array
from onnxac.algebra.layout import Dim
from onnxac.algebra.lazy import Lazy
from onnxac.algebra.term import Bias, Channels, Mark, Obstacle, Term

# A branch's marks multiply in compositions of sums; past this many they are told as one.
_MAX_MARKS = 64


def matched(outer: Term, inner: Term, frame: Frame) -> tuple[Term, Term]:
    """Both with channels, if one of them has some."""
    if outer.channels is not None and inner.channels is None:
        entry = outer.view[outer.channels.axis]
        if isinstance(entry, int):
            found = inner.mixing(entry, outer.channels.width)
            assert isinstance(found, Term)
            return outer, found
        width = outer.channels.width
        return outer, replace(
            inner,
            channels=Channels(-1, width, width, width),
            kernel=Lazy(lambda k: np.tile(k, (width, 1, *[1] * k.ndim)), inner.kernel),
        )
    if inner.channels is not None and outer.channels is None:
        found = outer.mixing(outer.view.index(inner.channels.axis), inner.channels.out)
        assert isinstance(found, Term)
        return found, inner
    return outer, inner


def kernel_of(outer: Term, inner: Term, frame: Frame, channels: Channels | None) -> Lazy[Array]:
    """The kernel of the composition, in the common frame."""
    skip = None if channels is None else channels.axis
    places = [n for n in range(len(frame.outer)) if n != skip]
    lead = 0 if channels is None else 2
    # The inner's taps in the order of the frame; axes that it does not have get one tap.
    own = [
        i
        for i in range(len(inner.axes or ()))
        if inner.channels is None or i != inner.channels.axis
    ]
    order = [own.index(a) for n in places if (a := frame.at[n]) is not None and a in own]
    missing = [i for i in range(len(own)) if i not in order]
    inner_taps = tuple(frame.inner[n].taps for n in places)
    outer_taps = tuple(frame.outer[n].taps for n in places)

    def turned(kernel: Array) -> Array:
        moved = kernel.transpose(*range(lead), *(lead + i for i in (*order, *missing)))
        return moved.reshape(*kernel.shape[:lead], *inner_taps)

    def opened(kernel: Array) -> Array:
        return kernel.reshape(*kernel.shape[:lead], *outer_taps)

    if outer.unit and outer.is_pointwise:
        return Lazy(turned, inner.kernel)
    if inner.unit and all(a.is_identity or a.mean or a.is_sampling for a in frame.inner):
        return Lazy(opened, outer.kernel)
    geometry = [(frame.outer[n], frame.inner[n]) for n in places]
    outer_axes, inner_axes = [o for o, _ in geometry], [i for _, i in geometry]
    og = 1 if outer.channels is None else outer.channels.group
    ig = 1 if inner.channels is None else inner.channels.group

    def product(first: Array, second: Array) -> Array:
        left, right = opened(first), turned(second)
        if channels is None:
            left, right = left[None, None], right[None, None]
        made = kernels.compose(left, og, outer_axes, right, ig, inner_axes)
        return made[0, 0] if channels is None else made

    return Lazy(product, outer.kernel, inner.kernel)


def marks_of(
    outer: Term,
    inner: Term,
    axes: tuple[Axis, ...],
    group: int = 1,
    frame: Frame | None = None,
) -> tuple[Mark, ...]:
    """Every branch of the one behind every branch of the other."""
    if len(outer.marks) * len(inner.marks) > _MAX_MARKS:
        steps = {s: None for m in (*inner.marks, *outer.marks) for s in m.steps}
        return (Mark(tuple(steps), axes, group),)
    return tuple(
        Mark(
            tuple(dict.fromkeys((*i.steps, *o.steps))),
            # A number has no axes: behind one, each branch keeps its own.
            (o.axes or i.axes or axes) if frame is None else _marked(o, i, frame),
            math.gcd(o.group, i.group) if o.group > 1 and i.group > 1 else max(o.group, i.group),
        )
        for i in inner.marks
        for o in outer.marks
    )


def _marked(outer: Mark, inner: Mark, frame: Frame) -> tuple[Axis, ...]:
    def at(axes: tuple[Axis, ...], place: int | None) -> Axis:
        return axes[place] if place is not None and place < len(axes) else Axis()

    return tuple(at(outer.axes, n).after(at(inner.axes, place)) for n, place in enumerate(frame.at))


def respond(outer: Term, bias: Bias, shape: Sequence[Dim] | None) -> Bias | Obstacle:
    """What the outer makes of a tensor that is the constant everywhere, padding included."""
    if outer.axes is None:
        if outer.unit:
            return bias
        return replace(bias, values=Lazy(lambda n, b: n * b, outer.kernel, bias.values))
    at = _bias_axis(outer, bias, shape)
    if isinstance(at, Obstacle):
        return at
    if outer.unit and outer.is_pointwise:
        return replace(bias, axis=at) if at is not None else Bias(Lazy(_scalar, bias.values))
    if outer.channels is None and at is not None and not outer.axes[at].is_identity:
        found = outer.mixing(at, bias.size)
        if isinstance(found, Obstacle):
            return found
        outer = found
    if outer.channels is None:
        # One kernel for all: every channel of the bias is multiplied by the sum of the taps.
        values = Lazy(
            lambda k, b: k.sum() * (b if at is not None else _scalar(b)), outer.kernel, bias.values
        )
        return Bias(values, at, bias.size if at is not None else 1)
    group, width = outer.channels.group, outer.channels.width
    if at is not None and at != outer.channels.axis:
        if (outer.axes or ())[at] != Axis(taps=bias.size, extent=1 - bias.size):
            return Obstacle("layout", f"the bias of {outer.source} lies on another axis")
        # A product with all of that axis: each of its taps meets one number.
        values = Lazy(
            partial(_response, 2 + at - (at > outer.channels.axis)), outer.kernel, bias.values
        )
        return Bias(values, outer.channels.axis, outer.channels.out)
    values = Lazy(
        lambda k, b: kernels.apply_to_constant(k, group, np.broadcast_to(b.reshape(-1), (width,))),
        outer.kernel,
        bias.values,
    )
    return Bias(values, outer.channels.axis, outer.channels.out)


def _response(axis: int, kernel: Array, bias: Array) -> Array:
    """What each output channel makes of a constant along an axis of taps."""
    along = bias.reshape([-1 if i == axis else 1 for i in range(kernel.ndim)])
    summed: Array = (kernel * along).sum(tuple(range(1, kernel.ndim)))
    return summed


def _scalar(values: Array) -> Array:
    return values.reshape(())


def _bias_axis(outer: Term, bias: Bias, shape: Sequence[Dim] | None) -> int | Obstacle | None:
    """Axis of the outer's frame that the bias lies along; None where it is one number."""
    if bias.axis is None or bias.size == 1:
        return None
    if bias.axis in outer.view:
        return outer.view.index(bias.axis)
    return Obstacle("layout", f"the bias of {outer.source} is spread over merged axes")
