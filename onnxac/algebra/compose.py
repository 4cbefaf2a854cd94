"""Putting the definition of a tensor into that of its reader: composition, and its border rule.

Where the reader pads, the padding has to be what the definition would compute there, and that
is looked at position by position (`Axis.keeps_border_of`): where no tap meets data and the bias
is zero, or is exactly the constant that the padding holds (the border of DBB and ECBSR). Padding
by reflection or repetition commutes with any map of channels. Everything else is right inside
and wrong at the border, and therefore refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxac.algebra.add import is_fill, taps, tidy
from onnxac.algebra.axis import Axis, Sampling
from onnxac.algebra.frames import (
    Frame,
    Shapes,
    channel_at,
    extent,
    extents,
    frame_of,
    number,
    swapped,
)
from onnxac.algebra.kernel import Array
from onnxac.algebra.layout import GROUPED, Dim, Entry, View, named, settled, through
from onnxac.algebra.lazy import Lazy
from onnxac.algebra.products import kernel_of, marks_of, matched, respond
from onnxac.algebra.term import Bias, Channels, Equal, Obstacle, Sum, Term


def substitute(
    reader: Sum, name: str, inner: Sum, shapes: Shapes, result: str, tolerance: float
) -> Sum | Obstacle:
    """`reader`, the definition of `result`, with the definition `inner` of tensor `name` put in.

    shapes     shape of a tensor, None where its rank is unknown
    tolerance  how far a bias may be from the value in the padding, relative to its size
    """
    terms: list[Term] = []
    biases = list(reader.biases)
    for outer in reader.terms:
        if outer.source != name:
            terms.append(outer)
            continue
        for term in inner.terms:
            found = _Pair(outer, term, inner, shapes, result, tolerance).composed()
            if isinstance(found, Obstacle):
                return found
            terms.append(found)
        for bias in inner.biases:
            answer = respond(outer, bias, shapes(name))
            if isinstance(answer, Obstacle):
                return answer
            biases.append(answer)
    made = Sum(tidy(terms), tuple(biases), reader.steps | inner.steps)
    if len(made.channel_axes) > 1:
        return Obstacle("layout", f"the channels of {name} lie on another axis than its sum's")
    return made


@dataclass(frozen=True)
class _Pair:
    """A term that reads a tensor, and a term of that tensor's definition."""

    outer: Term
    inner: Term
    definition: Sum
    shapes: Shapes
    result: str
    tolerance: float

    def composed(self) -> Term | Obstacle:
        """outer∘inner, or why not."""
        outer, inner = self.outer, self.inner
        if inner.is_source and len(self.definition.terms) == 1 and not self.definition.biases:
            return replace(
                outer, source=inner.source, marks=marks_of(outer, inner, outer.axes or ())
            )
        if outer.axes is None or outer.is_source:
            return self._scaled(inner, outer, equals=self._equal())
        if inner.axes is None:
            fill = None if _beyond(outer, self.shapes) else outer.fill
            return self._border(outer, inner) or self._scaled(
                outer, inner, source=inner.source, fill=fill, equals=None
            )
        found = self._laid(outer, inner)
        return found if isinstance(found, Obstacle) else self._framed(*found)

    def _equal(self) -> Equal | None:
        """The tensor in between, where the reader takes it as it is."""
        if self.outer.is_source and len(self.definition.terms) == 1:
            return Equal(self.outer.source, self.definition.biases)
        return None

    @staticmethod
    def _scaled(term: Term, factor: Term, **changes: Any) -> Term:
        """A term times a number, with other changes."""
        changes["marks"] = marks_of(factor, term, term.axes or ())
        if not factor.unit:
            changes["kernel"] = Lazy(lambda k, n: k * n, term.kernel, factor.kernel)
            changes["unit"] = False
        return replace(term, **changes)

    # Both in one layout.

    def _laid(self, outer: Term, inner: Term) -> tuple[Term, Term] | Obstacle:
        """Both with their channels on the same axis of the tensor in between, if any has some."""
        name = outer.source
        if outer.channels is not None:
            entry = outer.view[outer.channels.axis]
            unfolded = self._unfolded(outer, inner, entry)
            if unfolded is not None:
                return unfolded
            if inner.channels is not None and entry != inner.channels.axis:
                other = swapped(outer, inner.channels.axis, extents(outer, self.shapes))
                if other is None or other.channels is None:
                    return Obstacle("layout", f"it mixes channels on different axes of {name}")
                return self._laid(other, inner)
            if not isinstance(entry, int):
                return (outer, inner) if entry is None else self._mismatch()
            if inner.channels is None and not inner.axes[entry].is_identity:  # type: ignore[index]
                width = extent(inner.view[entry], self.shapes(inner.source))
                found = inner.mixing(entry, width)
                return found if isinstance(found, Obstacle) else (outer, found)
            return outer, inner
        if inner.channels is not None:
            if inner.channels.axis not in outer.view:
                return self._mismatch()
            at = outer.view.index(inner.channels.axis)
            assert outer.axes is not None
            if not outer.axes[at].is_identity:
                found = outer.mixing(at, inner.channels.out)
                return found if isinstance(found, Obstacle) else (found, inner)
        return outer, inner

    def _border(self, outer: Term, inner: Term) -> Obstacle | None:
        return _border(outer, inner, self.definition, self.shapes, self.tolerance)

    def _mismatch(self) -> Obstacle:
        return Obstacle("layout", f"{self.outer.source} is rearranged between the two")

    def _unfolded(
        self, outer: Term, inner: Term, entry: Any
    ) -> tuple[Term, Term] | Obstacle | None:
        """A map of features that were several axes before: a window over all of them."""
        assert outer.channels is not None
        assert outer.axes is not None
        if not isinstance(entry, int) or not isinstance(inner.view[entry], tuple):
            return None
        if not (inner.is_pointwise and inner.channels is None and inner.hidden == 0):
            return self._mismatch()
        merged = inner.view[entry]
        assert isinstance(merged, tuple)
        shape = self.shapes(inner.source)
        lengths = [None if shape is None else number(shape[i]) for i in merged]
        if merged == GROUPED or None in lengths or outer.channels.group > 1:
            return self._mismatch()
        sizes = [n for n in lengths if n is not None]
        out, kept = outer.channels.out, list(taps(outer.axes, outer.channels))
        first, *rest = merged
        wide = len(kept)
        channels = Channels(outer.channels.axis, out, sizes[0], 1)

        def spread(kernel: Array) -> Array:
            # [out, all features, *taps] → [out, first axis, *taps, other axes]
            parts = kernel.reshape(out, *sizes, *(a.taps for a in kept))
            behind = range(1 + len(sizes), 1 + len(sizes) + wide)
            return parts.transpose(0, 1, *behind, *range(2, 1 + len(sizes)))

        window = tuple(Axis(taps=n, extent=1 - n) for n in sizes[1:])
        # Both terms are written over the source itself: the outer reads its axes by name.
        view: list[Any] = []
        for at, own in enumerate(outer.view):
            named_there = first if at == outer.channels.axis else through(own, inner.view)
            view.append(named_there)
        opened = replace(
            outer,
            source=inner.source,
            axes=(*outer.axes, *window),
            view=(*view, *rest),
            depth=inner.depth,
            hidden=outer.hidden + len(rest),
            channels=channels,
            unit=False,
            kernel=Lazy(spread, outer.kernel),
            marks=tuple(replace(m, axes=(*m.axes, *window)) for m in outer.marks),
        )
        rank = len(shape or ())
        return opened, replace(
            inner,
            axes=(Axis(),) * rank,
            view=tuple(range(rank)),
            depth=rank,
            marks=tuple(replace(m, axes=(Axis(),) * rank) for m in inner.marks),
            kernel=Lazy(lambda k: k.reshape((1,) * rank), inner.kernel),
        )

    # Composition.

    def _framed(self, outer: Term, inner: Term) -> Term | Obstacle:
        assert outer.axes is not None
        assert inner.axes is not None
        if inner.channels is not None and inner.channels.axis not in named(outer.view):
            return self._mismatch()
        frame = frame_of(outer, inner)
        if isinstance(frame, Obstacle):
            return frame
        beyond = _beyond(outer, self.shapes)
        obstacle = (
            _average(self.outer.source, frame)
            or _spread(self.outer.source, self.definition, frame)
            or self._border(outer, inner)
        )
        if obstacle:
            return obstacle
        axes = tuple(
            replace(o.after(i), edge=o.edge) if n in beyond else o.after(i)
            for n, (o, i) in enumerate(zip(frame.outer, frame.inner, strict=True))
        )
        both = matched(outer, inner, frame)
        group = 1
        channels = None
        if both[0].channels is not None and both[1].channels is not None:
            group = math.gcd(both[0].channels.group, both[1].channels.group)
            axis = channel_at(outer, inner)
            channels = Channels(axis, both[0].channels.out, both[1].channels.width, group)
        view = self._settled(frame.view, inner.source, len(axes) - frame.hidden, channels)
        made = Term(
            inner.source,
            kernel_of(*both, frame, channels),
            axes,
            view,
            inner.depth,
            frame.hidden,
            channels,
            outer.unit and inner.unit,
            None if beyond else inner.fill,
            marks_of(outer, inner, axes, group, frame),
            self._equal(),
        )
        return made.simplified()

    def _settled(self, view: View, source: str, rank: int, channels: Channels | None) -> View:
        """The view, with what was regrouped and is no more."""
        shape, target = self.shapes(source), self.shapes(self.result)
        if shape is None or target is None or len(view) != rank:
            return view

        def extent(axis: int) -> Dim:
            if channels is not None and axis == channels.axis:
                return channels.width
            return target[axis]

        return settled(view, shape, extent)

    # What stands in the way.


def _border(
    outer: Term, inner: Term, definition: Sum, shapes: Shapes, tolerance: float
) -> Obstacle | None:
    """The border rule: padding that the outer reads must be what the inner would compute."""
    beyond = _beyond(outer, shapes)
    name = outer.source
    if not beyond or outer.axes is None:
        return None
    if any(t.fill is not None for t in definition.terms):
        return Obstacle("border", f"padding reads past {name}, whose own border is not zero")
    for at in beyond if inner.axes is not None else ():
        entry = outer.view[at]
        assert isinstance(entry, int)
        assert inner.axes is not None
        source = extent(inner.view[entry], shapes(inner.source))
        if not inner.axes[entry].keeps_border_of(outer.axes[at], source):
            return Obstacle(
                "border",
                f"padding reads past the border of {name}, which sums over neighbours "
                "or was cropped: it would compute something else than that padding there",
            )
    if all(outer.axes[at].edge != "zero" for at in beyond):
        return None
    along = None if outer.channels is None else outer.view[outer.channels.axis]
    if is_fill(_total(definition.biases, along), outer.fill, tolerance):
        return None
    return Obstacle(
        "border",
        f"padding reads past the border of {name}: its bias is not "
        + ("zero" if outer.fill is None else "the constant that is there"),
    )


def _total(biases: Sequence[Bias], axis: Entry) -> Lazy[Array] | None:
    """Sum of the biases along one axis; NaN where one varies along another, None where none is."""
    if not biases:
        return None

    def total(*values: Array) -> Array:
        summed = np.zeros(())
        for bias, held in zip(biases, values, strict=True):
            if bias.axis in (None, axis):
                summed = summed + held
            else:
                summed = summed + (held.flat[0] if np.all(held == held.flat[0]) else np.nan)
        return np.asarray(summed)

    return Lazy(total, *(b.values for b in biases))


def _beyond(outer: Term, shapes: Shapes) -> dict[int, int | None]:
    """Axes of the outer's frame that read past its source's edge, with the source's extent."""
    lengths = extents(outer, shapes)
    return {
        at: length
        for at, (axis, length) in enumerate(zip(outer.axes or (), lengths, strict=True))
        if axis.reads_beyond(length)
    }


def _average(name: str, frame: Frame) -> Obstacle | None:
    for outer, inner in zip(frame.outer, frame.inner, strict=True):
        if outer.mean and not (inner.is_identity or inner.mean or inner.repeats):
            return Obstacle("average", f"it averages {name}, which looks at neighbours and borders")
        if inner.mean and not (outer.is_identity or outer.mean):
            return Obstacle("average", f"{name} is an average over all positions")
    return None


def _spread(name: str, definition: Sum, frame: Frame) -> Obstacle | None:
    """Transposed convolutions: what a zero between two elements stands for."""
    for outer, inner in zip(frame.outer, frame.inner, strict=True):
        if outer.up > 1 and (definition.biases or not inner.is_identity):
            return Obstacle(
                "spread",
                f"zeros are put between the elements of {name}, which has a bias or looks "
                "at neighbours",
            )
        if outer.sampling is not None and not (
            inner.is_identity
            or (inner.repeats and outer.sampling == Sampling(outer.sampling.factor))
        ):
            return Obstacle("resize", f"it resizes {name}, which looks at neighbours or skips some")
        if inner.up > 1 and outer.stride > 1:
            return Obstacle("spread", f"it strides over {name}, a transposed convolution")
    return None
