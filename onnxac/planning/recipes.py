"""How a definition is written with operators, and what that costs.

The terms over one source become one convolution where that is not dearer than two; the
rest are added up. `arrange` decides, `emit` carries out. Shapes only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from onnx import TensorProto

from onnxac.algebra import AffineConv, AffineSum, Axis, Edge, Obstacle, merge
from onnxac.algebra.frame import Perm, inverse, then
from onnxac.inference.dims import Dim, Extent, Shape, static
from onnxac.inference.facts import Facts
from onnxac.planning.cost import IMPOSSIBLE, NOMINAL_EXTENT, Cost, total, window_cost

Kind = Literal[
    "direct", "negative", "scale", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul"
]
_HOSTS = ("BatchNormalization", "Conv", "ConvTranspose", "Gemm")


@dataclass(frozen=True, slots=True)
class Piece:
    """One summand: the source itself, or an operator on it.

    flatten  [N, C, *L] is flattened to [N, C·ΠL] before a Gemm, or behind a Conv; where the
             channels are last, [*L, C] to [ΠL, C] before whatever it is
    reshape  the result takes the shape of the sum, which differs in its leading axes
    crop     a Slice takes off what the operator skips, instead of taps of weight zero
    """

    kind: Kind
    source: str
    conv: AffineConv
    cost: Cost
    flatten: bool = False
    reshape: bool = False
    crop: bool = False

    @property
    def holds_bias(self) -> bool:
        """Whether the operator has a bias of its own."""
        return self.kind in _HOSTS


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Pieces that are added up, and the cost of all of it.

    pieces  summed in the definition's axis order; `late` are added after the transposition
            to the tensor's own order, where they are in that order already
    """

    pieces: tuple[Piece, ...]
    late: tuple[Piece, ...]
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
    desk = _Desk(tensor, definition, facts)
    groups: list[Piece] = []
    for source, conv in sorted(
        definition.terms, key=lambda t: -math.prod(a.taps for a in t[1].axes or ())
    ):
        piece = desk.piece(source, conv)
        for at, other in enumerate(groups):
            merged = desk.merged(other, piece)
            if merged is not None:
                groups[at] = merged
                break
        else:
            groups.append(piece)
    # A bias needs a host, and a sum must not begin with a minus sign.
    groups.sort(key=lambda p: (not p.holds_bias, p.kind == "negative"))
    late = [
        p
        for p in groups[1:]
        if definition.perm is not None
        and p.kind in ("direct", "negative")
        and then(p.conv.view, definition.perm) is None
    ]
    early = [p for p in groups if not any(p is q for q in late)]
    return Arrangement(tuple(early), tuple(late), desk.cost(early, late))


class _Desk:
    """Costs of the pieces of one tensor."""

    def __init__(self, tensor: str, definition: AffineSum, facts: Facts) -> None:
        self._facts, self._definition = facts, definition
        self._shape = framed(facts.shape(tensor), definition.perm)
        self._elements = size(self._shape)
        self._rank = None if self._shape is None else len(self._shape)
        # Runtimes have BatchNormalization for few types.
        self._normalizes = facts.dtype(tensor) == TensorProto.FLOAT

    def cost(self, early: Sequence[Piece], late: Sequence[Piece]) -> Cost:
        """Everything together: operators, sums, a bias without a host, transpositions."""
        moved = Cost(elements=2 * self._elements, nodes=1)
        add = Cost(elements=3 * self._elements, nodes=1)
        costs = [p.cost for p in (*early, *late)]
        costs += [add] * (len(early) + len(late) - 1 + (early[0].kind == "negative"))
        if self._definition.bias is not None and not early[0].holds_bias:
            width = max((p.conv.channels[0] for p in early), default=1)
            costs.append(moved + Cost(weights=max(width, 1)))
        views = {(p.source, p.conv.view) for p in early if p.conv.view is not None}
        costs += [Cost(elements=2 * size(self._facts.shape(s)), nodes=1) for s, _ in views]
        if self._definition.perm is not None:
            costs.append(moved)
        return total(costs)

    def merged(self, a: Piece, b: Piece) -> Piece | None:
        """Both pieces as one, where that is not dearer."""
        if a.source != b.source:
            return None
        axes = next((p.conv.axes for p in (a, b) if p.conv.axes is not None), ())
        conv = merge([a.conv, b.conv], self._lengths(a.source, replace(a.conv, axes=axes)))
        if isinstance(conv, Obstacle):
            return None
        piece = self.piece(a.source, conv)
        apart = a.cost + b.cost + Cost(elements=3 * self._elements, nodes=1)
        return piece if piece.cost.is_within(apart) else None

    def piece(self, source: str, conv: AffineConv) -> Piece:
        """The operator for one term."""
        if conv.axes is None or (conv.unit and conv.is_pointwise):
            return self._plain(source, conv)
        lengths = self._lengths(source, conv)
        if self._rank == 2 and conv.axes:
            return self._squeezed(source, conv, lengths)
        piece = self._operator(source, conv, lengths)
        if not conv.axes and self._leads_differ(source, conv):
            rows = self._as_rows(source, conv)
            return replace(piece, flatten=rows, reshape=not rows, cost=piece.cost + Cost(nodes=1))
        return piece

    def _plain(self, source: str, conv: AffineConv) -> Piece:
        """A source as it is, in another shape, or times a number."""
        if conv.unit:
            squeezed = self._rank == 2 and bool(conv.axes)
            reshaped = conv.axes == () and self._leads_differ(source, conv)
            cost = Cost(nodes=squeezed + reshaped)
            return Piece("direct", source, conv, cost, flatten=squeezed, reshape=reshaped)
        if float(conv.kernel()) == -1:
            return Piece("negative", source, conv, Cost())
        return Piece("scale", source, conv, Cost(elements=2 * self._elements, weights=1, nodes=1))

    def _squeezed(self, source: str, conv: AffineConv, lengths: Sequence[int | None]) -> Piece:
        """A convolution whose result of one pixel per map is a matrix [N, C]."""
        axes = conv.axes or ()
        known = [
            n for a, n in zip(axes, lengths, strict=True) if n is not None and a.length(n) == 1
        ]
        plain = all(a.edge == "zero" and a.up == 1 for a in axes) and conv.fill is None
        if plain and conv.group == 1 and not conv.mean and len(known) == len(axes):
            conv = conv.on_whole(known)
        base = self._operator(source, conv, lengths)
        base = replace(base, flatten=True, cost=base.cost + Cost(nodes=1))
        if not conv.mean and len(known) < len(axes):
            return replace(base, cost=IMPOSSIBLE)
        whole = conv.mean or all(
            a.taps == n and a.offset == 0 for a, n in zip(axes, known, strict=True)
        )
        return replace(base, kind="Gemm") if conv.group == 1 and (whole or plain) else base

    def _operator(self, source: str, conv: AffineConv, lengths: Sequence[int | None]) -> Piece:
        axes = conv.axes or ()
        kind = self._kind(source, conv, lengths)
        if kind is None:
            return Piece("Conv", source, conv, IMPOSSIBLE)
        inputs = size(self._facts.shape(source))
        taps = math.prod(a.taps for a in axes) / math.prod(a.up for a in axes)
        if kind in ("scale", "BatchNormalization"):
            cost = Cost(weights=conv.channels[0] * (1 if kind == "scale" else 4))
        else:
            cost = window_cost(self._elements, conv.channels, conv.group, taps)
        cost += Cost(elements=inputs + self._elements, nodes=1)
        grown = conv.without_crop(lengths).axes if kind == "Conv" else None
        crop = False
        if grown is not None and grown != axes:
            taps = math.prod(a.taps for a in grown)
            filled = window_cost(self._elements, conv.channels, conv.group, taps)
            filled += Cost(elements=inputs + self._elements, nodes=1)
            cropped = cost + Cost(elements=2 * inputs, nodes=1)
            # An axis that is padded at its other end can't be cut first: too little may be left.
            mixed = any(min(a.pad_begin, a.pad_end) < 0 < max(a.pad_begin, a.pad_end) for a in axes)
            crop = not mixed and cropped.time < filled.time
            cost = cropped if crop else filled
        if conv.mean:
            cost += Cost(elements=inputs, nodes=1)
        for mode in extensions(axes, lengths):
            cost += Cost(elements=2 * inputs, nodes=_extending(mode, axes, self._facts.opset))
        return Piece(kind, source, conv, cost, crop=crop)

    def _kind(self, source: str, conv: AffineConv, lengths: Sequence[int | None]) -> Kind | None:
        axes = conv.axes or ()
        rank = self._rank if self._rank is not None else len(axes) + 2
        shape = self._facts.shape(source)
        if conv.axes == () and shape is not None and not self._as_rows(source, conv):
            rank = len(shape)
        if conv.unfold or (
            conv.fill is not None
            and any(a.reads_beyond(n) for a, n in zip(axes, lengths, strict=True))
        ):
            return None
        if conv.is_diagonal:
            hosted = self._definition.bias is not None and rank == len(axes) + 2
            return "BatchNormalization" if hosted and self._normalizes else "scale"
        if axes and rank in (2, len(axes) + 2):
            if all(a.up == 1 for a in axes):
                return "Conv"
            return "ConvTranspose" if rank > 2 and all(output_padding(a) for a in axes) else None
        if not conv.is_pointwise or conv.group > 1 or len(axes) > 1:
            return None
        return "Gemm" if not axes and rank == 2 else "MatMul"

    def _lengths(self, source: str, conv: AffineConv) -> list[int | None]:
        """The source's extents along the convolution's axes."""
        axes, shape = conv.axes or (), self._facts.shape(source)
        if shape is None or len(shape) < len(axes):
            return [None] * len(axes)
        if conv.view is not None:
            shape = tuple(shape[i] for i in conv.view)
        return static(shape[len(shape) - len(axes) :])

    def _as_rows(self, source: str, conv: AffineConv) -> bool:
        """Whether the source becomes a matrix first, for an operator that holds the bias."""
        hosted = conv.axes == () and self._rank == 2 and self._definition.bias is not None
        return hosted and self._leads_differ(source, conv)

    def _leads_differ(self, source: str, conv: AffineConv) -> bool:
        """Whether the source has other axes before its last one than the tensor."""
        shape = self._facts.shape(source)
        if shape is None or self._shape is None or not conv.reshaped:
            return False
        if conv.view is not None:
            shape = tuple(shape[i] for i in conv.view)
        return shape[:-1] != self._shape[:-1]


def framed(shape: Shape | None, perm: Perm | None) -> Shape | None:
    """Shape of a sum before it is transposed by `perm` to a tensor of the given shape."""
    back = inverse(perm)
    return shape if shape is None or back is None else tuple(shape[i] for i in back)


def extensions(axes: Sequence[Axis], lengths: Sequence[int | None]) -> list[Edge]:
    """Modes of the Pads that a convolution needs in front: a window itself pads with zeros."""
    modes = [
        a.edge for a, n in zip(axes, lengths, strict=True) if a.edge != "zero" and a.reads_beyond(n)
    ]
    return list(dict.fromkeys(modes))


def _extending(mode: Edge, axes: Sequence[Axis], opset: int) -> int:
    """Nodes that extend a source: before opset 19 they cut its ends off and put them in front."""
    if mode != "wrap" or opset >= 19:
        return 1
    return sum(1 + (a.pad_begin > 0) + (a.pad_end > 0) for a in axes if a.edge == mode)


def output_padding(axis: Axis) -> tuple[int, int, int] | None:
    """pad_begin, pad_end and output_padding of a ConvTranspose; None where it has none."""
    begin = axis.offset + axis.span
    end = axis.span - begin - axis.extent
    extra = max(-end, 0)
    if axis.stride != 1 or begin < 0 or extra >= max(axis.up, axis.dilation):
        return None
    return begin, end + extra, extra
