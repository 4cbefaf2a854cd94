"""How a definition is written with operators, and what that costs.

The terms over one source become one convolution where that is not dearer than two; the
rest are added up. `arrange` decides, `rewrite` carries out. Shapes only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from onnxac.algebra import AffineConv, AffineSum, Axis, Obstacle, merge
from onnxac.cost import IMPOSSIBLE, NOMINAL_EXTENT, Cost, total
from onnxac.facts import Dim, Extent, Facts, Shape, static

Kind = Literal["direct", "negative", "scale", "Conv", "ConvTranspose", "Gemm", "MatMul"]


@dataclass(frozen=True)
class Piece:
    """One summand: the source itself, or an operator on it."""

    kind: Kind
    source: str
    conv: AffineConv
    cost: Cost

    @property
    def holds_bias(self) -> bool:
        """Whether the operator has a bias of its own."""
        return self.kind in ("Conv", "ConvTranspose", "Gemm")


@dataclass(frozen=True)
class Arrangement:
    """Pieces that are added up, and the cost of all of it."""

    pieces: tuple[Piece, ...]
    cost: Cost


def size(shape: Sequence[Dim] | None) -> float:
    """Elements of a tensor; dynamic extents count as nominal, a dynamic batch as 1."""
    if shape is None:
        return float(NOMINAL_EXTENT**3)
    return math.prod(
        (max(d.at(NOMINAL_EXTENT), 1) if i else 1) if isinstance(d, Extent) else d
        for i, d in enumerate(shape)
    )


def arrange(definition: AffineSum, tensor: str, facts: Facts) -> Arrangement:
    """The cheapest arrangement found for `tensor`; IMPOSSIBLE where no operator does it."""
    shape = facts.shape(tensor)
    groups: list[Piece] = []
    for source, conv in sorted(
        definition.terms, key=lambda t: -math.prod(a.taps for a in t[1].axes or ())
    ):
        piece = _piece(source, conv, shape, facts)
        for at, other in enumerate(groups):
            merged = _merged(other, piece, shape, facts)
            if merged is not None:
                groups[at] = merged
                break
        else:
            groups.append(piece)
    # A bias needs a host, and a sum must not begin with a minus sign.
    groups.sort(key=lambda p: (not p.holds_bias, p.kind == "negative"))
    elements = size(shape)
    add = Cost(elements=3 * elements, nodes=1)
    extra = len(groups) - 1 + (groups[0].kind == "negative")
    if definition.bias is not None and not groups[0].holds_bias:
        extra += 1
    return Arrangement(tuple(groups), total([p.cost for p in groups] + [add] * extra))


def _merged(a: Piece, b: Piece, shape: Shape | None, facts: Facts) -> Piece | None:
    if a.source != b.source:
        return None
    source = facts.shape(a.source)
    rank = max((len(p.conv.axes) for p in (a, b) if p.conv.axes is not None), default=0)
    lengths = [None] * rank if source is None else static(source[len(source) - rank :])
    conv = merge([a.conv, b.conv], lengths)
    if isinstance(conv, Obstacle):
        return None
    piece = _piece(a.source, conv, shape, facts)
    apart = a.cost + b.cost + Cost(elements=3 * size(shape), nodes=1)
    return piece if piece.cost.time <= apart.time else None


def _piece(source: str, conv: AffineConv, shape: Shape | None, facts: Facts) -> Piece:
    elements = size(shape)
    if conv.axes is None:
        if conv.unit:
            return Piece("direct", source, conv, Cost())
        if float(conv.kernel()) == -1:
            return Piece("negative", source, conv, Cost())
        return Piece("scale", source, conv, Cost(elements=2 * elements, nodes=1))
    if conv.unit and conv.is_pointwise:
        return Piece("direct", source, conv, Cost())
    read = facts.shape(source)
    lengths = [None] * len(conv.axes) if read is None else static(read[len(read) - len(conv.axes) :])
    if all(a.up == 1 for a in conv.axes):
        conv = conv.without_crop(lengths)
    rank = len(shape) if shape is not None else len(conv.axes) + 2
    kind = _kind(conv, rank)
    if kind is None:
        return Piece("Conv", source, conv, IMPOSSIBLE)
    inputs = size(read)
    taps = math.prod(a.taps for a in conv.axes)
    weights = conv.channels[0] * conv.channels[1] // conv.group * taps
    spread = math.prod(a.up for a in conv.axes)
    assert conv.axes is not None
    macs = elements * conv.channels[1] / conv.group * taps / spread
    lone = conv.group == conv.channels[1] > 1
    cost = Cost(
        dense=0 if lone else macs, lone=macs if lone else 0, elements=inputs + elements,
        weights=weights, nodes=1,
    )
    if any(a.edge != "zero" and a.reads_beyond(n) for a, n in zip(conv.axes, lengths, strict=True)):
        cost += Cost(elements=2 * inputs, nodes=1)
    return Piece(kind, source, conv, cost)


def _kind(conv: AffineConv, rank: int) -> Kind | None:
    axes = conv.axes or ()
    if conv.fill is not None and any(a.reads_beyond(None) for a in axes):
        return None
    if rank == len(axes) + 2 and axes:
        if all(a.up == 1 for a in axes):
            return "Conv"
        return "ConvTranspose" if all(output_padding(a) for a in axes) else None
    if not conv.is_pointwise:
        return None
    if not axes and rank == 2 and conv.group == 1:
        return "Gemm"
    return "MatMul" if len(axes) <= 1 and conv.group == 1 else None


def output_padding(axis: Axis) -> tuple[int, int, int] | None:
    """pad_begin, pad_end and output_padding of a ConvTranspose; None where it has none."""
    begin = axis.offset + axis.span
    end = axis.span - begin - axis.extent
    extra = max(-end, 0)
    if axis.stride != 1 or begin < 0 or extra >= max(axis.up, axis.dilation):
        return None
    return begin, end + extra, extra
