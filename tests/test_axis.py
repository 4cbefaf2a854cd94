"""The geometry of one axis, against loops over positions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import oracle
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onnxac.algebra import Axis, Sampling
from onnxac.algebra.axis import Edge

lengths = st.integers(4, 9)
offsets = st.integers(-4, 4)


@st.composite
def axes(draw: st.DrawFn, *, edge: Edge = "zero", up: int = 1) -> Axis:
    return Axis(
        taps=draw(st.integers(1, 4)),
        dilation=draw(st.integers(1, 3)),
        stride=draw(st.integers(1, 3)),
        up=up,
        offset=draw(offsets),
        extent=draw(st.integers(-5, 4)),
        edge=edge,
        sampling=draw(st.sampled_from([None, None, Sampling(2), Sampling(3)])),
    )


def positions(axis: Axis, length: int) -> list[list[int]]:
    """Where the taps of each output lie, padding included."""
    return [
        [axis.stride * p + axis.dilation * k + axis.offset for k in range(axis.taps)]
        for p in range(axis.length(length))
    ]


# Conv with pads (b, e): offset −b and extent b + e − dilation·(k − 1).
CONVS = [
    # taps, dilation, stride, begin, end, length, outputs
    (3, 1, 1, 1, 1, 7, 7),
    (3, 1, 2, 1, 1, 7, 4),
    (3, 1, 2, 1, 1, 8, 4),
    (4, 1, 1, 1, 2, 8, 8),
    (3, 2, 1, 2, 2, 9, 9),
    (5, 1, 3, 0, 0, 9, 2),
    (1, 1, 2, 0, 0, 9, 5),
    (2, 3, 2, 3, 0, 8, 4),
]


@pytest.mark.parametrize(("taps", "dilation", "stride", "begin", "end", "length", "outputs"), CONVS)
def test_outputs_of_a_padded_window(
    taps: int, dilation: int, stride: int, begin: int, end: int, length: int, outputs: int
) -> None:
    axis = Axis(taps, dilation, stride, 1, -begin, begin + end - dilation * (taps - 1))
    assert axis.length(length) == outputs
    assert (axis.pad_begin, axis.pad_end) == (begin, end)


@given(axes(), lengths)
def test_reading_beyond_is_what_the_taps_say(axis: Axis, length: int) -> None:
    assume(axis.length(length) > 0)
    beyond = any("beyond" in taps for taps in oracle.reads(axis, length))
    if axis.offset >= 0:
        assert axis.reads_beyond(length) == beyond
    # A first tap before the source counts, even if it is far outside with all its outputs.
    assert axis.reads_beyond(length) or not beyond


@given(axes())
def test_without_a_length_reading_beyond_holds_for_every_length(axis: Axis) -> None:
    if not axis.reads_beyond(None):
        assert not any(axis.reads_beyond(n) for n in range(1, 20) if axis.length(n) > 0)


def composes(outer: Axis, inner: Axis) -> bool:
    """Whether one axis can read what both do: what is made longer has to be the source itself."""
    return outer.sampling is None or inner.is_identity or inner.repeats


@given(axes(), axes())
def test_composition_reads_what_both_read(outer: Axis, inner: Axis) -> None:
    assume(composes(outer, inner))
    both = outer.after(inner)
    source = 60
    middle = inner.length(source)
    assert both.length(source) == outer.length(middle)
    for taps, apart in zip(positions(both, source), positions(outer, middle), strict=True):
        wanted = {
            inner.stride * q + inner.dilation * k + inner.offset
            for q in apart
            for k in range(inner.taps)
        }
        assert wanted <= set(taps)


@given(axes(), axes(), axes())
def test_composition_is_associative(a: Axis, b: Axis, c: Axis) -> None:
    assume(composes(b, c) and composes(a, b.after(c)))
    assume(composes(a, b) and composes(a.after(b), c))
    left, right = a.after(b).after(c), a.after(b.after(c))
    # The lattice may be written with another dilation where one tap is all there is.
    assert positions(left, 60) == positions(right, 60)


@given(axes())
def test_the_identity_is_neutral(axis: Axis) -> None:
    assert axis.after(Axis()) == axis
    assert positions(Axis().after(axis), 20) == positions(axis, 20)


@given(axes(), axes(), lengths)
def test_a_union_holds_the_taps_of_both(a: Axis, b: Axis, length: int) -> None:
    b = Axis(b.taps, b.dilation, a.stride, 1, b.offset, a.extent, sampling=a.sampling)
    assume(a.length(length) > 0)
    assert a.agrees_with(b, length)
    union = a.union(b, length)
    assert union.length(length) == a.length(length)
    for part in (a, b):
        assert union.covers(part)
        cells = union.cells(part)
        assert len(cells) == part.taps
        for taps, own in zip(positions(union, length), positions(part, length), strict=True):
            assert [taps[c] for c in cells] == own


@given(axes(), axes())
def test_covering_is_having_every_tap(a: Axis, b: Axis) -> None:
    own = {a.offset + a.dilation * k for k in range(a.taps)}
    other = {b.offset + b.dilation * k for k in range(b.taps)}
    assert a.covers(b) == (other <= own)


DISAGREEING = [
    (Axis(stride=2), Axis(), 8, "strides differ"),
    (Axis(up=2), Axis(), 8, "one is spread out"),
    (Axis(extent=-1), Axis(), 8, "the numbers of outputs differ"),
    (Axis(3, offset=-1, edge="reflect"), Axis(3, offset=-1), 8, "they are extended differently"),
    (Axis(1, stride=2, extent=-2), Axis(1, stride=2), None, "their outputs differ at all lengths"),
]


@pytest.mark.parametrize(("a", "b", "length", "_why"), DISAGREEING)
def test_what_can_not_be_one_convolution(a: Axis, b: Axis, length: int | None, _why: str) -> None:
    assert not a.agrees_with(b, length)
    assert not b.agrees_with(a, length)


def test_over_an_open_length_it_is_enough_that_outputs_may_agree() -> None:
    """Terms of one sum have as many outputs at every length that there is: an even one here."""
    long, short = Axis(stride=2), Axis(stride=2, extent=-1)
    assert long.agrees_with(short, None)
    for even in (2, 8, 14):
        union = long.union(short, None)
        assert union.length(even) == long.length(even) == short.length(even)


def test_a_stride_that_leaves_no_rest_keeps_the_border_behind_it() -> None:
    padded = Axis(3, offset=-1)
    blocks = Axis(stride=2, extent=-1)
    assert not blocks.keeps_border_of(padded, None)
    assert replace(blocks, fits=True).keeps_border_of(padded, None)
    assert not replace(blocks, offset=2, extent=-3, fits=True).keeps_border_of(padded, None)


def test_at_a_known_length_only_the_outputs_count() -> None:
    long, short = Axis(stride=2), Axis(stride=2, extent=-1)
    assert long.length(8) == short.length(8)
    assert long.agrees_with(short, 8)
    assert not long.agrees_with(short, 9)


def test_an_extension_that_nobody_reads_does_not_matter() -> None:
    reflected, inside = Axis(3, offset=-1, edge="reflect"), Axis(1, extent=0)
    assert reflected.agrees_with(inside, None)
    assert reflected.union(inside, None).edge == "reflect"
    assert inside.union(reflected, None).edge == "reflect"


@given(axes(), st.one_of(lengths, st.none()))
def test_without_crop_pads_and_gives_the_same(axis: Axis, length: int | None) -> None:
    grown, before, behind = axis.without_crop(length)
    assert grown.pad_begin >= 0
    assert grown.pad_end >= 0
    assert grown.taps == axis.taps + before + behind
    for n in range(5, 12) if length is None else (length,):
        if axis.length(n) < 1:
            continue
        assert grown.length(n) == axis.length(n)
        kept = [taps[before : grown.taps - behind] for taps in positions(grown, n)]
        assert kept == positions(axis, n)


@given(axes(), axes(), lengths, st.sampled_from(["zero", "reflect", "edge", "wrap"]))
def test_a_border_that_is_kept(inner: Axis, outer: Axis, length: int, edge: Edge) -> None:
    """What the outer reads past the edge of the inner's outputs is what the inner reads there."""
    outer = replace(outer, edge=edge, sampling=None)
    inner = replace(inner, taps=1, dilation=1)
    outputs = inner.length(length)
    assume(outputs > 4)
    assume(outer.length(outputs) > 0)
    assume(inner.keeps_border_of(outer, length))
    extended = replace(inner, edge=edge if inner.is_identity or edge != "zero" else "zero")
    for taps in positions(outer, outputs):
        # A reflection is defined as far as the source reaches.
        for q in (q for q in taps if -outputs < q < 0 or outputs <= q < 2 * outputs - 1):
            through = oracle.element(outer, q, outputs)
            wanted = (
                through
                if isinstance(through, str)
                else oracle.element(inner, inner.stride * through + inner.offset, length)
            )
            found = oracle.element(extended, inner.stride * q + inner.offset, length)
            assert found == wanted


@given(axes(), st.integers(3, 9))
def test_one_output_as_a_window_over_the_whole_source(axis: Axis, length: int) -> None:
    axis = replace(axis, sampling=None)
    assume(axis.length(length) == 1)
    whole, first, last = axis.inside(length)
    assert whole.length(length) == 1
    kept = [k for k, e in enumerate(oracle.reads(axis, length)[0]) if e != "beyond"]
    assert kept == list(range(first, last))


@given(st.integers(1, 4), st.integers(1, 2), st.integers(1, 3), offsets, st.integers(-2, 3))
def test_a_spread_source(taps: int, dilation: int, up: int, offset: int, extent: int) -> None:
    """Every up-th position holds an element, and zeros lie between."""
    axis = Axis(taps, dilation, 1, up, offset, extent)
    length = 5
    assume(axis.length(length) > 0)
    spread = np.zeros(up * (length - 1) + 1)
    spread[::up] = np.arange(1, length + 1)
    found = [
        [0 if isinstance(e, str) else e + 1 for e in taps] for taps in oracle.reads(axis, length)
    ]
    wanted = [
        [spread[q] if 0 <= q < len(spread) else 0 for q in taps] for taps in positions(axis, length)
    ]
    assert found == wanted
