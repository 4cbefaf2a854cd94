"""The ways to write one term: each operator that can do it, on the axes that it wants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from onnxac.algebra import Axis, Lazy, Obstacle, Term
from onnxac.recipes.cost import Cost, flat, reluctant
from onnxac.recipes.frame import Frame
from onnxac.recipes.matrices import flattened, multiplied
from onnxac.recipes.site import Piece
from onnxac.recipes.steps import (
    FAR,
    Step,
    Weight,
    grown,
    padded,
    rearranged,
    resized,
    size,
    sliced,
)
from onnxac.recipes.upsampling import upsampled
from onnxac.recipes.windows import Window

_Steps = tuple[Step, ...]
_Around = tuple[_Steps, _Steps, Window]


class Writer(Frame):
    """Writes one term."""

    def ways(self) -> Iterator[Piece]:
        """All ways to write the term, the likeliest first."""
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
        if any(a.sampling for a in self.axes):
            # A window on single positions is best written at the source's own size.
            pointwise = all(a.is_sampling for a in self.axes if a.sampling)
            yield from self._resized() if pointwise else self._convolved()
            return
        if term.is_diagonal:
            yield from self._scaled()
        conv_first = term.channels is None or term.channels.axis == 1
        kinds = [self._convolved(), multiplied(self)]
        for kind in kinds if conv_first and len(self.axes) > 2 else reversed(kinds):
            yield from kind
        yield from self._moved()
        yield from flattened(self)

    def _number(self) -> Piece:
        if self.term.unit:
            return Piece(self.term)
        if float(self.term.kernel()) == -1:
            return Piece(self.term, negative=True)
        cost = Cost(elements=2 * self.site.elements, weights=1, nodes=1)
        dims = self.site.shape or ()
        return self.piece([Step("Mul", dims, cost, {}, (Weight("scale", self.term.kernel),))])

    def _plain(self) -> Iterator[Piece]:
        """The source, its axes in another order."""
        shown = len(self.axes) - self.term.hidden
        view, target = self.term.view[:shown], self.after[:shown]
        tail = rearranged(self.source, view, target, self.site.opset)
        if tail is not None:
            yield self.piece((), tail)

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
        pooled = sorted(chosen) == list(range(2, rank)) and self.site.runs("GlobalAveragePool")
        if pooled:
            step = Step("GlobalAveragePool", dims, cost)
        elif self.site.opset < 18:
            step = Step("ReduceMean", dims, cost, {"axes": sorted(chosen), "keepdims": 1})
        else:
            held = (Weight("axes", integers=tuple(sorted(chosen))),)
            step = Step("ReduceMean", dims, cost, {"keepdims": 1}, held)
        still = self._still()
        if still.channels is not None and still.channels.axis >= len(still.view):
            # Operators that don't fit: of a mean of all axes, no channels are left to mix.
            return
        rest = Writer(still, self.site)
        rest.source = dims
        rest.before = tuple(rest.dim(e) for e in rest.term.view)
        for way in rest.ways():
            host = None if way.host is None else way.host + 1
            told = replace(term, channels=way.term.channels)
            yield self.piece((step, *way.steps), way.tail, host, told)

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
            and self.site.runs("BatchNormalization")
        ):
            yield self.piece((*head, self._normalization(elements)), host=len(head))
            return
        count = 1 if term.channels is None else term.channels.out
        shape = (count, *[1] * (len(axes) - 1 - at)) if at is not None else ()
        weight = Weight("scale", Lazy(lambda k: k.reshape(shape), term.kernel))
        cost = Cost(elements=2 * elements, weights=count, nodes=1)
        steps = (*head, Step("Mul", self.after, cost, {}, (weight,)))
        yield self.piece(steps)
        if at is not None and self.site.has_bias and self.site.wide != self.site.own:
            # The bias is added before a Cast rounds.
            zero = Weight("bias", Lazy(lambda: np.zeros(shape)))
            added = Step("Add", self.after, cost, {}, (zero,))
            yield self.piece((*steps, added), host=len(steps))

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
        head, tail = self.around(order)
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
        shown = len(laid.axes) - laid.hidden
        if len(spatial) == 1 and spatial[0] < shown:
            head, tail, window = self._along_two(order, head, tail, window)
        if any(a.sampling for a in axes):
            for upsampling, host, told in upsampled(window, spatial):
                yield self.piece((*head, *upsampling), tail, len(head) + host, told)
            return
        steps = window.steps()
        if steps is not None:
            if any(i >= shown and laid.axes[i].taps > 1 for i in spatial):
                steps = [replace(s, cost=flat(s.cost)) if s.weighted else s for s in steps]
            every = (*head, *steps)
            yield self.piece(every, tail, len(every) - 1, laid)

    def _along_two(self, order: list[int], head: _Steps, tail: _Steps, window: Window) -> _Around:
        """The window over an axis of extent 1 too, where the source has one and no step is added.

        That is what runtimes are quicker with: see `cost`.
        """
        named = [e for e in self.term.view if e is not None]
        if 1 in self.source and len(named) < len(self.source):
            for place in (3, 2):
                view = [self.term.view[i] for i in order]
                ins = [self.before[i] for i in order]
                view.insert(place, None)
                ins.insert(place, 1)
                first = rearranged(self.source, tuple(view), tuple(ins), self.site.opset)
                last = self.tail(order, unit=place)
                if first is None or last is None:
                    continue
                if len(first) + len(last) <= len(head) + len(tail):
                    return first, last, window.with_unit(place)
        return head, tail, window

    def _resized(self) -> Iterator[Piece]:
        """First the rest of the term, at the source's own size; then what makes it longer."""
        term = self.term
        shown = len(self.axes) - term.hidden
        if any(a.sampling for a in self.axes[shown:]):
            return
        rest = replace(term, axes=tuple(Axis() if a.sampling else a for a in self.axes))
        shape = tuple(
            self.before[i] if a.sampling else self.after[i] for i, a in enumerate(self.axes[:shown])
        )
        last = resized(shape, self.axes[:shown], self.site.opset)
        if last is None or not self.site.runs("Resize"):
            return
        for way in Writer(rest, self.site.of_shape(shape)).ways():
            told = replace(term, channels=way.term.channels)
            steps = way.steps
            if any(s.weighted for s in steps):
                steps = tuple(replace(s, cost=reluctant(s.cost)) for s in steps)
            yield self.piece(steps, (*way.tail, last), way.host, told)

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
            yield self.piece(steps, tail)
