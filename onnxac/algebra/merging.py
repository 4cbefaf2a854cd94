"""Adding up terms: several convolutions of one source as one, on the union of their taps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxac.algebra import kernel as kernels
from onnxac.algebra.affine import AffineConv, Lengths, Obstacle
from onnxac.algebra.axis import Axis
from onnxac.algebra.deferred import Deferred
from onnxac.algebra.kernel import Array


def merge(convs: Sequence[AffineConv], lengths: Lengths) -> AffineConv | Obstacle:
    """Σ convs over one source as one convolution.

    lengths  extents of the source along the trailing axes, None where dynamic
    """
    if len(convs) == 1:
        return convs[0]
    if len({(c.view, c.mean, c.reshaped) for c in convs}) > 1 or any(c.unfold for c in convs):
        return Obstacle("layout", "the source is read in different axis orders")
    shaped = next((c for c in convs if c.axes is not None), None)
    marks = tuple(m for c in convs for m in c.marks)
    if shaped is None or shaped.axes is None:
        numbers = [c.kernel for c in convs]
        return replace(
            convs[0],
            unit=False,
            marks=marks,
            kernel=Deferred(lambda: np.asarray(sum(k() for k in numbers)), *numbers),
        )
    laid = [c.laid_out(len(shaped.axes), shaped.channels[0]) for c in convs]
    axes = shaped.axes
    for conv in laid:
        assert conv.axes is not None
        if len(conv.axes) != len(axes) or conv.channels != shaped.channels:
            return Obstacle("layout", "channels lie on different axes, or differ in number")
        pairs = list(zip(axes, conv.axes, lengths, strict=True))
        if not all(a.agrees_with(b, n) for a, b, n in pairs):
            return Obstacle("geometry", "strides, output sizes or padding modes differ")
        if not _same_fill(shaped, conv, lengths):
            return Obstacle("geometry", "the padding holds different constants")
        axes = tuple(a.union(b, n) for a, b, n in pairs)
    group = math.gcd(*(c.group for c in laid))
    return replace(
        shaped,
        axes=axes,
        group=group,
        kernel=_summed(laid, axes, group),
        unit=False,
        fill=next((c.fill for c in laid if c.fill is not None), None),
        marks=tuple(m for c in laid for m in c.marks),
    )


def _summed(convs: Sequence[AffineConv], axes: tuple[Axis, ...], group: int) -> Deferred[Array]:
    parts: list[tuple[Deferred[Array], int, tuple[Axis, ...]]] = [
        (c.kernel, c.group, c.axes or ()) for c in convs
    ]

    def total() -> Array:
        return np.asarray(
            sum(kernels.place(kernels.regroup(k(), g, group), own, axes) for k, g, own in parts)
        )

    needs: list[Deferred[Any]] = [k for k, _, _ in parts]
    return Deferred(total, *needs)


def _same_fill(a: AffineConv, b: AffineConv, lengths: Lengths) -> bool:
    def pads(conv: AffineConv) -> bool:
        return any(x.reads_beyond(n) for x, n in zip(conv.axes or (), lengths, strict=True))

    return a.fill is b.fill or not pads(a) or not pads(b) or is_fill(a.fill, b.fill, 0.0)


def is_fill(value: Deferred[Array] | None, fill: Deferred[Array] | None, tolerance: float) -> bool:
    """Whether both are one vector; None is zero. Zero itself admits no tolerance."""
    if value is None and fill is None:
        return True
    have = np.zeros(()) if value is None else value()
    want = np.zeros(()) if fill is None else fill()
    size = max(np.abs(have).max(initial=0.0), np.abs(want).max(initial=0.0))
    return bool(np.all(np.abs(have - want) <= (tolerance * size if fill is not None else 0.0)))


def tidy(terms: Sequence[tuple[str, AffineConv]]) -> tuple[tuple[str, AffineConv], ...]:
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
    """large + small where that has large's cost; None where it would not."""
    if large.axes is None and small.axes is not None:
        return None
    if large.axes is None:
        found = merge([large, small], ())
        return found if isinstance(found, AffineConv) else None
    laid = small.laid_out(len(large.axes), large.channels[0])
    assert laid.axes is not None
    if laid.group % large.group or large.channels != laid.channels:
        return None
    if len(laid.axes) != len(large.axes) or not all(
        a.covers(b) and a.extent == b.extent for a, b in zip(large.axes, laid.axes, strict=True)
    ):
        return None
    merged = merge([large, laid], (None,) * len(large.axes))
    return merged if isinstance(merged, AffineConv) else None
