"""A convolution over a source whose elements are repeated, written at the source's own size.

    y[p] = Σ_k w[k] · x[⌊(p + d·k + o) / f⌋]

Two operators compute that without the longer source. A ConvTranspose of stride f, whose kernel
is w convolved with f ones: zeros stand where elements were repeated. Or a Conv for each of the
f phases of p, all in one with f times the channels per axis, whose outputs DepthToSpace puts in
order. Each phase has few taps; which of them the first output belongs to is free, and fewest
taps are taken: what that computes too much at both ends, a Slice takes off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from onnxac.algebra import Axis, Lazy, Term
from onnxac.algebra.kernel import Array
from onnxac.recipes.cost import block_cost, reluctant, total
from onnxac.recipes.steps import FAR, Step, made, size, sliced
from onnxac.recipes.windows import Window

# Steps, which of them takes a bias in, and the term as these write it.
Way = tuple[list[Step], int, Term]
# Several nodes have to be so much faster than one.
WORTH = 0.85


@dataclass(frozen=True)
class Phased:
    """One axis as a window at the source's own size; the first output belongs to phase `shift`."""

    axis: Axis
    shift: int


def upsampled(window: Window, spatial: list[int]) -> Iterator[Way]:
    """Ways to write a window over a source that is made longer by repetition, the best first.

    spatial  the axes of the term's frame that are the window's
    """
    if not _is_repeating(window):
        return
    transposed, phases = _transposed(window, spatial), _by_phases(window, spatial)
    ways = [way for way in (transposed, phases) if way is not None]
    if len(ways) == 2:
        one, several = (total(s.cost for s in way[0]).time for way in ways)
        if (several < WORTH * one) != window.site.swapped:
            ways.reverse()
    yield from ways


def _is_repeating(window: Window) -> bool:
    """Whether elements are repeated, and what lies beyond them is zero."""
    return all(
        a.stride == a.up == 1
        and not (a.sampling and a.sampling.rule)
        and not (a.reads_beyond(n) and (a.edge != "zero" or window.term.fill is not None))
        for a, n in zip(window.axes, window.lengths, strict=True)
    )


def _factor(axis: Axis) -> int:
    return 1 if axis.sampling is None else axis.sampling.factor


# As a transposed convolution.


def _transposed(window: Window, spatial: list[int]) -> Way | None:
    factors = [_factor(a) for a in window.axes]
    told = _told(window.term, spatial, lambda a, n: spread(a, factors[n]))
    kernel = Lazy(lambda k: _with_ones(k, window.axes, factors), window.kernel)
    axes = tuple(spread(a, f) for a, f in zip(window.axes, factors, strict=True))
    steps = replace(window, term=told, axes=axes, kernel=kernel).steps()
    return None if steps is None else (_judged_by_time(steps, window), len(steps) - 1, told)


def spread(axis: Axis, factor: int) -> Axis:
    """The same taps on a source with zeros where elements are repeated `factor` times."""
    if factor == 1:
        return axis
    return Axis(
        taps=axis.span + factor,
        up=factor,
        offset=axis.offset - (factor - 1),
        extent=axis.extent + factor - 1,
    )


def _with_ones(kernel: Array, axes: tuple[Axis, ...], factors: list[int]) -> Array:
    """The kernel convolved with as many ones as elements are repeated, along each axis."""
    for place, (axis, factor) in enumerate(zip(axes, factors, strict=True), start=2):
        if factor == 1:
            continue
        shape = list(kernel.shape)
        shape[place] = axis.span + factor
        wide = np.zeros(shape)
        for k, tap in enumerate(np.moveaxis(kernel, place, 0)):
            for j in range(factor):
                np.moveaxis(wide, place, 0)[axis.dilation * k + j] += tap
        kernel = wide
    return kernel


# As a convolution per phase.


def _by_phases(window: Window, spatial: list[int]) -> Way | None:
    """Conv, DepthToSpace and, where that makes too much, Slice."""
    channels, factor = window.term.channels, _factor(window.axes[0])
    assert channels is not None
    same = len(window.axes) == 2 and all(_factor(a) == factor > 1 for a in window.axes)
    if not same or window.site.opset < 11 or not window.site.runs("Conv"):
        return None
    found = [phased(a, factor) for a in window.axes]
    axes = tuple(p.axis for p in found)
    if any(a.pad_begin < 0 or a.pad_end < 0 for a in axes):
        return None
    wide = replace(channels, out=channels.out * factor * factor)
    kernel = Lazy(lambda k: _phases_of(k, window.axes, found, factor), window.kernel)
    outs = (
        *window.outs[:1],
        wide.out,
        *(made(d, a) for d, a in zip(window.ins[2:], axes, strict=True)),
    )
    conv = replace(
        window,
        term=replace(window.term, channels=wide),
        axes=axes,
        kernel=kernel,
        outs=outs,
    ).steps()
    if conv is None or len(conv) > 1:
        return None
    deep = (outs[0], channels.out, *(made(d, Axis(up=factor, extent=factor - 1)) for d in outs[2:]))
    steps = [replace(conv[0], copies=factor * factor)]
    attrs = {"blocksize": factor, "mode": "CRD"}
    steps.append(Step("DepthToSpace", deep, block_cost(size(deep)), attrs))
    cuts = {}
    for place, (old, new) in enumerate(zip(window.axes, found, strict=True), start=2):
        rest = factor * new.axis.extent - new.shift - old.extent
        if new.shift or rest:
            cuts[place] = (new.shift, -rest if rest else FAR, 1)
    if cuts:
        cut = sliced(cuts, window.outs, window.site.opset)
        steps.append(replace(cut, cost=block_cost(size(window.outs))))
    told = _told(window.term, spatial, lambda a, n: phased(a, factor, found[n].shift).axis)
    told = replace(told, channels=wide)
    return _judged_by_time(steps, window), 0, told


def phased(axis: Axis, factor: int, shift: int | None = None) -> Phased:
    """The taps that all phases have together, at the source's own size.

    shift  the phase of the first output; by default that with which the taps are fewest
    """
    if shift is None:
        every = (phased(axis, factor, s) for s in range(factor))
        return min(every, key=lambda p: (p.axis.taps, p.shift))
    first = (axis.offset - shift) // factor
    last = (factor - 1 + axis.span + axis.offset - shift) // factor
    extent = -(-(axis.extent + shift) // factor)
    return Phased(Axis(taps=last - first + 1, offset=first, extent=extent), shift)


def _phases_of(kernel: Array, axes: tuple[Axis, ...], found: list[Phased], factor: int) -> Array:
    """[O, I, *taps] → [O·f², I, *taps of all phases]; the column of the phase runs fastest."""
    out, width = kernel.shape[:2]
    wide = np.zeros((out, factor, factor, width, *(p.axis.taps for p in found)))
    for r in np.ndindex(factor, factor):
        for k in np.ndindex(*kernel.shape[2:]):
            at = [
                (phase - p.shift + a.dilation * tap + a.offset) // factor - p.axis.offset
                for phase, tap, a, p in zip(r, k, axes, found, strict=True)
            ]
            wide[(slice(None), *r, slice(None), *at)] += kernel[(..., *k)]
    return wide.reshape(out * factor * factor, width, *wide.shape[4:])


def _told(term: Term, spatial: list[int], change: Callable[[Axis, int], Axis]) -> Term:
    """The term, its branches too, with other geometry along the spatial axes.

    change  what becomes of the geometry of the spatial axis of a number
    """

    def changed(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return tuple(change(a, spatial.index(i)) if i in spatial else a for i, a in enumerate(axes))

    assert term.axes is not None
    marks = tuple(replace(m, axes=changed(m.axes)) for m in term.marks)
    return replace(term, axes=changed(term.axes), marks=marks)


def _judged_by_time(steps: list[Step], window: Window) -> list[Step]:
    """The steps as they are compared: where they are clearly faster, they may be larger."""
    channels = window.term.channels
    assert channels is not None
    own = channels.out * (channels.width // channels.group) * math.prod(a.taps for a in window.axes)
    found = []
    for number, step in enumerate(steps):
        cost = reluctant(step.cost)
        more = max(cost.weights - own, 0.0) if step.weighted else 0.0
        found.append(
            replace(step, cost=replace(cost, extra_weights=more, extra_nodes=float(number > 0)))
        )
    return found
