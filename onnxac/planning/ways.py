"""The ways to write one term: each operator that can do it, on the axes that it wants.

An operator has its own order of axes: Conv wants [batch, channels, spatial…], x·W wants the
channels last, W·x last but one. So a way is: bring the source into that order, apply the
operator, bring the result into the order of the tensor's axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxac.algebra import Axis, Lazy, Obstacle, Term
from onnxac.algebra.kernel import Array
from onnxac.algebra.layout import GROUPED, Entry
from onnxac.graph.operators import runs
from onnxac.inference.casts import widest
from onnxac.inference.dims import Dim, Extent
from onnxac.planning.cost import IMPOSSIBLE, Cost, total, window_cost
from onnxac.planning.site import Piece, Site
from onnxac.planning.steps import FAR, Dims, Step, Weight, grown, padded, rearranged, size, sliced
from onnxac.planning.windows import Window

# Operators that round each element on its own, whatever comes behind.
_ROUNDING = frozenset({"Mul", "BatchNormalization", "ReduceMean", "GlobalAveragePool"})


def write(term: Term, site: Site) -> Piece:
    """The cheapest way to write a term; its cost is IMPOSSIBLE where no operator does it."""
    source = site.facts.dtype(term.source)
    if site.wide == site.dtype and source in (None, site.dtype):
        return _written(term, site)
    # What it went through: the source, the widest type, and its own.
    kinds = dict.fromkeys([widest((source, site.dtype)), widest((source, site.wide))])
    narrow, *wide = (_between(term, site, source, kind) for kind in kinds)
    return min((narrow, *wide), key=lambda p: (site.has_bias and not site.hosts(p), p.cost.time))


def _between(term: Term, site: Site, source: int | None, kind: int | None) -> Piece:
    """A term computed in an element type, between a Cast to it and one to the tensor's own.

    In a type that is narrower than what it went through, operators accumulate or move elements.
    """
    narrow = kind != widest((kind, site.wide))
    piece = _written(term, site.computing(kind), _accumulates if narrow else _any)
    head: tuple[Step, ...] = ()
    tail: tuple[Step, ...] = ()
    dims = piece.made or tuple(site.shape or ())
    if source not in (None, kind):
        read = tuple(site.facts.shape(term.source) or dims)
        head = (_cast(read, source, kind),)
    if kind != site.dtype:
        tail = (_cast(tuple(site.shape or dims), kind, site.dtype),)
    return replace(
        piece,
        steps=(*head, *(replace(s, kind=kind) for s in piece.steps)),
        tail=(*(replace(s, kind=kind) for s in piece.tail), *tail),
        host=None if piece.host is None else piece.host + len(head),
        cost=total([piece.cost, *(s.cost for s in (*head, *tail))]),
        made=dims,
    )


def _cast(dims: Dims, source: int | None, kind: int | None) -> Step:
    cost = Cost(elements=2 * size(dims), nodes=1)
    return Step("Cast", dims, cost, {"to": kind}, kind=source)


def _any(piece: Piece) -> bool:
    return True


def _accumulates(piece: Piece) -> bool:
    """Whether what it computes is rounded once, at the end."""
    return not any(s.op in _ROUNDING for s in piece.steps)


def _written(term: Term, site: Site, accepts: Callable[[Piece], bool] = _any) -> Piece:
    """The cheapest way among those that are accepted."""
    if term.is_source:
        return Piece(term)
    best, least = Piece(term, cost=IMPOSSIBLE), math.inf
    for way in filter(accepts, _Writer(term, site).ways()):
        time = way.cost.time
        if site.has_bias and not site.hosts(way):
            # What does not take the bias in needs an Add behind it.
            time += Cost(elements=2 * site.elements, nodes=1).time
        if time < least:
            best, least = way, time
        if len(way.steps) <= 1 and not way.tail and (site.hosts(way) or not site.has_bias):
            break
    return best


class _Writer:
    """Writes one term. Dims are those of the frame's axes, before and after the operator."""

    def __init__(self, term: Term, site: Site) -> None:
        self.term, self.site = term, site
        self.axes = term.axes or ()
        self.source = self._source_dims()
        self.before = tuple(self._dim(e) for e in term.view)
        shown = len(self.axes) - term.hidden
        shape = site.shape
        self.after: Dims = tuple(
            1 if i >= shown else shape[i] if shape is not None else self._made(i)
            for i in range(len(self.axes))
        )

    def _source_dims(self) -> Dims:
        term = self.term
        shape = self.site.facts.shape(term.source)
        if shape is not None:
            return tuple(shape)
        dims: list[Dim] = [Extent(f"?{term.source}.{i}") for i in range(len(self.axes))]
        if term.channels is not None:
            dims[term.channels.axis] = term.channels.width
        return tuple(dims)

    def _dim(self, entry: Entry) -> Dim:
        if entry is None:
            return 1
        if isinstance(entry, int):
            return self.source[entry]
        dims = [self.source[i] for i in entry]
        if entry and all(isinstance(d, int) for d in dims):
            return math.prod(int(str(d)) for d in dims)
        return Extent(f"?{self.term.source}.{entry}")

    def _made(self, axis: int) -> Dim:
        channels = self.term.channels
        if channels is not None and channels.axis == axis:
            return channels.out
        dim, geometry = self.before[axis], self.axes[axis]
        if isinstance(dim, int):
            return geometry.length(dim)
        return dim.through(geometry) or Extent(f"?made.{axis}")

    # All ways, the likeliest first.

    def ways(self) -> Iterator[Piece]:
        """Ways to write the term."""
        term = self.term
        if term.axes is None:
            yield self._number()
            return
        if term.unit and term.is_pointwise:
            yield from self._plain()
            return
        if any(a.mean for a in self.axes):
            yield from self._averaged()
            return
        if term.is_diagonal:
            yield from self._scaled()
        conv_first = term.channels is None or term.channels.axis == 1
        kinds = [self._convolved, self._multiplied]
        for kind in kinds if conv_first and len(self.axes) > 2 else reversed(kinds):
            yield from kind()
        yield from self._moved()
        yield from self._whole()

    def _piece(
        self,
        steps: Sequence[Step],
        tail: Sequence[Step] = (),
        host: int | None = None,
        term: Term | None = None,
    ) -> Piece:
        cost = total(s.cost for s in (*steps, *tail))
        made = steps[-1].dims if steps else self.source
        return Piece(term or self.term, tuple(steps), tuple(tail), host, cost=cost, made=made)

    def _number(self) -> Piece:
        if self.term.unit:
            return Piece(self.term)
        if float(self.term.kernel()) == -1:
            return Piece(self.term, negative=True)
        cost = Cost(elements=2 * self.site.elements, weights=1, nodes=1)
        dims = self.site.shape or ()
        return self._piece([Step("Mul", dims, cost, {}, (Weight("scale", self.term.kernel),))])

    def _plain(self) -> Iterator[Piece]:
        """The source, its axes in another order."""
        shown = len(self.axes) - self.term.hidden
        view, target = self.term.view[:shown], self.after[:shown]
        tail = rearranged(self.source, view, target, self.site.opset)
        if tail is not None:
            yield self._piece((), tail)

    def _averaged(self) -> Iterator[Piece]:
        """First the means, in the source's own order of axes; then the rest of the term."""
        term = self.term
        chosen = [
            e for e, a in zip(term.view, self.axes, strict=True) if a.mean and isinstance(e, int)
        ]
        if len(chosen) < sum(a.mean for a in self.axes):
            return
        dims = tuple(1 if i in chosen else d for i, d in enumerate(self.source))
        cost = Cost(elements=size(self.source) + size(dims), nodes=1)
        rank = len(self.source)
        pooled = sorted(chosen) == list(range(2, rank)) and runs(
            "GlobalAveragePool", self.site.dtype
        )
        if pooled:
            step = Step("GlobalAveragePool", dims, cost)
        elif self.site.opset < 18:
            step = Step("ReduceMean", dims, cost, {"axes": sorted(chosen), "keepdims": 1})
        else:
            held = (Weight("axes", integers=tuple(sorted(chosen))),)
            step = Step("ReduceMean", dims, cost, {"keepdims": 1}, held)
        rest = _Writer(self._still(), self.site)
        rest.source = dims
        rest.before = tuple(rest._dim(e) for e in rest.term.view)
        for way in rest.ways():
            host = None if way.host is None else way.host + 1
            told = replace(term, channels=way.term.channels)
            yield self._piece((step, *way.steps), way.tail, host, told)

    def _still(self) -> Term:
        """What is left of the term when the means are there already."""
        term, shown = self.term, len(self.axes) - self.term.hidden
        gone = [i for i, a in enumerate(self.axes) if a.mean and i >= shown]
        kept = [i for i in range(len(self.axes)) if i not in gone]
        at = None if term.channels is None else term.channels.axis
        lead = 0 if at is None else 2
        places = tuple(lead + i - (at is not None and i > at) for i in gone)
        return replace(
            term,
            axes=tuple(Axis() if self.axes[i].mean else self.axes[i] for i in kept),
            view=tuple(term.view[i] for i in kept),
            hidden=term.hidden - len(gone),
            kernel=Lazy(lambda k: k.squeeze(places), term.kernel),
        )

    def _scaled(self) -> Iterator[Piece]:
        """A factor for each channel."""
        term, axes = self.term, self.axes
        head = rearranged(self.source, term.view, self.after, self.site.opset)
        if head is None:
            return
        elements = self.site.elements
        at = None if term.channels is None else term.channels.axis
        if (
            self.site.has_bias
            and at == 1
            and self.site.bias_axis in (None, 1)
            and len(axes) > 1
            and runs("BatchNormalization", self.site.dtype)
        ):
            yield self._piece((*head, self._normalization(elements)), host=len(head))
            return
        count = 1 if term.channels is None else term.channels.out
        shape = (count, *[1] * (len(axes) - 1 - at)) if at is not None else ()
        weight = Weight("scale", Lazy(lambda k: k.reshape(shape), term.kernel))
        cost = Cost(elements=2 * elements, weights=count, nodes=1)
        steps = (*head, Step("Mul", self.after, cost, {}, (weight,)))
        yield self._piece(steps)
        if at is not None and self.site.has_bias and self.site.wide != self.site.own:
            # The bias is added before a Cast rounds.
            zero = Weight("bias", Lazy(lambda: np.zeros(shape)))
            added = Step("Add", self.after, cost, {}, (zero,))
            yield self._piece((*steps, added), host=len(steps))

    def _normalization(self, elements: float) -> Step:
        """y = scale·x + bias, as a normalization by mean 0 and variance 1."""
        assert self.term.channels is not None
        width = self.term.channels.out
        roles = (
            ("weight", Lazy(lambda k: k.reshape(-1), self.term.kernel)),
            ("bias", Lazy(lambda: np.zeros(width))),
            ("mean", Lazy(lambda: np.zeros(width))),
            ("variance", Lazy(lambda: np.ones(width))),
        )
        cost = Cost(elements=2 * elements, weights=4 * width, nodes=1)
        held = tuple(Weight(r, v) for r, v in roles)
        return Step("BatchNormalization", self.after, cost, {"epsilon": 0.0}, held, weighted=True)

    # Matrices.

    def _multiplied(self) -> Iterator[Piece]:
        """x·W with the channels last, or W·x with them last but one."""
        term, rank = self.term, len(self.axes)
        if term.channels is None or not term.is_pointwise or term.channels.group > 1:
            return
        at, out, width = term.channels.axis, term.channels.out, term.channels.width
        others = [i for i in range(rank) if i != at]
        matrix = Lazy(lambda k: k.reshape(out, width), term.kernel)
        sides = [False, True] if at == rank - 1 or rank < 2 else [True, False]
        for left in sides:
            if left and not others:
                continue
            order = [*others[:-1], at, others[-1]] if left else [*others, at]
            yield from self._product(order, matrix, left=left)

    def _product(self, order: list[int], matrix: Lazy[Array], *, left: bool) -> Iterator[Piece]:
        head, tail = self._around(order)
        if head is None or tail is None or len(order) < 2:
            return
        assert self.term.channels is not None
        out, width = self.term.channels.out, self.term.channels.width
        dims = tuple(self.after[i] for i in order)
        cost = window_cost(self.site.elements, (out, width), 1, 1)
        cost += Cost(elements=size(self.source) + self.site.elements, nodes=1)
        if not left and len(order) == 2 and self.site.has_bias:
            step = Step(
                "Gemm", dims, cost, {"transB": 1}, (Weight("weight", matrix),), weighted=True
            )
            yield self._piece((*head, step), tail, len(head))
            return
        weight = Weight("weight", matrix if left else Lazy(lambda m: m.T, matrix))
        yield self._piece(
            (*head, Step("MatMul", dims, cost, {}, (weight,), left, weighted=True)), tail
        )

    def _whole(self) -> Iterator[Piece]:
        """A window over whole axes: they are flattened, and multiplied with a matrix."""
        term, channels = self.term, self.term.channels
        hidden = range(len(self.axes) - term.hidden, len(self.axes))
        if channels is None or channels.group > 1 or not term.hidden or term.fill is not None:
            return
        rest = [i for i in range(hidden.start) if i != channels.axis]
        if not all(self.axes[i].is_identity for i in rest):
            return
        lengths = [self.before[i] for i in hidden]
        entries = [term.view[i] for i in (channels.axis, *hidden)]
        if not all(isinstance(n, int) for n in lengths) or GROUPED in entries:
            return
        if any(self.axes[i].up > 1 or self.axes[i].edge != "zero" for i in hidden):
            return
        counts = [int(str(n)) for n in lengths]
        matrix = self._spread(counts, [self.axes[i] for i in hidden], len(rest))
        merged: list[int] = []
        for entry in entries:
            merged += [entry] if isinstance(entry, int) else entry or ()
        view: list[Entry] = [*(term.view[i] for i in rest), tuple(merged) or None]
        width = channels.width * math.prod(counts)
        target = (*(self.before[i] for i in rest), width)
        head = rearranged(self.source, tuple(view), target, self.site.opset)
        order = [*rest, channels.axis]
        tail = self._tail(order)
        if head is None or tail is None:
            return
        dims = tuple(self.after[i] for i in order)
        cost = window_cost(self.site.elements, (channels.out, width), 1, 1)
        cost += Cost(elements=size(self.source) + self.site.elements, nodes=1)
        if len(order) == 2 and self.site.has_bias:
            step = Step(
                "Gemm", dims, cost, {"transB": 1}, (Weight("weight", matrix),), weighted=True
            )
            yield self._piece((*head, step), tail, len(head))
        elif len(order) >= 2:
            weight = Weight("weight", Lazy(lambda m: m.T, matrix))
            yield self._piece(
                (*head, Step("MatMul", dims, cost, {}, (weight,), weighted=True)), tail
            )

    def _spread(self, lengths: list[int], axes: list[Axis], rest: int) -> Lazy[Array]:
        """[out, width, *taps] with one weight for every element of the axes: [out, features]."""
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

        def whole(kernel: Array) -> Array:
            held = kernel.reshape(*kernel.shape[:2], *kernel.shape[2 + rest :])
            spread = np.zeros((*held.shape[:2], *lengths))
            spread[at] = held[cut]
            return spread.reshape(held.shape[0], -1)

        return Lazy(whole, self.term.kernel)

    # Windows.

    def _convolved(self) -> Iterator[Piece]:
        """Conv or ConvTranspose, for a term that leaves at least one axis as it is."""
        laid = self._with_channels()
        if laid is None or laid.channels is None or laid.axes is None:
            return
        at = laid.channels.axis
        batches = [i for i, a in enumerate(laid.axes) if a.is_identity and i != at]
        batch = batches[0] if batches else None
        spatial = [i for i in range(len(laid.axes)) if i not in (at, batch)]
        if len(spatial) > 1:
            # New axes of extent 1 need not go through the operator.
            new = [i for i in spatial if laid.view[i] is None and laid.axes[i].is_identity]
            spatial = [i for i in spatial if i not in new] or spatial[:1]
        if not spatial and len(laid.axes) < 3:
            return
        if not 1 <= len(spatial) <= 3 or batch is None:
            return
        order = [batch, at, *spatial]
        head, tail = self._around(order)
        if head is None or tail is None:
            return
        axes = tuple(laid.axes[i] for i in spatial)
        ins = tuple(self.before[i] for i in order)
        outs = tuple(self.after[i] for i in order)
        # A kernel's taps are in the order of the frame, and the batch has one.
        lead = [i for i in range(len(laid.axes)) if i != at]
        kernel = laid.kernel
        if batch is not None:
            gone = tuple(2 + n for n, i in enumerate(lead) if i not in spatial)
            kernel = Lazy(lambda k: k.squeeze(gone), kernel)
        window = Window(laid, axes, kernel, ins, outs, self.site)
        steps = window.steps()
        if steps is not None:
            every = (*head, *steps)
            yield self._piece(every, tail, len(every) - 1, laid)

    def _with_channels(self) -> Term | None:
        """The term with channels; a kernel that is the same for all is taken for each of them."""
        term = self.term
        if term.channels is not None:
            return term
        for at in (1, *range(len(self.axes))):
            if at < len(self.axes) and self.axes[at].is_identity:
                width = self.before[at]
                if isinstance(width, int):
                    found = term.mixing(at, width)
                    return None if isinstance(found, Obstacle) else found
        return None

    def _around(self, order: list[int]) -> tuple[tuple[Step, ...] | None, tuple[Step, ...] | None]:
        """Steps that bring the source into an order of the frame's axes, and the result back."""
        if self.term.is_plain and order == list(range(len(self.axes))):
            return (), ()
        view = tuple(self.term.view[i] for i in order)
        target = tuple(self.before[i] for i in order)
        return rearranged(self.source, view, target, self.site.opset), self._tail(order)

    def _tail(self, order: list[int]) -> tuple[Step, ...] | None:
        shown = len(self.axes) - self.term.hidden
        back = tuple(order.index(i) if i in order else None for i in range(shown))
        dims = tuple(self.after[i] for i in order)
        return rearranged(dims, back, self.after[:shown], self.site.opset)

    # Movement.

    def _moved(self) -> Iterator[Piece]:
        """Pad and Slice alone, in whatever order the axes are."""
        term = self.term
        if not term.unit or any(a.taps > 1 or a.up > 1 for a in self.axes):
            return
        if term.fill is not None and term.channels is not None:
            return
        head = rearranged(self.source, term.view, self.before, self.site.opset)
        if head is None:
            return
        steps, dims = list(head), self.before
        for edge in dict.fromkeys(a.edge for a in self.axes):
            pads = [
                (max(-a.offset, 0), max(a.extent + a.offset, 0)) if a.edge == edge else (0, 0)
                for a in self.axes
            ]
            if any(b or e for b, e in pads):
                wider = grown(dims, pads)
                mode, value = (edge, None) if edge != "zero" else ("constant", term.fill)
                steps.append(padded(dims, pads, mode, wider, self.site.opset, value))
                dims = wider
        cuts = {}
        for i, axis in enumerate(self.axes):
            end = min(axis.extent + axis.offset, 0)
            if axis.stride > 1 or axis.offset > 0 or end < 0:
                cuts[i] = (max(axis.offset, 0), end if end < 0 else FAR, axis.stride)
        if cuts:
            steps.append(sliced(cuts, self.after, self.site.opset))
        shown = len(self.axes) - term.hidden
        tail = rearranged(self.after, tuple(range(shown)), self.after[:shown], self.site.opset)
        if tail is not None:
            yield self._piece(steps, tail)
