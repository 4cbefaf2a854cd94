"""Resize by whole factors in front of a Conv: at the source's own size, equal to the bit.

Which of the ways is cheapest is the cost model's; here each of them is made to be taken, by
making the others dear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from exact import INPUT, Net, Tensor, TooLarge, Window, attempted, feeds, operators, session
from fusing import INNER3, POINT, SAME3, fused, refused, rng
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from onnx import ModelProto

from onnxac.algebra import Axis, Sampling
from onnxac.pipeline import Options, optimize
from onnxac.recipes import cost, upsampling
from onnxac.recipes.upsampling import phased, spread
from onnxac.report import HOLDS

NEAREST: dict[str, Any] = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
}


def enlarged(net: Net, x: Tensor, factors: Sequence[int], **attrs: Any) -> Tensor:
    """A Resize, or an Upsample, in the way of the net's opset."""
    scales = np.array([1, 1, *factors], np.float64)
    shape = [n * int(f) for n, f in zip(x.shape, scales, strict=True)]
    if net.opset < 9:
        return net.node("Upsample", [x.name], x, shape=shape, mode="nearest", scales=list(scales))
    held = net.constant(scales)
    if net.opset < 11:
        op = "Upsample" if net.opset < 10 else "Resize"
        return net.node(op, [x.name, held], x, shape=shape, mode="nearest")
    roi = net.constant(np.zeros(0)) if net.opset < 13 else ""
    return net.node("Resize", [x.name, roi, held], x, shape=shape, **(attrs or NEAREST))


def decoder(
    windows: Sequence[Window],
    *,
    size: tuple[int, ...] = (5, 6),
    channels: tuple[int, int] = (4, 3),
    factors: Sequence[int] = (2, 2),
    group: int = 1,
    dynamic: bool = False,
    opset: int = 17,
    **attrs: Any,
) -> ModelProto:
    net = Net(opset=opset)
    width, out = channels
    symbols = ["N", None, "H", "W"][: 2 + len(size)] if dynamic else []
    x = net.unary("Relu", net.input((1, width, *size), symbols))
    y = enlarged(net, x, factors, **attrs)
    taps = [w.taps for w in windows]
    kernel = rng().integers(-INPUT, INPUT + 1, (out, width // group, *taps)).astype(np.float64)
    bias = np.arange(out) - 1.0
    net.output(net.unary("Relu", net.conv(y, kernel, windows, group=group, bias=bias)))
    return net.model()


@pytest.fixture
def dear_resize(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_PER_RESIZED", 1e6)


@pytest.fixture(params=["transposed", "phases"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, dear_resize: None) -> str:
    """Makes one way be taken, whatever it costs."""
    other = {"transposed": "_by_phases", "phases": "_transposed"}[request.param]
    monkeypatch.setattr(upsampling, other, lambda *_: None)
    return str(request.param)


SIZES: tuple[dict[str, int], ...] = (
    {"N": 1, "H": 3, "W": 3},
    {"N": 2, "H": 4, "W": 5},
    {"N": 1, "H": 8, "W": 5},
)


def same(before: ModelProto, after: ModelProto) -> None:
    """Both compute the same to the bit, at several sizes where these are open."""
    dims = before.graph.input[0].type.tensor_type.shape.dim
    dynamic = any(d.dim_param for d in dims)
    original, changed = session(before), session(after)
    for number, size in enumerate(SIZES if dynamic else ({},)):
        values = feeds(before, number, size)
        want = attempted(original, values)
        if want is None or not want[0].size:
            # A window larger than its map, or just as large.
            assert dynamic
            continue
        for a, b in zip(attempted(changed, values) or [], want, strict=True):
            assert np.array_equal(a, b)
    onnx.checker.check_model(after, full_check=True)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("windows", [SAME3, INNER3, [Window(5, offset=-2)] * 2])
def test_each_way_is_exact_borders_included(
    windows: list[Window], factor: int, dynamic: bool, way: str
) -> None:
    before = decoder(windows, factors=(factor, factor), dynamic=dynamic, size=(9, 10))
    after, report = optimize(before)
    same(before, after)
    found = operators(after)
    assert "Resize" not in found
    assert ("ConvTranspose" in found) == (way == "transposed")
    assert ("DepthToSpace" in found) == (way == "phases")
    (fusion,) = report.fusions
    assert fusion.certificate is not None
    assert fusion.certificate.verdict == HOLDS
    assert fusion.certificate.sources[0].least[2:] != (None, None)


@st.composite
def geometries(draw: st.DrawFn) -> list[Window]:
    windows = []
    for _ in range(2):
        taps, dilation = draw(st.tuples(st.integers(1, 4), st.integers(1, 2)))
        begin, end = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
        span = dilation * (taps - 1)
        windows.append(Window(taps, dilation, 1, -begin, begin + end - span))
    return windows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    windows=geometries(),
    factors=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    group=st.sampled_from([1, 2]),
    dynamic=st.booleans(),
)
def test_whatever_the_geometry_nothing_changes(
    windows: list[Window], factors: tuple[int, int], group: int, dynamic: bool, way: str
) -> None:
    try:
        before = decoder(
            windows, factors=factors, group=group, channels=(4, 6), dynamic=dynamic, size=(3, 4)
        )
    except TooLarge:
        reject()
    after, _ = optimize(before, Options(verify=False))
    same(before, after)


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 18])
@pytest.mark.parametrize("windows", [SAME3, POINT])
def test_upsample_and_resize_of_every_opset(
    opset: int, windows: list[Window], dear_resize: None
) -> None:
    before = decoder(windows, opset=opset)
    after, _ = optimize(before, Options(verify=False))
    same(before, after)
    found = operators(after)
    assert found["Relu"] == 2
    assert windows is POINT or not {"Resize", "Upsample"} & found.keys()


@pytest.mark.parametrize(
    ("coordinates", "rounding", "repeats"),
    [
        ("asymmetric", "floor", True),
        ("asymmetric", "round_prefer_floor", True),
        ("asymmetric", "ceil", False),
        ("half_pixel", "round_prefer_floor", True),
        ("half_pixel", "round_prefer_ceil", True),
        ("half_pixel", "floor", False),
        ("pytorch_half_pixel", "round_prefer_floor", True),
        ("tf_half_pixel_for_nn", "floor", True),
        ("align_corners", "round_prefer_floor", True),
        ("align_corners", "floor", False),
    ],
)
def test_a_rounding_repeats_or_is_told(
    coordinates: str, rounding: str, repeats: bool, dear_resize: None
) -> None:
    attrs: dict[str, Any] = {
        "mode": "nearest",
        "coordinate_transformation_mode": coordinates,
        "nearest_mode": rounding,
    }
    opset = 12 if coordinates.startswith("tf") else 17
    before = decoder(SAME3, opset=opset, **attrs)
    after, report = optimize(before, Options(verify=False))
    same(before, after)
    assert ("Resize" in operators(after)) != repeats
    assert (("Resize", "resize") in refused(report)) != repeats


def test_sizes_instead_of_scales(dear_resize: None) -> None:
    net = Net()
    x = net.unary("Relu", net.input((1, 4, 5, 6)))
    sizes = net.constant(np.array([1, 4, 10, 18], np.int64))
    y = net.node("Resize", [x.name, "", "", sizes], x, shape=(1, 4, 10, 18), **NEAREST)
    kernel = rng().integers(-2, 3, (3, 4, 3, 3)).astype(np.float64)
    net.output(net.conv(y, kernel, SAME3))
    after, _ = fused(net.model())
    assert operators(after) == {"Relu": 1, "ConvTranspose": 1}


@pytest.mark.parametrize("scale", [1.9, 2.1])
def test_a_scale_that_only_nearly_is_whole_stays(scale: float, dear_resize: None) -> None:
    """⌊6 · 2.1⌋ is 12, but its elements are not repeated twice each."""
    net = Net()
    x = net.unary("Relu", net.input((1, 4, 6, 6)))
    scales = net.constant(np.array([1, 1, scale, scale]))
    size = int(6 * scale)
    y = net.node("Resize", [x.name, "", scales], x, shape=(1, 4, size, size), **NEAREST)
    net.output(net.conv(y, rng().integers(-2, 3, (3, 4, 3, 3)).astype(np.float64), SAME3))
    after, report = fused(net.model())
    assert operators(after)["Resize"] == 1
    assert ("Resize", "resize") in refused(report)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_operators_on_single_positions_go_before_any_resize(mode: str) -> None:
    """Interpolation keeps constants, so a bias may pass, too."""
    attrs: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": "half_pixel"}
    before = decoder(POINT, size=(8, 8), channels=(16, 4), **attrs)
    after, report = optimize(before)
    assert [n.op_type for n in after.graph.node] == ["Relu", "Conv", "Resize", "Relu"]
    (fusion,) = report.fusions
    assert fusion.certificate is not None
    assert fusion.certificate.verdict == HOLDS
    assert fusion.macs_after is not None
    assert fusion.macs_before is not None
    assert 4 * fusion.macs_after == fusion.macs_before


def test_an_interpolation_before_a_window_stays_and_says_why() -> None:
    attrs: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    _, report = optimize(decoder(SAME3, **attrs), Options(verify=False))
    assert ("Resize", "resize") in refused(report)
    assert not report.fusions


@pytest.mark.parametrize("mode", ["reflect", "edge"])
def test_a_border_that_is_not_zero_stays_and_says_why(mode: str, dear_resize: None) -> None:
    net = Net()
    x = net.unary("Relu", net.input((1, 4, 5, 6)))
    y = net.pad(enlarged(net, x, (2, 2)), {2: (1, 1), 3: (1, 1)}, mode=mode)
    net.output(net.conv(y, rng().integers(-2, 3, (3, 4, 3, 3)).astype(np.float64), INNER3))
    after, report = fused(net.model())
    assert operators(after)["Resize"] == 1
    assert "resize" in {r.rule for r in report.refusals}


def test_a_zero_pad_between_goes_along(dear_resize: None) -> None:
    net = Net()
    x = net.unary("Relu", net.input((1, 4, 5, 6)))
    y = net.pad(enlarged(net, x, (2, 2)), {2: (1, 1), 3: (1, 1)})
    net.output(net.conv(y, rng().integers(-2, 3, (3, 4, 3, 3)).astype(np.float64), INNER3))
    after, _ = fused(net.model())
    assert operators(after) == {"Relu": 1, "ConvTranspose": 1}


@pytest.mark.parametrize(("size", "pays"), [(4, False), (20, True)])
def test_what_is_wider_behind_a_concat_is_made_longer_last(size: int, pays: bool) -> None:
    """A Concat of a map that was made longer and another one, and a 1×1: an FPN.

    It takes one node more, so the maps have to be large enough.
    """
    net = Net()
    coarse = net.unary("Relu", net.input((1, 128, size, size)))
    fine = net.unary("Relu", net.input((1, 32, 2 * size, 2 * size)))
    wide = enlarged(net, coarse, (2, 2))
    shape = (1, 160, 2 * size, 2 * size)
    joined = net.node("Concat", [wide.name, fine.name], fine, shape=shape, axis=1)
    kernel = rng().integers(-1, 2, (64, 160, 1, 1)).astype(np.float64)
    net.output(net.unary("Relu", net.conv(joined, kernel, POINT, bias=np.arange(64.0))))
    after, report = fused(net.model())
    if not pays:
        assert operators(after)["Concat"] == 1
        return
    assert operators(after) == {"Relu": 3, "Conv": 2, "Resize": 1, "Add": 1}
    assert report.after.stats.macs is not None
    assert report.before.stats.macs is not None
    assert report.after.stats.macs < 0.5 * report.before.stats.macs


def test_a_mean_of_what_is_repeated_is_its_own() -> None:
    net = Net()
    x = net.unary("Relu", net.input((1, 4, 4, 4)))
    y = enlarged(net, x, (2, 2))
    net.output(net.node("GlobalAveragePool", [y.name], y, shape=(1, 4, 1, 1), grain=4))
    after, _ = fused(net.model())
    assert operators(after) == {"Relu": 1, "GlobalAveragePool": 1}


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_phases_have_the_fewest_taps_there_are(factor: int) -> None:
    """3 taps over elements that are repeated twice reach 2 of them, 3 where the phase is odd."""
    axis = Axis(3, offset=-1, extent=-0, sampling=Sampling(factor))
    chosen = phased(axis, factor)
    every = [phased(axis, factor, s).axis.taps for s in range(factor)]
    assert chosen.axis.taps == min(every)
    assert chosen.axis.taps == (2 if factor == 2 else min(every))
    for size in range(1, 9):
        outputs = factor * chosen.axis.length(size)
        assert outputs >= chosen.shift + axis.length(size)


@pytest.mark.parametrize("factor", [2, 3])
def test_spreading_keeps_the_number_of_outputs(factor: int) -> None:
    axis = Axis(3, 2, offset=-1, extent=-2, sampling=Sampling(factor))
    for size in range(2, 9):
        assert spread(axis, factor).length(size) == axis.length(size)
