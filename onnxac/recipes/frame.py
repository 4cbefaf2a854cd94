"""One term in its frame: extents of the axes before and after the operator, and what is around it.

An operator has its own order of axes: Conv wants [batch, channels, spatial…], x·W wants the
channels last, W·x last but one. So a way to write a term is: bring the source into that order,
apply the operator, bring the result into the order of the tensor's axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnxac.algebra import Term
from onnxac.algebra.layout import Entry
from onnxac.inference.dims import Dim, Extent
from onnxac.recipes.cost import total
from onnxac.recipes.site import Piece, Site
from onnxac.recipes.steps import Dims, Step, rearranged


class Frame:
    """A term to be written. Dims are those of the frame's axes, before and after the operator."""

    def __init__(self, term: Term, site: Site) -> None:
        self.term, self.site = term, site
        self.axes = term.axes or ()
        self.source = self._source_dims()
        self.before = tuple(self.dim(e) for e in term.view)
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
        dims: list[Dim] = [
            Extent(f"?{term.source}.{i}", batch=not i) for i in range(len(self.axes))
        ]
        if term.channels is not None:
            dims[term.channels.axis] = term.channels.width
        return tuple(dims)

    def dim(self, entry: Entry) -> Dim:
        """The extent of an axis that shows these axes of the source."""
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

    def piece(
        self,
        steps: Sequence[Step],
        tail: Sequence[Step] = (),
        host: int | None = None,
        term: Term | None = None,
    ) -> Piece:
        """A way to write the term; `term` where its channels are told otherwise."""
        cost = total(s.cost for s in (*steps, *tail))
        made = steps[-1].dims if steps else self.source
        return Piece(term or self.term, tuple(steps), tuple(tail), host, cost=cost, made=made)

    def around(self, order: list[int]) -> tuple[tuple[Step, ...] | None, tuple[Step, ...] | None]:
        """Steps that bring the source into an order of the frame's axes, and the result back."""
        if self.term.is_plain and order == list(range(len(self.axes))):
            return (), ()
        view = tuple(self.term.view[i] for i in order)
        target = tuple(self.before[i] for i in order)
        return rearranged(self.source, view, target, self.site.opset), self.tail(order)

    def tail(self, order: list[int], unit: int | None = None) -> tuple[Step, ...] | None:
        """Steps that bring a result whose axes are in this order into that of the tensor.

        unit  where among them it has one more axis, of extent 1
        """
        shown = len(self.axes) - self.term.hidden
        dims: list[Dim] = [self.after[i] for i in order]
        places = list(range(len(order)))
        if unit is not None:
            dims.insert(unit, 1)
            places = [n + (n >= unit) for n in places]
        back = tuple(places[order.index(i)] if i in order else None for i in range(shown))
        return rearranged(tuple(dims), back, self.after[:shown], self.site.opset)
