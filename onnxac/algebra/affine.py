"""Affine sums: what a tensor that linear operators produce is made of.

    T = Σ_t conv_t(source_t) + bias

`substitute` puts the definition of one tensor into that of its reader, `merge` turns the
terms over one source into one convolution. Both are exact or say why they are not.
Geometry is computed at once; kernels and biases are `Deferred`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnxac.algebra import kernel as kernels
from onnxac.algebra.axis import Axis
from onnxac.algebra.deferred import Deferred
from onnxac.algebra.kernel import Array

Lengths = Sequence["int | None"]

# A branch's marks multiply in compositions of sums; past this many they are told as one.
_MAX_MARKS = 64


@dataclass(frozen=True)
class Obstacle:
    """Why two definitions can't be put together: the rule, and a sentence about it."""

    rule: str
    reason: str


@dataclass(frozen=True)
class Mark:
    """Where a part of a convolution comes from: `steps` are whatever the caller counts by."""

    steps: tuple[int, ...]
    axes: tuple[Axis, ...]
    group: int


@dataclass(frozen=True)
class AffineConv:
    """One convolution of one source.

    axes      geometry of the trailing axes behind the channel axis; () where the channel is
              the last axis. None: a number that multiplies, whatever the layout
    channels  (out, in); (0, 0) where axes is None
    group     as in Conv: kernel is [out, in/group, *taps]; shape () where axes is None
    unit      known to multiply by exactly 1, without a look at the kernel
    fill      value [in] that the source is extended with instead of zero
    """

    axes: tuple[Axis, ...] | None
    channels: tuple[int, int]
    group: int
    kernel: Deferred[Array]
    unit: bool = False
    fill: Deferred[Array] | None = None
    marks: tuple[Mark, ...] = ()

    @property
    def is_pointwise(self) -> bool:
        """Whether every output reads the source at its own position only."""
        return self.axes is None or all(a.is_identity for a in self.axes)

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
            self, axes=axes, channels=(channels, channels), group=channels,
            kernel=Deferred(lambda: np.full(shape, number()), number),
            marks=tuple(replace(m, axes=axes, group=channels) for m in self.marks),
        )


    def without_crop(self, lengths: Lengths) -> AffineConv:
        """The same convolution on axes that pad but do not crop (`Axis.without_crop`)."""
        if self.axes is None:
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


@dataclass(frozen=True)
class AffineSum:
    """`terms` are (source, convolution); `bias` is [out], or () where the layout is open."""

    terms: tuple[tuple[str, AffineConv], ...]
    bias: Deferred[Array] | None = None
    steps: frozenset[int] = field(default_factory=frozenset)

    @property
    def sources(self) -> tuple[str, ...]:
        """The tensors it reads, each once, in order."""
        return tuple(dict.fromkeys(s for s, _ in self.terms))

    @property
    def layout(self) -> int | None:
        """Number of axes behind the channel axis; None where it is open."""
        return next((len(c.axes) for _, c in self.terms if c.axes is not None), None)


def substitute(
    reader: AffineSum, name: str, inner: AffineSum, lengths: Lengths, tolerance: float
) -> AffineSum | Obstacle:
    """`reader` with the definition `inner` of tensor `name` put in.

    lengths    extents of tensor `name` along the trailing axes, None where dynamic
    tolerance  how far a bias may be from the value in the padding, relative to its size
    """
    terms: list[tuple[str, AffineConv]] = []
    biases: list[Deferred[Array]] = [reader.bias] if reader.bias else []
    for source, outer in reader.terms:
        if source != name:
            terms.append((source, outer))
            continue
        layouts = {len(c.axes) for c in (outer, *(c for _, c in inner.terms)) if c.axes is not None}
        if len(layouts) > 1:
            return Obstacle("layout", f"it mixes channels on different axes of {name}")
        beyond = _padded_axes(outer, lengths)
        obstacle = _border_obstacle(name, outer, inner, beyond, tolerance)
        if obstacle:
            return obstacle
        terms += [(s, _compose(outer, conv, beyond)) for s, conv in inner.terms]
        if inner.bias is not None:
            biases.append(_respond(outer, inner.bias))
    return AffineSum(_tidy(terms), _total(biases), reader.steps | inner.steps)


def _padded_axes(conv: AffineConv, lengths: Lengths) -> tuple[int, ...]:
    if conv.axes is None:
        return ()
    tail = list(lengths)[len(lengths) - len(conv.axes):] if conv.axes else []
    return tuple(i for i, a in enumerate(conv.axes) if a.reads_beyond(tail[i]))


def _border_obstacle(
    name: str, outer: AffineConv, inner: AffineSum, beyond: tuple[int, ...], tolerance: float
) -> Obstacle | None:
    """The border rule: padding that the outer reads must be what the inner would compute."""
    if outer.axes is not None and any(a.up > 1 for a in outer.axes):
        if not all(conv.is_pointwise for _, conv in inner.terms):
            return Obstacle("spread", f"{name} is spread out before it is convolved again")
        beyond = tuple(range(len(outer.axes)))
    if outer.axes is not None and any(
        conv.axes and any(i.up > 1 and o.stride > 1 for o, i in zip(outer.axes, conv.axes, strict=True))
        for _, conv in inner.terms
    ):
        return Obstacle("spread", f"{name} is spread out and then strided over")
    if not beyond:
        return None
    assert outer.axes is not None
    if any(conv.fill is not None for _, conv in inner.terms):
        return Obstacle("border", f"padding reads past {name}, whose own border is not zero")
    for _, conv in inner.terms:
        if conv.axes and not all(
            conv.axes[i].is_identity or (outer.axes[i].edge == "zero" and conv.axes[i].is_transparent)
            for i in beyond
        ):
            return Obstacle(
                "border", f"padding reads past the border of {name}, which sums over neighbours "
                "or was cropped: it would compute something else than that padding there",
            )
    if all(outer.axes[i].edge != "zero" for i in beyond):
        return None
    if _is_fill(inner.bias, outer.fill, tolerance):
        return None
    return Obstacle(
        "border", f"padding reads past the border of {name}: its bias is not zero"
        if outer.fill is None else
        f"padding reads past the border of {name}: its bias is not the constant that is there",
    )


def _is_fill(
    bias: Deferred[Array] | None, fill: Deferred[Array] | None, tolerance: float
) -> bool:
    if bias is None and fill is None:
        return True
    have = np.zeros(()) if bias is None else bias()
    want = np.zeros(()) if fill is None else fill()
    size = max(np.abs(have).max(initial=0.0), np.abs(want).max(initial=0.0))
    return bool(np.all(np.abs(have - want) <= (tolerance * size if fill is not None else 0.0)))


def _compose(outer: AffineConv, inner: AffineConv, beyond: tuple[int, ...]) -> AffineConv:
    outer_kernel, inner_kernel = outer.kernel, inner.kernel
    unit = outer.unit and inner.unit
    if outer.axes is None or inner.axes is None:
        shaped = inner if outer.axes is None else outer
        return replace(
            shaped, unit=unit, fill=inner.fill,
            kernel=inner_kernel if outer.unit else outer_kernel if inner.unit else
            Deferred(lambda: outer_kernel() * inner_kernel(), outer_kernel, inner_kernel),
            marks=_marks(outer, inner, shaped.axes or (), shaped.group),
        )
    oa, ia, og, ig = outer.axes, inner.axes, outer.group, inner.group
    axes = tuple(
        o if n in beyond and i.is_identity else o.after(i)
        for n, (o, i) in enumerate(zip(oa, ia, strict=True))
    )
    kernel = (
        inner_kernel if outer.unit and outer.is_pointwise
        else outer_kernel if inner.unit and inner.is_pointwise
        else Deferred(
            lambda: kernels.compose(outer_kernel(), og, oa, inner_kernel(), ig, ia),
            outer_kernel, inner_kernel,
        )
    )
    group = math.gcd(og, ig)
    return AffineConv(
        axes, (outer.channels[0], inner.channels[1]), group, kernel, unit,
        None if beyond else inner.fill, _marks(outer, inner, axes, group),
    )


def _marks(
    outer: AffineConv, inner: AffineConv, axes: tuple[Axis, ...], group: int
) -> tuple[Mark, ...]:
    if len(outer.marks) * len(inner.marks) > _MAX_MARKS:
        steps = {s: None for m in (*inner.marks, *outer.marks) for s in m.steps}
        return (Mark(tuple(steps), axes, group),)
    return tuple(
        Mark(
            tuple(dict.fromkeys((*i.steps, *o.steps))),
            tuple(a.after(b) for a, b in zip(o.axes, i.axes, strict=True))
            if o.axes and i.axes else o.axes or i.axes,
            math.gcd(o.group, i.group) if o.axes and i.axes else max(o.group, i.group),
        )
        for i in inner.marks
        for o in outer.marks
    )


def _respond(outer: AffineConv, bias: Deferred[Array]) -> Deferred[Array]:
    kernel, group, (_, width) = outer.kernel, outer.group, outer.channels
    if outer.unit and outer.is_pointwise:
        return bias
    if outer.axes is None:
        return Deferred(lambda: kernel() * bias(), kernel, bias)
    return Deferred(
        lambda: kernels.apply_to_constant(kernel(), group, np.broadcast_to(bias(), (width,))),
        kernel, bias,
    )


def _total(biases: list[Deferred[Array]]) -> Deferred[Array] | None:
    if len(biases) < 2:
        return biases[0] if biases else None
    return Deferred(lambda: np.asarray(sum(b() for b in biases)), *biases)


def _tidy(terms: list[tuple[str, AffineConv]]) -> tuple[tuple[str, AffineConv], ...]:
    """Add up terms where that costs nothing: the taps and groups of one hold the other's.

    Without it a residual network without activations would double its terms at each sum.
    """
    kept: list[tuple[str, AffineConv]] = []
    for source, conv in terms:
        for at, (other_source, other) in enumerate(kept):
            if source != other_source:
                continue
            merged = _absorb(other, conv) or _absorb(conv, other)
            if merged:
                kept[at] = (source, merged)
                break
        else:
            kept.append((source, conv))
    return tuple(kept)


def _absorb(large: AffineConv, small: AffineConv) -> AffineConv | None:
    if large.axes is None and small.axes is None:
        return merge([large, small], ())
    if large.axes is None:
        return None
    if small.axes is None:
        small = small.laid_out(len(large.axes), large.channels[0])
    if small.group % large.group or large.channels != small.channels or large.axes != small.axes:
        same = small.axes is not None and all(
            a.covers(b) and a.extent == b.extent for a, b in zip(large.axes, small.axes, strict=True)
        )
        if not same or small.group % large.group or large.channels != small.channels:
            return None
    merged = merge([large, small], (None,) * len(large.axes))
    return merged if isinstance(merged, AffineConv) else None


def merge(convs: Sequence[AffineConv], lengths: Lengths) -> AffineConv | Obstacle:
    """Σ convs over one source as one convolution on the union of their lattices.

    lengths  extents of the source along the trailing axes, None where dynamic
    """
    if len(convs) == 1:
        return convs[0]
    shaped = next((c for c in convs if c.axes is not None), None)
    all_marks = tuple(m for c in convs for m in c.marks)
    if shaped is None or shaped.axes is None:
        numbers = [c.kernel for c in convs]
        return replace(
            convs[0], unit=False, marks=all_marks,
            kernel=Deferred(lambda: np.asarray(sum(k() for k in numbers)), *numbers),
        )
    rank = len(shaped.axes)
    convs = [c.laid_out(rank, shaped.channels[0]) for c in convs]
    axes = shaped.axes
    for conv in convs:
        assert conv.axes is not None
        if len(conv.axes) != rank or conv.channels != shaped.channels:
            return Obstacle("layout", "channels lie on different axes, or differ in number")
        pairs = list(zip(axes, conv.axes, lengths, strict=True))
        if not all(a.agrees_with(b, n) for a, b, n in pairs):
            return Obstacle("geometry", "strides, output sizes or padding modes differ")
        if not _same_fill(shaped, conv, lengths):
            return Obstacle("geometry", "the padding holds different constants")
        axes = tuple(a.union(b, n) for a, b, n in pairs)
    group = math.gcd(*(c.group for c in convs))
    fill = next((c.fill for c in convs if c.fill is not None), None)
    return AffineConv(
        axes, shaped.channels, group, _summed(convs, axes, group), fill=fill,
        marks=tuple(m for c in convs for m in c.marks),
    )


def _summed(convs: Sequence[AffineConv], axes: tuple[Axis, ...], group: int) -> Deferred[Array]:
    parts: list[tuple[Deferred[Array], int, tuple[Axis, ...]]] = [
        (c.kernel, c.group, c.axes or ()) for c in convs
    ]

    def total() -> Array:
        return np.asarray(sum(
            kernels.place(kernels.regroup(k(), g, group), own, axes) for k, g, own in parts
        ))

    needs: list[Deferred[Any]] = [k for k, _, _ in parts]
    return Deferred(total, *needs)


def _same_fill(a: AffineConv, b: AffineConv, lengths: Lengths) -> bool:
    if a.fill is b.fill or not _padded_axes(a, lengths) or not _padded_axes(b, lengths):
        return True
    return _is_fill(a.fill, b.fill, 0.0)
