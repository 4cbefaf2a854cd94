"""Geometry of a convolution along one spatial axis.

    y[p] = Σ_k kernel[k] · x̂[stride·p + dilation·k + offset],   p = 0 … P − 1
    P    = ⌊(up·(N − 1) + extent) / stride⌋ + 1

x̂ is the source of length N, spread out by `up` (up − 1 zeros between neighbours, which
makes a transposed convolution an ordinary one) and extended beyond its edges as `edge`
says. It may be made longer before (`sampling`); then N is what comes of that. Two numbers hold
all padding and cropping there is:

    offset = −pad_begin (+ crop_begin)                    where the first tap reads
    extent = pad_begin + pad_end − dilation·(taps − 1)    how many outputs there are
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

Edge = Literal["zero", "reflect", "edge", "wrap"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """A source made longer by a whole factor before it is read: x[⌊q / factor⌋], or interpolated.

    Whatever the rule, its weights add up to one: what is the same everywhere stays so.

    rule  how values are interpolated, for whoever emits it; empty: each element is repeated
    """

    factor: int
    rule: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial axis; all fields are in elements of the (sampled, spread) source.

    mean  the one output is the mean over the whole axis, however long it is; nothing else counts
    fits  the stride is known to leave no rest, up·(N − 1) + extent, at all sizes there are
    """

    taps: int = 1
    dilation: int = 1
    stride: int = 1
    up: int = 1
    offset: int = 0
    extent: int = 0
    edge: Edge = "zero"
    mean: bool = False
    sampling: Sampling | None = None
    fits: bool = field(default=False, compare=False)

    @property
    def span(self) -> int:
        """Distance from the first tap to the last."""
        return self.dilation * (self.taps - 1)

    @property
    def pad_begin(self) -> int:
        """Elements read before the source's first; negative where some are skipped."""
        return -self.offset

    @property
    def pad_end(self) -> int:
        """Elements read after the source's last, as an upper bound over all lengths."""
        return self.extent + self.offset + self.span

    @property
    def is_identity(self) -> bool:
        """Whether output p reads element p, for every p, and there are N of them."""
        return self.offset == self.extent == 0 and self.is_still

    @property
    def is_still(self) -> bool:
        """Whether it has one tap, and neither strides, spreads nor averages."""
        return self.taps == self.stride == self.up == 1 and not (self.mean or self.sampling)

    @property
    def is_sampling(self) -> bool:
        """Whether all it does is to make its source longer."""
        return self.sampling is not None and self.unsampled.is_identity

    @property
    def repeats(self) -> bool:
        """Whether all it does is to repeat each element."""
        return self.is_sampling and self.sampling is not None and not self.sampling.rule

    @property
    def unsampled(self) -> Axis:
        """The same axis over a source that was made longer already."""
        return self if self.sampling is None else replace(self, sampling=None)

    def _sampled(self, source: int) -> int:
        """Elements of a source once it is made longer."""
        return source if self.sampling is None else source * self.sampling.factor

    def keeps_border_of(self, outer: Axis, source: int | None) -> bool:
        """Whether padding that the outer reads is what this axis would compute there.

        Looked at, position by position: beyond this axis' outputs no tap may meet data, so
        that zeros are what it would compute. Borders that are reflected or repeated commute
        with an axis that ends with its source; a wrapped one has to see the whole source.

        source  extent of this axis' own source, None where dynamic
        """
        if self.is_identity or self.is_sampling:
            return True
        if self.edge != "zero" or self.mean:
            return False
        if outer.edge != "zero":
            if outer.edge == "wrap" or self.taps > 1 or self.stride > 1 or self.up > 1:
                return False
            # It may crop, but bring no zeros of its own: there is one kind of border per axis.
            if self.offset < 0 or self.pad_end > 0:
                return False
            ends = outer.reads_behind(None if source is None else self.length(source))
            return (outer.offset >= 0 or self.offset == 0) and (not ends or self.pad_end == 0)
        lengths = [source] if source is not None else self._sizes(outer)
        return all(self._is_empty_beyond(outer, n) for n in lengths)

    def _sizes(self, outer: Axis) -> list[int]:
        """Extents that stand for all larger ones: one for each residue of both strides."""
        start = self._reach + self.stride * outer._reach
        every = range(start, start + self.stride * outer.stride)
        return [n for n in every if not self.fits or self._rest(n) == 0]

    @property
    def _reach(self) -> int:
        """From this extent on, no output reads past both ends of its source."""
        return self.taps * self.dilation + abs(self.offset) + abs(self.extent) + self.stride

    def _rest(self, source: int) -> int:
        """Elements of the (spread) source behind the last one that an output begins with."""
        return (self.up * (self._sampled(source) - 1) + self.extent) % self.stride

    def _is_empty_beyond(self, outer: Axis, source: int) -> bool:
        """Whether no tap meets data at the positions beyond the outputs that the outer reads."""
        outputs, last = self.length(source), self.up * (self._sampled(source) - 1)
        if max(outer.pad_begin, outer.pad_end) > _MOST_PADDING:
            return False
        end = outer.stride * (max(outer.length(outputs), 1) - 1) + outer.span + outer.offset
        beyond = (*range(outer.offset, 0), *range(outputs * outer.up, end + 1))
        reads = (
            self.stride * q + self.dilation * k + self.offset
            for q in beyond
            for k in range(self.taps)
        )
        return not any(0 <= at <= last and at % self.up == 0 for at in reads)

    def length(self, source: int) -> int:
        """Number of outputs for a source of `source` elements."""
        if self.mean:
            return 1
        return (self.up * (self._sampled(source) - 1) + self.extent) // self.stride + 1

    def reads_beyond(self, source: int | None) -> bool:
        """Whether some output reads past an edge; for some length where `source` is None."""
        return not self.mean and (self.offset < 0 or self.reads_behind(source))

    def reads_behind(self, source: int | None) -> bool:
        """Whether some output reads past the end."""
        if source is None:
            return self.pad_end > 0
        last = self.stride * (self.length(source) - 1) + self.span + self.offset
        return last > self.up * (self._sampled(source) - 1)

    def after(self, inner: Axis) -> Axis:
        """The taps of self∘inner, edges not considered (see `compose`).

        Self reads inner's outputs: position q of them is stride₁·q + dilation₁·k + offset₁
        of the source, so strides multiply and offsets and extents scale by inner's stride.
        """
        if inner.is_identity:
            return self
        if inner.is_sampling:
            return self._over(inner.sampling)
        if self.is_identity or inner.mean:
            return inner
        steps = [
            s
            for s in (
                inner.stride * self.dilation * (self.taps > 1),
                inner.dilation * (inner.taps > 1),
            )
            if s
        ]
        dilation = math.gcd(*steps) if steps else 1
        span = inner.stride * self.span + inner.span
        return Axis(
            taps=span // dilation + 1,
            dilation=dilation,
            stride=inner.stride * self.stride,
            up=inner.up,
            offset=inner.stride * self.offset + inner.offset,
            extent=inner.extent + inner.stride * self.extent,
            edge=inner.edge,
            sampling=inner.sampling,
            fits=inner.fits and self.stride == 1,
        )

    def _over(self, inner: Sampling | None) -> Axis:
        """The same axis, over a source that is made longer."""
        if inner is None or self.mean:
            # The mean of what is repeated is its own.
            return self
        factor = inner.factor * (1 if self.sampling is None else self.sampling.factor)
        return replace(self, sampling=replace(inner, factor=factor))

    def agrees_with(self, other: Axis, source: int | None) -> bool:
        """Whether both can be one convolution: same steps, outputs and extension.

        Terms of one sum have as many outputs at every size that the model runs at. So over a
        dynamic source it is enough that there are such sizes.
        """
        if (self.stride, self.up, self.mean) != (other.stride, other.up, other.mean):
            return False
        if self.sampling != other.sampling:
            return False
        if source is None:
            if abs(self.extent - other.extent) >= self.stride:
                return False
        elif self.length(source) != other.length(source):
            return False
        return (
            self.edge == other.edge
            or not self.reads_beyond(source)
            or not other.reads_beyond(source)
        )

    def union(self, other: Axis, source: int | None) -> Axis:
        """The smallest axis whose lattice holds the taps of both; they must agree."""
        offset = min(self.offset, other.offset)
        last = max(self.offset + self.span, other.offset + other.span)
        steps = [
            d
            for d in (
                self.dilation * (self.taps > 1),
                other.dilation * (other.taps > 1),
                abs(self.offset - other.offset),
            )
            if d
        ]
        dilation = math.gcd(*steps) if steps else 1
        reach = self if self.reads_beyond(source) else other
        wider = max(self, other, key=lambda a: (a.span, -a.extent))
        return replace(
            reach,
            taps=(last - offset) // dilation + 1,
            dilation=dilation,
            offset=offset,
            extent=wider.extent,
            fits=wider.fits,
        )

    def covers(self, other: Axis) -> bool:
        """Whether every tap of other is a tap of self."""
        first = other.offset - self.offset
        return (
            first >= 0
            and first + other.span <= self.span
            and first % self.dilation == 0
            and (other.taps == 1 or other.dilation % self.dilation == 0)
        )

    def cells(self, other: Axis) -> range:
        """Which of self's taps other's taps are; self covers other."""
        step = other.dilation // self.dilation if other.taps > 1 else 1
        first = (other.offset - self.offset) // self.dilation
        return range(first, first + step * (other.taps - 1) + 1, step)

    def inside(self, source: int) -> tuple[Axis, int, int]:
        """For a single output: the axis on the whole source, and how its taps lie on it.

        Taps beyond the edges meet zeros and go; the others are spread to one per element.
        Returns the axis, its first tap that is kept, and one behind the last.
        """
        first = max(-(self.offset // self.dilation), 0)
        last = min((source - 1 - self.offset) // self.dilation + 1, self.taps)
        return Axis(taps=source, extent=1 - source), first, max(last, first)

    def without_crop(self, source: int | None) -> tuple[Axis, int, int]:
        """The same outputs with pads that are not negative, and the taps of weight zero
        that this takes before and behind: an operator's window can pad but not crop."""
        begin = max(-(-self.offset // self.dilation), 0)
        axis = replace(self, offset=self.offset - begin * self.dilation, taps=self.taps + begin)
        if axis.pad_end < 0 and source is not None:
            # Where the last window leaves elements unread anyway there is nothing to crop.
            relaxed = replace(axis, extent=axis.extent - axis.pad_end)
            if relaxed.length(source) == axis.length(source):
                axis = relaxed
        end = max(-(axis.pad_end // axis.dilation), 0)
        return replace(axis, taps=axis.taps + end), begin, end


# Wider borders are not looked at; no network has them.
_MOST_PADDING = 4096
