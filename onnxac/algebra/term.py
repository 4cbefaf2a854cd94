"""Affine sums: what a tensor that linear operators produce is made of.

    T = Σ_t conv_t(view_t(source_t)) + Σ biases

A term is written in a *frame*: the axes of T in T's own order, and behind them `hidden` axes,
which are summed over and have a single output that T does not show (a flattened map, a mean).
Along each axis there is the geometry of a convolution (`axis`); along one of them channels may
be mixed; which axis of the source stands where is said by the view (`layout`). Geometry is
known at once, kernels and biases are `Lazy`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from onnxac.algebra.axis import Axis
from onnxac.algebra.kernel import Array
from onnxac.algebra.layout import View, identity
from onnxac.algebra.lazy import Lazy

T = TypeVar("T")
# Extents along axes: None where dynamic.
Lengths = Sequence["int | None"]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why two definitions can't be put together: the rule, and a sentence about it."""

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a part of a term comes from: `steps` are whatever the caller counts by."""

    steps: tuple[int, ...]
    axes: tuple[Axis, ...]
    group: int


@dataclass(frozen=True, slots=True)
class Channels:
    """The axis of the frame along which channels are mixed: `width` of them become `out`."""

    axis: int
    out: int
    width: int
    group: int

    @property
    def is_diagonal(self) -> bool:
        """Whether no channel reads another one."""
        return self.group == self.out == self.width


@dataclass(frozen=True, slots=True)
class Term:
    """One convolution of one source.

    kernel    [out, width/group, *taps] where there are channels, else [*taps]: one for all.
              Taps are those of all axes of the frame but the channels'. () for a number
    axes      geometry along every axis of the frame, the identity along the channels'. None:
              a number that multiplies, whatever the rank
    view      which axis of the source stands where; () for a number
    depth     how many axes the source has; 0 for a number
    hidden    how many axes at the end of the frame the result does not have
    unit      known to hand on what it reads unchanged, without a look at the kernel
    fill      value [width], or [1], that the source is extended with instead of zero
    equals    the tensors, if any, that have exactly this value but for a bias
    """

    source: str
    kernel: Lazy[Array]
    axes: tuple[Axis, ...] | None = None
    view: View = ()
    depth: int = 0
    hidden: int = 0
    channels: Channels | None = None
    unit: bool = False
    fill: Lazy[Array] | None = None
    marks: tuple[Mark, ...] = ()
    equals: Equal | None = None

    @property
    def rank(self) -> int | None:
        """Axes of the result; None where any number will do."""
        return None if self.axes is None else len(self.axes) - self.hidden

    @property
    def is_pointwise(self) -> bool:
        """Whether every output reads the source at one position only, its own."""
        return self.axes is None or all(a.is_identity for a in self.axes)

    @property
    def is_diagonal(self) -> bool:
        """Whether it is pointwise and no channel reads another one."""
        return self.is_pointwise and (self.channels is None or self.channels.is_diagonal)

    @property
    def is_plain(self) -> bool:
        """Whether the source's axes are the result's, in that order."""
        return self.axes is None or (not self.hidden and self.view == identity(self.depth))

    @property
    def is_source(self) -> bool:
        """Whether it is the source itself."""
        return self.unit and self.is_plain and self.is_pointwise

    @property
    def taps(self) -> int:
        """Weights per output and input channel."""
        count = 1
        for axis in self.axes or ():
            count *= axis.taps
        return count

    @property
    def first_step(self) -> int:
        """The first step of its first branch, to tell terms in the order in which they came."""
        return min((m.steps[0] for m in self.marks if m.steps), default=0)

    def framed(self, rank: int) -> Term:
        """A number written in a frame of `rank` axes."""
        if self.axes is not None:
            return self
        axes = (Axis(),) * rank
        return replace(
            self,
            axes=axes,
            view=identity(rank),
            depth=rank,
            kernel=Lazy(lambda k: k.reshape((1,) * rank), self.kernel),
            marks=tuple(replace(m, axes=axes) for m in self.marks),
        )

    def mixing(self, axis: int, width: int | None) -> Term | Obstacle:
        """The same term with its channels on an axis of the frame.

        What was one kernel for all is repeated for each channel. Along that axis a crop or a
        border becomes a choice of rows.

        width  extent of the source along the axis
        """
        if self.channels is not None:
            if self.channels.axis == axis:
                return self
            return Obstacle("layout", "channels lie on different axes")
        assert self.axes is not None
        here = self.axes[axis]
        if width is None:
            return Obstacle("shape", "the number of channels is not known")
        if here.is_identity:
            shape = tuple(a.taps for i, a in enumerate(self.axes) if i != axis)
            return replace(
                self,
                channels=Channels(axis, width, width, width),
                kernel=Lazy(
                    lambda k: np.tile(k.reshape(shape), (width, 1, *[1] * len(shape))), self.kernel
                )
                if not self.unit
                else Lazy(lambda: np.ones((width, 1, *shape))),
                marks=tuple(replace(m, group=width) for m in self.marks),
            )
        if here.edge != "zero" or here.up > 1 or here.sampling or self.fill is not None:
            return Obstacle("layout", "channels are repeated, or spread apart")
        out = here.length(width)
        if out < 1:
            return Obstacle("shape", "no channels are left")
        geometry = tuple(Axis() if i == axis else a for i, a in enumerate(self.axes))
        return replace(
            self,
            axes=geometry,
            channels=Channels(axis, out, width, 1),
            unit=False,
            kernel=Lazy(lambda k: _rows(k, here, axis, out, width), self.kernel),
            marks=tuple(replace(m, axes=geometry, group=1) for m in self.marks),
        )

    def shown(self) -> Term:
        """The same term without channels on a hidden axis: one of one is no choice."""
        channels = self.channels
        if channels is None or channels.axis < len(self.axes or ()) - self.hidden:
            return self
        if channels.width > 1:
            return self
        return replace(
            self,
            channels=None,
            kernel=Lazy(lambda k: np.expand_dims(k[0, 0], channels.axis), self.kernel),
        )

    def simplified(self) -> Term:
        """The same term without hidden axes that the source does not have either.

        What is left with a single weight is a number, or hands on what it reads.
        """
        term = self.shown()
        channels, axes = term.channels, term.axes
        if axes is None:
            return term
        at, shown = None if channels is None else channels.axis, len(axes) - term.hidden
        gone = [
            i
            for i in range(shown, len(axes))
            if term.view[i] is None and axes[i].is_identity and i != at
        ]
        if gone:
            lead = 0 if at is None else 2
            places = tuple(lead + i - (at is not None and i > at) for i in gone)
            term = replace(
                term,
                axes=_without(axes, gone),
                view=_without(term.view, gone),
                hidden=term.hidden - len(gone),
                kernel=Lazy(lambda k: k.squeeze(places), term.kernel),
                marks=tuple(replace(m, axes=_without(m.axes, gone)) for m in term.marks),
            )
        if channels is not None or not term.is_pointwise or term.unit:
            return term
        value = float(term.kernel().reshape(()))
        # A mean over n, times n, is one but for a rounding.
        if math.isclose(value, 1, rel_tol=1e-15):
            return replace(term, unit=True)
        if not term.is_plain:
            return term
        return replace(
            term,
            kernel=Lazy.of(np.asarray(value)),
            axes=None,
            view=(),
            depth=0,
            marks=tuple(replace(m, axes=()) for m in term.marks),
        )


@dataclass(frozen=True, slots=True)
class Bias:
    """A constant that is added: [size] along an axis of the result, or one number, ()."""

    values: Lazy[Array]
    axis: int | None = None
    size: int = 1


@dataclass(frozen=True, slots=True)
class Equal:
    """A tensor that equals a term plus a bias."""

    tensor: str
    bias: tuple[Bias, ...]


@dataclass(frozen=True, slots=True)
class Sum:
    """Terms that are added up, and constants.

    steps  what the definition was made from, as in `Mark`
    """

    terms: tuple[Term, ...]
    biases: tuple[Bias, ...] = ()
    steps: frozenset[int] = frozenset()

    @property
    def sources(self) -> tuple[str, ...]:
        """The tensors it reads, each once, in order."""
        return tuple(dict.fromkeys(t.source for t in self.terms))

    @property
    def channel_axes(self) -> frozenset[int]:
        """Axes of the result along which something differs from channel to channel."""
        found = {t.channels.axis for t in self.terms if t.channels is not None}
        return frozenset(found | {b.axis for b in self.biases if b.axis is not None and b.size > 1})

    @property
    def rank(self) -> int | None:
        """Axes of the result; None where any number will do."""
        return next((r for t in self.terms if (r := t.rank) is not None), None)

    def bias(self) -> Array | None:
        """All constants together, [size] or (); None where there are none, or they cancel out."""
        if not self.biases:
            return None
        total = np.asarray(sum(b.values() for b in self.biases), np.float64)
        return total if np.any(total) else None


def number(source: str, value: float, step: int) -> Term:
    """The source times a number; 1 hands it on, whatever its rank."""
    held = Lazy.of(np.asarray(value, np.float64))
    return Term(source, held, unit=value == 1, marks=(Mark((step,), (), 1),))


def _without(held: tuple[T, ...], gone: Sequence[int]) -> tuple[T, ...]:
    return tuple(v for i, v in enumerate(held) if i not in gone)


def _rows(kernel: Array, here: Axis, axis: int, out: int, width: int) -> Array:
    """The kernel [*taps] as [out, width, *other taps]: along `axis` it chooses rows."""
    other = np.moveaxis(kernel, axis, 0)
    if here.mean:
        return np.tile(other[None] / width, (1, width, *[1] * (other.ndim - 1)))
    rows = np.zeros((out, width, *other.shape[1:]))
    for o in range(out):
        for k in range(here.taps):
            at = here.stride * o + here.dilation * k + here.offset
            if 0 <= at < width:
                rows[o, at] += other[k]
    return rows


def reading(source: str) -> Term:
    """The source itself, in whatever was done before."""
    return Term(source, Lazy.of(np.ones(())), unit=True)
