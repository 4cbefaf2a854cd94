"""Putting the definition of a tensor into that of its reader: composition, and its border rule.

Where the reader pads, the padding has to be what the definition would compute there, and that
is looked at position by position (`Axis.keeps_border_of`): where no tap meets data and the bias
is zero, or is exactly the constant that the padding holds (the border of DBB and ECBSR). Padding
by reflection or repetition commutes with any map of channels. Everything else is right inside
and wrong at the border, and therefore refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxac.algebra import kernel as kernels
from onnxac.algebra.add import is_fill, taps, tidy
from onnxac.algebra.axis import Axis
from onnxac.algebra.kernel import Array
from onnxac.algebra.layout import GROUPED, Dim, Entry, View, is_ordered, named, settled, through
from onnxac.algebra.lazy import Lazy
from onnxac.algebra.term import Bias, Channels, Equal, Mark, Obstacle, Sum, Term

# A branch's marks multiply in compositions of sums; past this many they are told as one.
_MAX_MARKS = 64

Shapes = Callable[[str], "Sequence[Dim] | None"]


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


def extents(term: Term, shapes: Shapes) -> list[int | None]:
    """Extents of the term's source along the axes of its frame, None where dynamic."""
    shape = shapes(term.source)
    if term.axes is None:
        return [] if shape is None else [_number(d) for d in shape]
    return [_extent(entry, shape) for entry in term.view]


def _extent(entry: Any, shape: Sequence[Dim] | None) -> int | None:
    if entry is None:
        return 1
    if shape is None or entry == GROUPED:
        return None
    if isinstance(entry, int):
        return _number(shape[entry])
    found = [_number(shape[i]) for i in entry]
    return None if None in found else math.prod(n for n in found if n is not None)


def _number(dim: Dim) -> int | None:
    return dim if isinstance(dim, int) else None


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
            return replace(outer, source=inner.source, marks=_marks(outer, inner, outer.axes or ()))
        if outer.axes is None or outer.is_source:
            return replace(self._scaled(inner, outer), equals=self._equal())
        if inner.axes is None:
            fill = None if _beyond(outer, self.shapes) else outer.fill
            return self._border(outer, inner) or replace(
                self._scaled(outer, inner), source=inner.source, fill=fill, equals=None
            )
        found = self._laid(outer, inner)
        return found if isinstance(found, Obstacle) else self._framed(*found)

    def _equal(self) -> Equal | None:
        """The tensor in between, where the reader takes it as it is."""
        if self.outer.is_source and len(self.definition.terms) == 1:
            return Equal(self.outer.source, self.definition.biases)
        return None

    @staticmethod
    def _scaled(term: Term, factor: Term) -> Term:
        """A term times a number."""
        if factor.unit:
            return replace(term, marks=_marks(factor, term, term.axes or ()))
        return replace(
            term,
            unit=False,
            kernel=Lazy(lambda k, n: k * n, term.kernel, factor.kernel),
            marks=_marks(factor, term, term.axes or ()),
            equals=None,
        )

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
                swapped = _swapped(outer, inner.channels.axis, extents(outer, self.shapes))
                if swapped is None or swapped.channels is None:
                    return Obstacle("layout", f"it mixes channels on different axes of {name}")
                return self._laid(swapped, inner)
            if not isinstance(entry, int):
                return (outer, inner) if entry is None else self._mismatch()
            if inner.channels is None and not inner.axes[entry].is_identity:  # type: ignore[index]
                width = _extent(inner.view[entry], self.shapes(inner.source))
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
        lengths = [None if shape is None else _number(shape[i]) for i in merged]
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
        frame = _frame(outer, inner)
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
        both = _matched(outer, inner, frame)
        group = 1
        channels = None
        if both[0].channels is not None and both[1].channels is not None:
            group = math.gcd(both[0].channels.group, both[1].channels.group)
            axis = _channel_at(outer, inner)
            channels = Channels(axis, both[0].channels.out, both[1].channels.width, group)
        view = self._settled(frame.view, inner.source, len(axes) - frame.hidden, channels)
        made = Term(
            inner.source,
            _kernel(*both, frame, channels),
            axes,
            view,
            inner.depth,
            frame.hidden,
            channels,
            outer.unit and inner.unit,
            None if beyond else inner.fill,
            _marks(outer, inner, axes, group, frame),
            self._equal(),
        )
        return made.shown()

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
        source = _extent(inner.view[entry], shapes(inner.source))
        if not inner.axes[entry].keeps_border_of(outer.axes[at], source):
            return Obstacle(
                "border",
                f"padding reads past the border of {name}, which sums over neighbours "
                "or was cropped: it would compute something else than that padding there",
            )
    if all(outer.axes[at].edge != "zero" for at in beyond):
        return None
    biases = definition.biases
    total = Lazy(lambda *b: np.asarray(sum(b)), *(b.values for b in biases))
    if is_fill(total if biases else None, outer.fill, tolerance):
        return None
    return Obstacle(
        "border",
        f"padding reads past the border of {name}: its bias is not "
        + ("zero" if outer.fill is None else "the constant that is there"),
    )


def _beyond(outer: Term, shapes: Shapes) -> dict[int, int | None]:
    """Axes of the outer's frame that read past its source's edge, with the source's extent."""
    lengths = extents(outer, shapes)
    return {
        at: length
        for at, (axis, length) in enumerate(zip(outer.axes or (), lengths, strict=True))
        if axis.reads_beyond(length)
    }


@dataclass(frozen=True)
class _Frame:
    """The common frame: for each axis, the outer's geometry, the inner's, and the view.

    at  for each axis of the frame, the inner's axis, None where it has none
    """

    outer: tuple[Axis, ...]
    inner: tuple[Axis, ...]
    view: View
    hidden: int
    at: tuple[int | None, ...]


def _frame(outer: Term, inner: Term) -> _Frame | Obstacle:
    """The outer's axes, and behind them what the inner alone sums over.

    Axes of the tensor in between that the outer does not name have extent 1. They stay, hidden,
    where the inner has more than one tap along them.
    """
    assert outer.axes is not None
    assert inner.axes is not None
    mismatch = Obstacle("layout", f"{outer.source} is rearranged between the two")
    outers: list[Axis] = list(outer.axes)
    inners: list[Axis] = []
    view: list[Entry] = []
    at: list[int | None] = []
    for axis, entry in zip(outer.axes, outer.view, strict=True):
        one = entry if isinstance(entry, int) else None
        inners.append(Axis() if one is None else inner.axes[one])
        view.append(through(entry, inner.view))
        at.append(one)
        if isinstance(entry, tuple) and not (axis.is_identity and _is_still(inner, entry)):
            return mismatch
        if one is not None and isinstance(inner.view[one], tuple) and not axis.is_identity:
            return mismatch
    if GROUPED in view and not (
        is_ordered(outer.view)
        and is_ordered(inner.view)
        and not outer.hidden
        and inner.is_pointwise
        and outer.is_pointwise
    ):
        return mismatch
    seen = set(named(outer.view))
    hidden = outer.hidden
    for number, geometry in enumerate(inner.axes):
        if number not in seen and not geometry.is_identity:
            outers.append(Axis())
            inners.append(geometry)
            view.append(inner.view[number])
            at.append(number)
            hidden += 1
    return _Frame(tuple(outers), tuple(inners), tuple(view), hidden, tuple(at))


def _is_in_order(term: Term) -> bool:
    """Whether the term leaves every element where it is in the source's order."""
    return not term.hidden and term.is_pointwise and is_ordered(term.view)


def _is_still(inner: Term, entry: tuple[int, ...]) -> bool:
    """Whether the inner leaves axes that are merged or regrouped behind it as they are."""
    assert inner.axes is not None
    merged = entry or tuple(range(len(inner.axes) - inner.hidden))
    mixed = inner.channels is not None and inner.channels.axis in entry
    if entry == GROUPED:
        return inner.hidden == 0 and inner.is_pointwise
    return not mixed and all(inner.axes[i].is_identity for i in merged)


def _channel_at(outer: Term, inner: Term) -> int:
    """The axis of the common frame that channels lie on."""
    if outer.channels is not None:
        return outer.channels.axis
    assert inner.channels is not None
    return outer.view.index(inner.channels.axis)


def _swapped(outer: Term, wanted: int, lengths: Sequence[int | None]) -> Term | None:
    """A window over whole axes, with another one of them taken as its channels.

    Where every element of two axes has a weight of its own, it does not matter which of them
    is called the channels.
    """
    if outer.channels is None or outer.axes is None or outer.channels.group > 1:
        return None
    if wanted not in outer.view:
        return None
    at, axis = outer.view.index(wanted), outer.channels.axis
    here, length = outer.axes[at], lengths[at]
    whole = length is not None and here == Axis(taps=length, extent=1 - length)
    if at < len(outer.axes) - outer.hidden or not whole or length is None:
        return None
    width = outer.channels.width
    view, axes = list(outer.view), list(outer.axes)
    view[at], view[axis] = view[axis], view[at]
    axes[at] = Axis(taps=width, extent=1 - width)
    # The kernel's dims are [out, width, *taps without the channels'].
    place = 2 + at - (at > axis)
    return replace(
        outer,
        axes=tuple(axes),
        view=tuple(view),
        channels=replace(outer.channels, width=length),
        kernel=Lazy(lambda k: np.swapaxes(k, 1, place), outer.kernel),
        marks=tuple(replace(m, axes=tuple(axes)) for m in outer.marks),
    )


def _average(name: str, frame: _Frame) -> Obstacle | None:
    for outer, inner in zip(frame.outer, frame.inner, strict=True):
        if outer.mean and not (inner.is_identity or inner.mean):
            return Obstacle("average", f"it averages {name}, which looks at neighbours and borders")
        if inner.mean and not (outer.is_identity or outer.mean):
            return Obstacle("average", f"{name} is an average over all positions")
    return None


def _spread(name: str, definition: Sum, frame: _Frame) -> Obstacle | None:
    """Transposed convolutions: what a zero between two elements stands for."""
    for outer, inner in zip(frame.outer, frame.inner, strict=True):
        if outer.up > 1 and (definition.biases or not inner.is_identity):
            return Obstacle(
                "spread",
                f"zeros are put between the elements of {name}, which has a bias or looks "
                "at neighbours",
            )
        if inner.up > 1 and outer.stride > 1:
            return Obstacle("spread", f"it strides over {name}, a transposed convolution")
    return None


# Kernels.


def _matched(outer: Term, inner: Term, frame: _Frame) -> tuple[Term, Term]:
    """Both with channels, if one of them has some."""
    if outer.channels is not None and inner.channels is None:
        entry = outer.view[outer.channels.axis]
        if isinstance(entry, int):
            found = inner.mixing(entry, outer.channels.width)
            assert isinstance(found, Term)
            return outer, found
        width = outer.channels.width
        return outer, replace(
            inner,
            channels=Channels(-1, width, width, width),
            kernel=Lazy(lambda k: np.tile(k, (width, 1, *[1] * k.ndim)), inner.kernel),
        )
    if inner.channels is not None and outer.channels is None:
        found = outer.mixing(outer.view.index(inner.channels.axis), inner.channels.out)
        assert isinstance(found, Term)
        return found, inner
    return outer, inner


def _kernel(outer: Term, inner: Term, frame: _Frame, channels: Channels | None) -> Lazy[Array]:
    """The kernel of the composition, in the common frame."""
    skip = None if channels is None else channels.axis
    places = [n for n in range(len(frame.outer)) if n != skip]
    lead = 0 if channels is None else 2
    # The inner's taps in the order of the frame; axes that it does not have get one tap.
    own = [
        i
        for i in range(len(inner.axes or ()))
        if inner.channels is None or i != inner.channels.axis
    ]
    order = [own.index(a) for n in places if (a := frame.at[n]) is not None and a in own]
    missing = [i for i in range(len(own)) if i not in order]
    inner_taps = tuple(frame.inner[n].taps for n in places)
    outer_taps = tuple(frame.outer[n].taps for n in places)

    def turned(kernel: Array) -> Array:
        moved = kernel.transpose(*range(lead), *(lead + i for i in (*order, *missing)))
        return moved.reshape(*kernel.shape[:lead], *inner_taps)

    def opened(kernel: Array) -> Array:
        return kernel.reshape(*kernel.shape[:lead], *outer_taps)

    if outer.unit and outer.is_pointwise:
        return Lazy(turned, inner.kernel)
    if inner.unit and all(a.is_identity or a.mean for a in frame.inner):
        return Lazy(opened, outer.kernel)
    geometry = [(frame.outer[n], frame.inner[n]) for n in places]
    outer_axes, inner_axes = [o for o, _ in geometry], [i for _, i in geometry]
    og = 1 if outer.channels is None else outer.channels.group
    ig = 1 if inner.channels is None else inner.channels.group

    def product(first: Array, second: Array) -> Array:
        left, right = opened(first), turned(second)
        if channels is None:
            left, right = left[None, None], right[None, None]
        made = kernels.compose(left, og, outer_axes, right, ig, inner_axes)
        return made[0, 0] if channels is None else made

    return Lazy(product, outer.kernel, inner.kernel)


def _marks(
    outer: Term,
    inner: Term,
    axes: tuple[Axis, ...],
    group: int = 1,
    frame: _Frame | None = None,
) -> tuple[Mark, ...]:
    """Every branch of the one behind every branch of the other."""
    if len(outer.marks) * len(inner.marks) > _MAX_MARKS:
        steps = {s: None for m in (*inner.marks, *outer.marks) for s in m.steps}
        return (Mark(tuple(steps), axes, group),)
    return tuple(
        Mark(
            tuple(dict.fromkeys((*i.steps, *o.steps))),
            axes if frame is None else _marked(o, i, frame),
            math.gcd(o.group, i.group) if o.group > 1 and i.group > 1 else max(o.group, i.group),
        )
        for i in inner.marks
        for o in outer.marks
    )


def _marked(outer: Mark, inner: Mark, frame: _Frame) -> tuple[Axis, ...]:
    def at(axes: tuple[Axis, ...], place: int | None) -> Axis:
        return axes[place] if place is not None and place < len(axes) else Axis()

    return tuple(at(outer.axes, n).after(at(inner.axes, place)) for n, place in enumerate(frame.at))


# Biases.


def respond(outer: Term, bias: Bias, shape: Sequence[Dim] | None) -> Bias | Obstacle:
    """What the outer makes of a tensor that is the constant everywhere, padding included."""
    if outer.axes is None:
        if outer.unit:
            return bias
        return replace(bias, values=Lazy(lambda n, b: n * b, outer.kernel, bias.values))
    at = _bias_axis(outer, bias, shape)
    if isinstance(at, Obstacle):
        return at
    if outer.unit and outer.is_pointwise:
        return replace(bias, axis=at) if at is not None else Bias(Lazy(_scalar, bias.values))
    if outer.channels is None and at is not None and not outer.axes[at].is_identity:
        found = outer.mixing(at, bias.size)
        if isinstance(found, Obstacle):
            return found
        outer = found
    if outer.channels is None:
        # One kernel for all: every channel of the bias is multiplied by the sum of the taps.
        values = Lazy(
            lambda k, b: k.sum() * (b if at is not None else _scalar(b)), outer.kernel, bias.values
        )
        return Bias(values, at, bias.size if at is not None else 1)
    group, width = outer.channels.group, outer.channels.width
    if at is not None and at != outer.channels.axis:
        return Obstacle("layout", f"the bias of {outer.source} lies on another axis")
    values = Lazy(
        lambda k, b: kernels.apply_to_constant(k, group, np.broadcast_to(b.reshape(-1), (width,))),
        outer.kernel,
        bias.values,
    )
    return Bias(values, outer.channels.axis, outer.channels.out)


def _scalar(values: Array) -> Array:
    return values.reshape(())


def _bias_axis(outer: Term, bias: Bias, shape: Sequence[Dim] | None) -> int | Obstacle | None:
    """Axis of the outer's frame that the bias lies along; None where it is one number."""
    if bias.axis is None or bias.size == 1:
        return None
    if bias.axis in outer.view:
        return outer.view.index(bias.axis)
    return Obstacle("layout", f"the bias of {outer.source} is spread over merged axes")
