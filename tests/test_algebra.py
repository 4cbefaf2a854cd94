"""Laws of the algebra of affine sums, against loops over the definition."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracle import convolve, evaluate

from onnxac.algebra import Axis, Bias, Channels, Lazy, Obstacle, Sum, Term, add
from onnxac.algebra import substitute as put
from onnxac.algebra import term as terms
from onnxac.algebra.axis import Edge
from onnxac.algebra.kernel import apply_to_constant, compose, overlay, regroup

Array = NDArray[np.float64]

seeds = st.integers(0, 2**16)


def integers(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float64)


def conv(
    *axes: Axis,
    channels: tuple[int, int] = (2, 2),
    group: int = 1,
    seed: int = 1,
    fill: Array | None = None,
) -> Term:
    """A convolution of x: [1, channels, *spatial]."""
    shape = (channels[0], channels[1] // group, 1, *(a.taps for a in axes))
    return Term(
        "x",
        Lazy.of(integers(seed, *shape)),
        (Axis(), Axis(), *axes),
        tuple(range(2 + len(axes))),
        2 + len(axes),
        channels=Channels(1, *channels, group),
        fill=None if fill is None else Lazy.of(fill),
    )


def group(term: Term) -> int:
    assert term.channels is not None
    return term.channels.group


def spatial(term: Term) -> tuple[Axis, ...]:
    assert term.axes is not None
    return term.axes[2:]


def along(term: Term, *axes: Axis) -> Term:
    """The term with other spatial axes."""
    return replace(term, axes=(Axis(), Axis(), *axes))


def number(value: float) -> Term:
    return terms.number("x", value, 0)


def total(name: str, *convs: Term, bias: Array | None = None) -> Sum:
    biases = () if bias is None else (Bias(Lazy.of(bias), 1, len(bias)),)
    return Sum(tuple(replace(c, source=name) for c in convs), biases)


def substitute(
    reader: Sum, name: str, inner: Sum, shape: tuple[int | None, ...], tolerance: float
) -> Sum | Obstacle:
    """`onnxac.algebra.substitute`, where only the shape of the tensor in between is known."""
    dims = [object() if n is None else n for n in shape]
    return put(reader, name, inner, lambda n: dims if n == name else None, "y", tolerance)


@st.composite
def convs(
    draw: st.DrawFn,
    out: int,
    width: int,
    *,
    rank: int = 1,
    padded: bool = True,
    edge: Edge = "zero",
) -> Term:
    axes = []
    for _ in range(rank):
        taps, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        offset = draw(st.integers(-2 if padded else 0, 2))
        # Without padding the last tap stays inside: pad_end = extent + offset + span ≤ 0.
        span = dilation * (taps - 1)
        extent = -offset - span + draw(st.integers(-1, 2 if padded else 0))
        axes.append(Axis(taps, dilation, draw(st.integers(1, 2)), 1, offset, extent, edge))
    divisors = [g for g in range(1, math.gcd(out, width) + 1) if math.gcd(out, width) % g == 0]
    return conv(
        *axes, channels=(out, width), group=draw(st.sampled_from(divisors)), seed=draw(seeds)
    )


# Substitution: the composition of two convolutions is one.


def assert_substitutes(reader: Sum, inner: Sum, x: Array) -> Sum:
    """The merged definition computes what the two compute one after the other."""
    middle = evaluate(inner, {"x": x})
    assume(middle.size)
    wanted = evaluate(reader, {"t": middle, "x": x})
    assume(wanted.size)
    merged = substitute(reader, "t", inner, middle.shape, 0.0)
    assert isinstance(merged, Sum), merged
    assert np.array_equal(evaluate(merged, {"x": x}), wanted)
    return merged


@given(convs(4, 2, padded=False), convs(2, 4), seeds)
def test_unpadded_outer(outer: Term, inner: Term, seed: int) -> None:
    assert_substitutes(
        total("t", outer, bias=integers(seed, 4)),
        total("x", inner, bias=integers(seed, 2)),
        integers(seed, 1, 4, 9),
    )


@given(convs(4, 6, padded=False, rank=2), convs(6, 4, rank=2), seeds)
def test_groups_meet_in_their_gcd(outer: Term, inner: Term, seed: int) -> None:
    merged = assert_substitutes(total("t", outer), total("x", inner), integers(seed, 1, 4, 7, 6))
    assert group(merged.terms[0]) == math.gcd(group(outer), group(inner))


@given(convs(2, 2, rank=2), convs(2, 3), seeds)
def test_padded_outer_over_a_map_of_channels(outer: Term, inner: Term, seed: int) -> None:
    pointwise = conv(Axis(), Axis(), channels=(2, 3), seed=seed)
    assert_substitutes(
        total("t", outer, bias=integers(seed, 2)), total("x", pointwise), integers(seed, 1, 3, 6, 5)
    )


@pytest.mark.parametrize("edge", ["reflect", "edge", "wrap"])
@given(data=st.data())
def test_an_extension_commutes_with_maps_of_channels(edge: Edge, data: st.DataObject) -> None:
    """Repeated, mirrored or wrapped values went through the map too, bias and all."""
    outer = data.draw(convs(2, 2, rank=2, edge=edge))
    seed = data.draw(seeds)
    pointwise = conv(Axis(), Axis(), channels=(2, 3), seed=seed)
    assert_substitutes(
        total("t", outer), total("x", pointwise, bias=integers(seed, 2)), integers(seed, 1, 3, 7, 7)
    )


@given(convs(2, 2), seeds, st.integers(1, 3), st.integers(0, 2), st.integers(0, 3))
def test_zeros_around_a_zero_padding(
    outer: Term, seed: int, stride: int, begin: int, end: int
) -> None:
    padding = conv(Axis(1, 1, stride, 1, -begin, begin + end), group=2, seed=seed)
    assert_substitutes(total("t", outer), total("x", padding), integers(seed, 1, 2, 8))


@given(convs(2, 2), seeds)
def test_a_padding_that_holds_the_bias(outer: Term, seed: int) -> None:
    """The border of DBB: what the padding holds is what the map of channels makes of zero."""
    bias = integers(seed, 2)
    pointwise = conv(Axis(), seed=seed)
    bordered = replace(outer, fill=Lazy.of(bias))
    merged = assert_substitutes(
        total("t", bordered), total("x", pointwise, bias=bias), integers(seed, 1, 2, 8)
    )
    assert merged.terms[0].fill is None or not spatial(outer)[0].reads_beyond(8)


@given(st.integers(2, 3), st.integers(0, 2), st.integers(0, 1), st.integers(1, 3), seeds)
def test_spread_over_a_map_of_channels(
    up: int, offset: int, extent: int, taps: int, seed: int
) -> None:
    """A transposed convolution behind a 1x1 without a bias."""
    outer = conv(Axis(taps, 1, 1, up, offset - taps, extent), seed=seed)
    pointwise = conv(Axis(), seed=seed + 1)
    assert_substitutes(total("t", outer), total("x", pointwise), integers(seed, 1, 2, 5))


@given(convs(2, 2, padded=False), st.integers(2, 3), seeds)
def test_a_convolution_of_something_spread(outer: Term, up: int, seed: int) -> None:
    outer = along(outer, replace(spatial(outer)[0], stride=1))
    spread = conv(Axis(3, 1, 1, up, -2, 1), seed=seed)
    assert_substitutes(total("t", outer), total("x", spread), integers(seed, 1, 2, 5))


@given(convs(2, 2, padded=False), convs(2, 2, padded=False), convs(2, 2), seeds)
def test_composition_is_associative(a: Term, b: Term, c: Term, seed: int) -> None:
    x = integers(seed, 1, 2, 30)
    first = substitute(total("t", b), "t", total("x", c), (1, 2, None), 0.0)
    assert isinstance(first, Sum)
    left = substitute(total("t", a), "t", first, (1, 2, None), 0.0)
    outer = substitute(total("s", a), "s", total("t", b), (1, 2, None), 0.0)
    assert isinstance(outer, Sum)
    right = substitute(outer, "t", total("x", c), (1, 2, None), 0.0)
    assert isinstance(left, Sum)
    assert isinstance(right, Sum)
    assert np.array_equal(evaluate(left, {"x": x}), evaluate(right, {"x": x}))


@given(convs(2, 2, padded=False), convs(2, 2), seeds)
def test_composition_distributes_over_sums(outer: Term, inner: Term, seed: int) -> None:
    other = conv(replace(spatial(inner)[0], taps=1, dilation=1), seed=seed)
    assert_substitutes(
        total("t", outer), total("x", inner, other, bias=integers(seed, 2)), integers(seed, 1, 2, 9)
    )


@given(convs(2, 2), seeds, st.sampled_from([1.0, -1.0, 2.0]), st.booleans())
def test_numbers(shaped: Term, seed: int, value: float, outside: bool) -> None:
    """A number multiplies every layout, on either side of a composition."""
    x = integers(seed, 1, 2, 9)
    scaled, plain = total("t", number(value)), total("x", shaped)
    if not outside:
        scaled, plain = total("t", shaped), total("x", number(value))
    assert_substitutes(scaled, plain, x)


def test_the_identity_is_neutral() -> None:
    x, shaped = integers(3, 1, 2, 9), conv(Axis(3, offset=-1))
    before = substitute(total("t", number(1.0)), "t", total("x", shaped), (1, 2, 9), 0.0)
    behind = substitute(total("t", shaped), "t", total("x", number(1.0)), (1, 2, 9), 0.0)
    for merged in (before, behind):
        assert isinstance(merged, Sum)
        assert np.array_equal(evaluate(merged, {"x": x}), convolve(shaped, x))


def test_a_part_of_a_sum_does_not_equal_the_whole() -> None:
    """t = 2·s and s = x − z: the reader of t does not hold t in the term that reads x."""
    scaled = replace(conv(Axis()), source="s")
    reader = Sum((replace(number(1.0), source="t"),))
    first = put(reader, "t", Sum((scaled,)), lambda _: (1, 2, 9), "y", 0.0)
    assert isinstance(first, Sum)
    assert first.terms[0].equals is not None
    difference = Sum((number(1.0), replace(number(-1.0), source="z")))
    found = put(first, "s", difference, lambda _: (1, 2, 9), "y", 0.0)
    assert isinstance(found, Sum)
    assert [t.equals for t in found.terms] == [None, None]


# Obstacles: forced through, the result differs.


padded = Axis(3, offset=-1)
OBSTACLES: dict[str, tuple[Term, Sum]] = {
    "a bias under zero padding": (
        conv(padded),
        total("x", conv(Axis(), seed=2), bias=np.array([1.0, 2.0])),
    ),
    "neighbours under zero padding": (conv(padded), total("x", conv(padded, seed=2))),
    "a crop under zero padding": (
        conv(padded),
        total("x", conv(Axis(1, offset=1, extent=-2), seed=2)),
    ),
    "neighbours under reflection": (
        conv(replace(padded, edge="reflect")),
        total("x", conv(padded, seed=2)),
    ),
    "another constant in the padding": (
        conv(padded, fill=np.array([1.0, 1.0])),
        total("x", conv(Axis(), seed=2), bias=np.array([1.0, 2.0])),
    ),
    "a constant in the padding of a padding": (
        conv(padded),
        total("x", conv(Axis(1, offset=-1, extent=2), fill=np.array([1.0, 2.0]))),
    ),
    "a bias between zeros": (
        conv(Axis(2, up=2, offset=0, extent=-1)),
        total("x", conv(Axis(), seed=2), bias=np.array([1.0, 2.0])),
    ),
    "neighbours between zeros": (
        conv(Axis(2, up=2, offset=0, extent=-1)),
        total("x", conv(padded, seed=2)),
    ),
}


@pytest.mark.parametrize("what", OBSTACLES)
def test_an_obstacle_is_right(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outer, inner = OBSTACLES[what]
    x = integers(5, 1, 2, 8)
    middle = evaluate(inner, {"x": x})
    wanted = convolve(outer, middle)
    shape = middle.shape
    assert isinstance(substitute(total("t", outer), "t", inner, shape, 0.0), Obstacle)
    for rule in ("_border", "_average", "_spread"):
        monkeypatch.setattr(f"onnxac.algebra.compose.{rule}", lambda *_: None)
    forced = substitute(total("t", outer), "t", inner, shape, 0.0)
    assert isinstance(forced, Sum)
    found = evaluate(forced, {"x": x})
    assert found.shape != wanted.shape or not np.array_equal(found, wanted)


def test_a_strided_window_over_something_spread_is_an_obstacle() -> None:
    """Axis has no form for it: its stride would be a fraction."""
    outer, inner = conv(Axis(stride=2)), total("x", conv(Axis(2, up=2, offset=-1, extent=1)))
    found = substitute(total("t", outer), "t", inner, (1, 2, None), 0.0)
    assert isinstance(found, Obstacle)
    assert found.rule == "spread"


def test_a_bias_within_the_rounding_of_the_constant_is_that_constant() -> None:
    bias = np.array([0.1, 0.3])
    stored = bias.astype(np.float32).astype(np.float64)
    outer = conv(padded, fill=stored)
    inner = total("x", conv(Axis(), seed=2), bias=bias)
    assert isinstance(substitute(total("t", outer), "t", inner, (1, 2, 8), 1e-6), Sum)
    assert isinstance(substitute(total("t", outer), "t", inner, (1, 2, 8), 0.0), Obstacle)


def test_zero_padding_admits_no_tolerance() -> None:
    inner = total("x", conv(Axis(), seed=2), bias=np.array([1e-9, 0.0]))
    assert isinstance(substitute(total("t", conv(padded)), "t", inner, (1, 2, 8), 1.0), Obstacle)


def test_channels_on_different_axes_are_not_mixed() -> None:
    """[C] over the channels and [W] over the last axis are both vectors."""
    reader = Sum((replace(number(1.0), source="t"), conv(Axis(), Axis(), channels=(8, 8))))
    last = replace(conv(Axis(), Axis(), channels=(8, 8)), channels=Channels(3, 8, 8, 1))
    assert isinstance(substitute(reader, "t", Sum((last,)), (1, 8, 8, 8), 0.0), Obstacle)


# Sums: several convolutions of one source are one.


@given(st.data())
def test_merging_adds_up(data: st.DataObject) -> None:
    first = data.draw(convs(4, 4, rank=2))
    others = []
    for _ in range(data.draw(st.integers(1, 3))):
        drawn = data.draw(convs(4, 4, rank=2))
        axes = tuple(
            replace(b, stride=a.stride, extent=a.extent)
            for a, b in zip(spatial(first), spatial(drawn), strict=True)
        )
        others.append(along(drawn, *axes))
    x = integers(data.draw(seeds), 1, 4, 7, 6)
    wanted = sum(convolve(c, x) for c in (first, *others))
    lengths = data.draw(st.sampled_from([(1, 4, 7, 6), (None, 4, None, None)]))
    merged = add([first, *others], lengths)
    assert isinstance(merged, Term)
    assert group(merged) == math.gcd(*(group(c) for c in (first, *others)))
    assert np.array_equal(convolve(merged, x), wanted)


@pytest.mark.parametrize("edge", ["reflect", "edge", "wrap"])
@given(data=st.data())
def test_merging_under_one_extension(edge: Edge, data: st.DataObject) -> None:
    """Branches with different amounts of the same extension."""
    first, second = data.draw(convs(2, 2, edge=edge)), data.draw(convs(2, 2, edge=edge))
    own = spatial(first)[0]
    second = along(second, replace(spatial(second)[0], stride=own.stride, extent=own.extent))
    x = integers(data.draw(seeds), 1, 2, 8)
    merged = add([first, second], (1, 2, 8))
    assert isinstance(merged, Term)
    assert np.array_equal(convolve(merged, x), convolve(first, x) + convolve(second, x))


@given(convs(2, 2), seeds)
def test_a_number_beside_a_convolution(shaped: Term, seed: int) -> None:
    """A residual of the source itself: a tap in the middle."""
    shaped = along(shaped, replace(spatial(shaped)[0], stride=1, extent=0))
    x = integers(seed, 1, 2, 9)
    merged = add([number(2.0), shaped], (1, 2, 9))
    assert isinstance(merged, Term)
    assert np.array_equal(convolve(merged, x), 2 * x + convolve(shaped, x))


SEPARATE = {
    "strides": (conv(Axis(stride=2)), conv(Axis())),
    "numbers of outputs": (conv(Axis(3)), conv(Axis(3, extent=-2))),
    "extensions": (conv(padded), conv(replace(padded, edge="reflect"))),
    "constants in the padding": (
        conv(padded),
        conv(padded, fill=np.array([1.0, 1.0])),
    ),
    "numbers of channels": (conv(Axis()), conv(Axis(), channels=(4, 2))),
    "a mean": (conv(Axis()), conv(Axis(mean=True))),
    "the axes of their channels": (
        conv(Axis()),
        replace(conv(Axis()), channels=Channels(2, 2, 2, 1)),
    ),
}


@pytest.mark.parametrize("what", SEPARATE)
def test_what_differs_is_not_merged(what: str) -> None:
    a, b = SEPARATE[what]
    assert isinstance(add([a, b], (1, 2, 8)), Obstacle)
    assert isinstance(add([b, a], (1, 2, 8)), Obstacle)


# Kernels.


@given(st.sampled_from([(4, 4, 4), (4, 4, 2), (6, 4, 2), (6, 6, 3), (6, 6, 6)]), seeds)
def test_regrouping_changes_nothing(shape: tuple[int, int, int], seed: int) -> None:
    out, width, group = shape
    fine = conv(Axis(2), channels=(out, width), group=group, seed=seed)
    x = integers(seed, 1, width, 6)
    for coarser in (g for g in range(1, group + 1) if group % g == 0):
        wide = replace(
            fine,
            channels=Channels(1, out, width, coarser),
            kernel=Lazy.of(regroup(fine.kernel(), group, coarser)),
        )
        assert np.array_equal(convolve(wide, x), convolve(fine, x))


def test_placing_leaves_zeros_between() -> None:
    wide = overlay([np.ones((1, 1, 2))], [[Axis(2, 2, offset=0)]], [Axis(5, 1, offset=-1)])
    assert wide.tolist() == [[[0, 1, 0, 1, 0]]]


@pytest.mark.parametrize(("outer", "inner"), [(4, 4), (4, 1), (1, 4), (2, 4), (4, 2), (2, 2)])
def test_every_way_to_contract_groups(outer: int, inner: int) -> None:
    """Depthwise factors only scale; the result is that of dense matrices."""
    left, right = integers(1, 4, 4 // outer, 2), integers(2, 4, 4 // inner, 3)
    axes = [Axis(2)], [Axis(3)]
    short = compose(left, outer, axes[0], right, inner, axes[1])
    dense = compose(regroup(left, outer, 1), 1, axes[0], regroup(right, inner, 1), 1, axes[1])
    assert np.array_equal(regroup(short, math.gcd(outer, inner), 1), dense)


@given(convs(4, 4), seeds)
def test_the_response_to_a_constant(shaped: Term, seed: int) -> None:
    value = integers(seed, 4)
    constant = replace(shaped, fill=Lazy.of(value))
    found = convolve(constant, np.repeat(value[None, :, None], 9, axis=2))
    response = apply_to_constant(shaped.kernel(), group(shaped), value)
    assert np.array_equal(found, np.repeat(response[None, :, None], found.shape[2], axis=2))


# Lazy values.


def test_a_lazy_value_is_computed_once_and_late() -> None:
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        return len(asked)

    value = Lazy(ask)
    assert not asked
    assert (value(), value()) == (1, 1)


def test_a_long_chain_does_not_overflow_the_stack() -> None:
    value = Lazy.of(0)
    for _ in range(5000):
        value = Lazy(lambda n: n + 1, value)
    assert value() == 5000
