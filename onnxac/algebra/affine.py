"""Affine sums: what a tensor that linear operators produce is made of.

    T = Σ_t conv_t(source_t) + bias

Geometry is known at once; kernels and biases are `Deferred`. What can be done with sums is in
`substitution` and `merging`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnxac.algebra.axis import Axis
from onnxac.algebra.deferred import Deferred
from onnxac.algebra.frame import Perm
from onnxac.algebra.kernel import Array

Lengths = Sequence["int | None"]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why two definitions can't be put together: the rule, and a sentence about it."""

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a part of a convolution comes from: `steps` are whatever the caller counts by."""

    steps: tuple[int, ...]
    axes: tuple[Axis, ...]
    group: int


@dataclass(frozen=True, slots=True)
class AffineConv:
    """One convolution of one source.

    axes      geometry of the trailing axes behind the channel axis; () where the channel is
              the last axis. None: a number that multiplies, whatever the layout
    channels  (out, in); (0, 0) where axes is None
    group     as in Conv: kernel is [out, in/group, *taps]; shape () where axes is None
    unit      known to multiply by exactly 1, without a look at the kernel
    fill      value [in] that the source is extended with instead of zero
    view      axis order that the source is transposed to first
    mean      the source is averaged over its trailing axes first, to a length of 1 each
    reshaped  the result has other axes before its last one than the source
    unfold    the kernel is the identity from every tap of every channel to a channel of its own
    """

    axes: tuple[Axis, ...] | None
    channels: tuple[int, int]
    group: int
    kernel: Deferred[Array]
    unit: bool = False
    fill: Deferred[Array] | None = None
    marks: tuple[Mark, ...] = ()
    view: Perm | None = None
    mean: bool = False
    reshaped: bool = False
    unfold: bool = False

    @property
    def is_pointwise(self) -> bool:
        """Whether every output reads the source at its own position only."""
        return not self.mean and (self.axes is None or all(a.is_identity for a in self.axes))

    @property
    def is_diagonal(self) -> bool:
        """Whether it is pointwise and no channel reads another one."""
        return self.is_pointwise and (
            self.axes is None or self.group == self.channels[0] == self.channels[1]
        )

    def laid_out(self, rank: int, channels: int) -> AffineConv:
        """A number written as a diagonal convolution over `rank` trailing axes."""
        if self.axes is not None:
            return self
        axes = (Axis(),) * rank
        shape = (channels, 1, *[1] * rank)
        number = self.kernel
        return replace(
            self,
            axes=axes,
            channels=(channels, channels),
            group=channels,
            kernel=Deferred(lambda: np.full(shape, number()), number),
            marks=tuple(replace(m, axes=axes, group=channels) for m in self.marks),
        )

    def with_layout(self, rank: int) -> AffineConv:
        """The same map of channels over `rank` trailing axes; it has to be pointwise, or a mean."""
        if self.axes is None:
            return self
        axes, kernel = (Axis(),) * rank, self.kernel
        shape = (self.channels[0], self.channels[1] // self.group, *[1] * rank)
        return replace(
            self,
            axes=axes,
            kernel=Deferred(lambda: kernel().reshape(shape), kernel),
            marks=tuple(replace(m, axes=axes) for m in self.marks),
        )

    def on_whole(self, lengths: Sequence[int]) -> AffineConv:
        """A convolution with a single output per channel, as a window over the whole source."""
        axes, kernel = self.axes or (), self.kernel
        found = [a.inside(n) for a, n in zip(axes, lengths, strict=True)]
        cut: Any = (..., *(slice(first, last) for _, first, last in found))
        at: Any = (
            ...,
            *(
                slice(
                    a.offset + a.dilation * first,
                    a.offset + a.dilation * (last - 1) + 1,
                    a.dilation,
                )
                if last > first
                else slice(0, 0)
                for a, (_, first, last) in zip(axes, found, strict=True)
            ),
        )

        def whole() -> Array:
            taps = kernel()
            spread = np.zeros((*taps.shape[:2], *lengths))
            spread[at] = taps[cut]
            return spread

        return replace(
            self, axes=tuple(a for a, _, _ in found), kernel=Deferred(whole, kernel), unit=False
        )

    def without_crop(self, lengths: Lengths) -> AffineConv:
        """The same convolution on axes that pad but do not crop (`Axis.without_crop`)."""
        if self.axes is None or all(a.pad_begin >= 0 and a.pad_end >= 0 for a in self.axes):
            return self
        grown = [a.without_crop(n) for a, n in zip(self.axes, lengths, strict=True)]
        axes = tuple(a for a, _, _ in grown)
        if not any(b or e for _, b, e in grown):
            return replace(self, axes=axes)
        kernel, margin = self.kernel, [(0, 0), (0, 0), *((b, e) for _, b, e in grown)]
        return replace(
            self, axes=axes, unit=False, kernel=Deferred(lambda: np.pad(kernel(), margin), kernel)
        )


def number(value: float, steps: tuple[int, ...] = ()) -> AffineConv:
    """Multiplication by a number; by 1 it is the identity of every layout."""
    mark = Mark(steps, (), 1)
    return AffineConv(
        None, (0, 0), 1, Deferred.of(np.asarray(value, np.float64)), unit=value == 1, marks=(mark,)
    )


@dataclass(frozen=True, slots=True)
class AffineSum:
    """`terms` are (source, convolution); `bias` is [out], or () where the layout is open.

    steps  what the definition was made from, as in `Mark`
    perm   axis order that the sum is transposed to at the end
    """

    terms: tuple[tuple[str, AffineConv], ...]
    bias: Deferred[Array] | None = None
    steps: frozenset[int] = field(default_factory=frozenset)
    perm: Perm | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The tensors it reads, each once, in order."""
        return tuple(dict.fromkeys(s for s, _ in self.terms))

    @property
    def layout(self) -> int | None:
        """Number of axes behind the channel axis; None where it is open."""
        return next((len(c.axes) for _, c in self.terms if c.axes is not None), None)
