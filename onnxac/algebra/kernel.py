"""Arithmetic of kernel arrays, [out, in/group, *taps] in float64.

Groups are block-diagonal matrices. Two of them, with g₁ and g₂ blocks, meet in
gcd(g₁, g₂) blocks: each of those holds whole blocks of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxac.algebra.axis import Axis

Array = npt.NDArray[np.float64]


def regroup(kernel: Array, group: int, coarser: int) -> Array:
    """The same map written with `coarser` groups, a divisor of `group`."""
    if coarser == group:
        return kernel
    out, width = kernel.shape[:2]
    merged = group // coarser
    blocks = kernel.reshape(coarser, merged, out // group, width, *kernel.shape[2:])
    wide = np.zeros((coarser, merged, out // group, merged, width, *kernel.shape[2:]))
    index = np.arange(merged)
    wide[:, index, :, index] = np.moveaxis(blocks, 1, 0)
    return wide.reshape(out, merged * width, *kernel.shape[2:])


def overlay(
    parts: Sequence[Array], axes: Sequence[Sequence[Axis]], lattice: Sequence[Axis]
) -> Array:
    """The sum of kernels, each laid where its taps are on a lattice that covers them all.

    One array for all: kernels of large layers take longer to allocate than to add.
    """
    found = [[a.cells(b) for a, b in zip(lattice, own, strict=True)] for own in axes]
    if len(parts) == 1 and all(c == range(a.taps) for c, a in zip(found[0], lattice, strict=True)):
        return parts[0]
    total = np.zeros((*parts[0].shape[:2], *(a.taps for a in lattice)))
    for part, cells in zip(parts, found, strict=True):
        at: Any = tuple(slice(c.start, c.stop, c.step) for c in cells)
        total[(..., *at)] += part
    return total


def compose(
    outer: Array,
    outer_group: int,
    outer_axes: Sequence[Axis],
    inner: Array,
    inner_group: int,
    inner_axes: Sequence[Axis],
) -> Array:
    """Kernel of outer∘inner, with gcd(outer_group, inner_group) groups.

    Its taps lie at stride₁·dilation₂·k₂ + dilation₁·k₁ (Diverse Branch Block, section 3.2,
    Transform III, where the outer kernel slides over the inner one).
    """
    axes = [o.after(i) for o, i in zip(outer_axes, inner_axes, strict=True)]
    contract = _contraction(outer, outer_group, inner, inner_group)
    result: Array | None = None
    for k in np.ndindex(*outer.shape[2:]):
        product = contract(k)
        if result is None:
            result = np.zeros((*product.shape[:2], *(a.taps for a in axes)))
        cells: Any = tuple(
            slice(start, start + step * (i.taps - 1) + 1, step)
            for start, step, i in (
                (i.stride * o.dilation * kk // a.dilation, max(i.dilation // a.dilation, 1), i)
                for kk, o, i, a in zip(k, outer_axes, inner_axes, axes, strict=True)
            )
        )
        result[(..., *cells)] += product
    assert result is not None, "a kernel has at least one tap"
    return result


def _contraction(
    outer: Array, outer_group: int, inner: Array, inner_group: int
) -> Callable[[tuple[int, ...]], Array]:
    """The product of one outer tap with the whole inner kernel, [out, in/group, *inner taps].

    A depthwise factor only scales the other one: it is never spread to a dense matrix.
    """
    taps = inner.shape[2:]
    ones = (1,) * len(taps)
    if outer_group == outer.shape[0] == inner.shape[0]:
        return lambda k: _tap(outer, k).reshape(-1, 1, *ones) * inner
    if inner_group == inner.shape[0] == inner_group * inner.shape[1]:
        per_group = inner.reshape(outer_group, 1, -1, *taps)

        def scale_columns(k: tuple[int, ...]) -> Array:
            rows = _tap(outer, k).reshape(outer_group, -1, outer.shape[1])
            return (rows.reshape(*rows.shape, *ones) * per_group).reshape(
                outer.shape[0], outer.shape[1], *taps
            )

        return scale_columns
    group = math.gcd(outer_group, inner_group)
    left = regroup(outer, outer_group, group)
    right = regroup(inner, inner_group, group)
    width = right.shape[1]
    blocks = right.reshape(group, right.shape[0] // group, -1)

    def multiply(k: tuple[int, ...]) -> Array:
        rows = _tap(left, k).reshape(group, -1, left.shape[1])
        return np.asarray(rows @ blocks).reshape(outer.shape[0], width, *taps)

    return multiply


def _tap(kernel: Array, k: tuple[int, ...]) -> Array:
    """The matrix [out, in/group] at one tap."""
    at: Any = (..., *k)
    return np.asarray(kernel[at])


def apply_to_constant(kernel: Array, group: int, value: Array) -> Array:
    """Response [out] to a source that is `value` [in] everywhere."""
    summed = kernel.reshape(kernel.shape[0], kernel.shape[1], -1).sum(axis=2)
    per_group = value.reshape(group, 1, -1)
    return np.asarray((summed.reshape(group, -1, summed.shape[1]) * per_group).sum(axis=2)).reshape(
        -1
    )
