"""Putting the definition of a tensor into that of its reader: composition, and its border rule.

Where the reader pads, the padding has to be what the definition would compute there. That
is so where the definition does not look at neighbours along that axis and has no bias, or
where the padding holds exactly that bias (the border of DBB and ECBSR); padding by
reflection, repetition or wrapping commutes with any map of channels. Everything else is
right inside and wrong at the border, and therefore refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from onnxac.algebra import kernel as kernels
from onnxac.algebra.affine import AffineConv, AffineSum, Lengths, Mark, Obstacle
from onnxac.algebra.axis import Axis
from onnxac.algebra.deferred import Deferred
from onnxac.algebra.frame import inverse, layout_after, layout_before, then
from onnxac.algebra.kernel import Array
from onnxac.algebra.merging import is_fill, tidy

# A branch's marks multiply in compositions of sums; past this many they are told as one.
_MAX_MARKS = 64


def substitute(
    reader: AffineSum, name: str, inner: AffineSum, lengths: Lengths, tolerance: float
) -> AffineSum | Obstacle:
    """`reader` with the definition `inner` of tensor `name` put in.

    lengths    extents of tensor `name`, None where dynamic
    tolerance  how far a bias may be from the value in the padding, relative to its size
    """
    framed = _framed(reader, name, inner, len(lengths))
    if isinstance(framed, Obstacle):
        inner = _unturned(inner)
        framed = _framed(reader, name, inner, len(lengths))
        if isinstance(framed, Obstacle):
            return framed
    terms: list[tuple[str, AffineConv]] = []
    biases: list[Deferred[Array]] = [framed.bias] if framed.bias else []
    for (source, given), (_, asked) in zip(framed.terms, reader.terms, strict=True):
        if source != name:
            terms.append((source, given))
            continue
        outer = _squeezed(given, inner, lengths)
        tail = lengths if asked.view is None else [lengths[i] for i in asked.view]
        beyond = padded_axes(outer, tail)
        obstacle = _obstacle(name, outer, inner, beyond, tolerance)
        if obstacle:
            return obstacle
        terms += [(s, _compose(outer, conv, beyond)) for s, conv in inner.terms]
        if inner.bias is not None:
            biases.append(_respond(outer, inner.bias))
    if len({len(c.axes) for _, c in terms if c.axes is not None}) > 1:
        return Obstacle("layout", f"the channels of {name} lie on another axis than its sum's")
    return AffineSum(tidy(terms), _total(biases), reader.steps | inner.steps, framed.perm)


def padded_axes(conv: AffineConv, lengths: Lengths) -> dict[int, int | None]:
    """The convolution's axes that read past the source's edge, each with the source's extent."""
    if not conv.axes:
        return {}
    tail = [None] * len(conv.axes) if len(lengths) < len(conv.axes) else list(lengths)
    tail = tail[len(tail) - len(conv.axes) :]
    return {i: tail[i] for i, a in enumerate(conv.axes) if a.reads_beyond(tail[i])}


# Axis orders.


def _framed(reader: AffineSum, name: str, inner: AffineSum, rank: int) -> AffineSum | Obstacle:
    """The reader in the axis order in which `inner` is summed up.

    Its own order has to become that one: then every other term is transposed instead.
    """
    turns = {then(inner.perm, c.view) for s, c in reader.terms if s == name}
    if len(turns) > 1:
        return Obstacle("layout", f"it reads {name} in two axis orders")
    (turn,) = turns
    if turn is not None and len(turn) != rank:
        return Obstacle("layout", f"{name} has another rank than its axis order")
    if turn is not None and not all(c.is_pointwise and not c.reshaped for _, c in reader.terms):
        return Obstacle("layout", f"{name} is transposed between the two")
    back = inverse(turn)
    terms: list[tuple[str, AffineConv]] = []
    for source, conv in reader.terms:
        laid = conv
        if turn is not None and conv.axes is not None:
            laid = conv.with_layout(layout_before(len(conv.axes), turn))
        view = None if source == name else then(conv.view, back)
        terms.append((source, replace(laid, view=view)))
    return AffineSum(tuple(terms), reader.bias, reader.steps, then(turn, reader.perm))


def _unturned(inner: AffineSum) -> AffineSum:
    """The definition with its sources transposed instead of its sum, where it can be so."""
    if inner.perm is None or not all(c.is_pointwise and not c.reshaped for _, c in inner.terms):
        return inner
    terms = tuple(
        (
            s,
            replace(
                c if c.axes is None else c.with_layout(layout_after(len(c.axes), inner.perm)),
                view=then(c.view, inner.perm),
            ),
        )
        for s, c in inner.terms
    )
    return AffineSum(terms, inner.bias, inner.steps)


def _squeezed(outer: AffineConv, inner: AffineSum, lengths: Lengths) -> AffineConv:
    """A map of features over what was flattened from maps of one pixel: a map of channels."""
    if outer.axes == () and len(lengths) == 2 and (inner.layout or 0) > 0:
        return outer.with_layout(inner.layout or 0)
    return outer


# What stands in the way.


def _obstacle(
    name: str,
    outer: AffineConv,
    inner: AffineSum,
    beyond: Mapping[int, int | None],
    tolerance: float,
) -> Obstacle | None:
    layouts = {len(c.axes) for c in (outer, *(c for _, c in inner.terms)) if c.axes is not None}
    if len(layouts) > 1:
        return Obstacle("layout", f"it mixes channels on different axes of {name}")
    for _, conv in inner.terms:
        if outer.mean and not conv.is_pointwise and not conv.mean:
            return Obstacle("average", f"it averages {name}, which looks at neighbours and borders")
        if conv.mean and not outer.is_pointwise and not outer.mean:
            return Obstacle("average", f"{name} is an average over all positions")
        if conv.unfold and (outer.axes is None or outer.group > 1 or not outer.is_pointwise):
            return Obstacle("layout", f"{name} is flattened before")
        if outer.unfold and not (conv.unit and conv.is_pointwise):
            return Obstacle("layout", f"it flattens {name}")
    return _spread(name, outer, inner) or _border(name, outer, inner, beyond, tolerance)


def _spread(name: str, outer: AffineConv, inner: AffineSum) -> Obstacle | None:
    """Transposed convolutions: what a zero between two elements stands for."""
    if outer.axes is None:
        return None
    if any(a.up > 1 for a in outer.axes) and (
        inner.bias is not None or not all(c.is_pointwise for _, c in inner.terms)
    ):
        return Obstacle(
            "spread",
            f"zeros are put between the elements of {name}, which has a bias or looks "
            "at neighbours",
        )
    for _, conv in inner.terms:
        if conv.axes and any(
            i.up > 1 and o.stride > 1 for o, i in zip(outer.axes, conv.axes, strict=True)
        ):
            return Obstacle("spread", f"it strides over {name}, a transposed convolution")
    return None


def _border(
    name: str,
    outer: AffineConv,
    inner: AffineSum,
    beyond: Mapping[int, int | None],
    tolerance: float,
) -> Obstacle | None:
    """The border rule: padding that the outer reads must be what the inner would compute."""
    if not beyond:
        return None
    assert outer.axes is not None
    if any(conv.fill is not None for _, conv in inner.terms):
        return Obstacle("border", f"padding reads past {name}, whose own border is not zero")
    for _, conv in inner.terms:
        if conv.axes and not all(
            conv.axes[i].keeps_border_of(outer.axes[i], n) for i, n in beyond.items()
        ):
            return Obstacle(
                "border",
                f"padding reads past the border of {name}, which sums over neighbours "
                "or was cropped: it would compute something else than that padding there",
            )
    if all(outer.axes[i].edge != "zero" for i in beyond):
        return None
    if is_fill(inner.bias, outer.fill, tolerance):
        return None
    return Obstacle(
        "border",
        f"padding reads past the border of {name}: its bias is not zero"
        if outer.fill is None
        else f"padding reads past the border of {name}: its bias is not the constant that is there",
    )


# Composition.


def _compose(outer: AffineConv, inner: AffineConv, beyond: Mapping[int, int | None]) -> AffineConv:
    unit = outer.unit and inner.unit
    if outer.axes is None or inner.axes is None:
        shaped = inner if outer.axes is None else outer
        marks = _marks(outer, inner, shaped.axes or (), shaped.group)
        return replace(
            shaped,
            unit=unit,
            kernel=_composed_kernel(outer, inner),
            fill=inner.fill,
            view=inner.view,
            mean=outer.mean or inner.mean,
            marks=marks,
            reshaped=outer.reshaped or inner.reshaped,
        )
    if inner.unfold:
        kernel, shape = (
            outer.kernel,
            (outer.channels[0], inner.channels[1], *(a.taps for a in inner.axes)),
        )
        return replace(
            inner,
            channels=(outer.channels[0], inner.channels[1]),
            unfold=False,
            reshaped=True,
            kernel=Deferred(lambda: kernel().reshape(shape), kernel),
            marks=_marks(outer, inner, inner.axes, 1),
        )
    axes = tuple(
        replace(o.after(i), edge=o.edge) if n in beyond else o.after(i)
        for n, (o, i) in enumerate(zip(outer.axes, inner.axes, strict=True))
    )
    group = math.gcd(outer.group, inner.group)
    return AffineConv(
        axes,
        (outer.channels[0], inner.channels[1]),
        group,
        _composed_kernel(outer, inner),
        unit,
        None if beyond else inner.fill,
        _marks(outer, inner, axes, group),
        view=inner.view,
        mean=outer.mean or inner.mean,
        unfold=outer.unfold,
        reshaped=outer.reshaped or inner.reshaped,
    )


def _composed_kernel(outer: AffineConv, inner: AffineConv) -> Deferred[Array]:
    first, second = outer.kernel, inner.kernel
    if _hands_on(outer) and (outer.axes is None or inner.axes is not None):
        return second
    if _hands_on(inner) and (inner.axes is None or outer.axes is not None):
        return first
    if outer.axes is None or inner.axes is None:
        return Deferred(lambda: first() * second(), first, second)
    og, oa, ig, ia = outer.group, outer.axes, inner.group, inner.axes
    return Deferred(lambda: kernels.compose(first(), og, oa, second(), ig, ia), first, second)


def _hands_on(conv: AffineConv) -> bool:
    """Whether it multiplies by 1 and keeps every position, or averages them all."""
    return conv.unit and (conv.is_pointwise or conv.mean)


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
            if o.axes and i.axes
            else o.axes or i.axes,
            math.gcd(o.group, i.group) if o.axes and i.axes else max(o.group, i.group),
        )
        for i in inner.marks
        for o in outer.marks
    )


def _respond(outer: AffineConv, bias: Deferred[Array]) -> Deferred[Array]:
    """What the outer makes of a source that is `bias` everywhere, padding included."""
    kernel, group, (_, width) = outer.kernel, outer.group, outer.channels
    if _hands_on(outer):
        return bias
    if outer.axes is None:
        return Deferred(lambda: kernel() * bias(), kernel, bias)
    return Deferred(
        lambda: kernels.apply_to_constant(kernel(), group, np.broadcast_to(bias(), (width,))),
        kernel,
        bias,
    )


def _total(biases: Sequence[Deferred[Array]]) -> Deferred[Array] | None:
    if len(biases) < 2:
        return biases[0] if biases else None
    return Deferred(lambda: np.asarray(sum(b() for b in biases)), *biases)
