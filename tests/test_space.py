"""Focus, SpaceToDepth and PixelUnshuffle in front of a Conv: one Conv with a stride.

All weights and inputs are small integers, so results are equal to the bit, borders included.
"""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from exact import INPUT, Net, Window, feeds, operators, run
from fusing import SAME3, fused, rng
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto
from spaces import SPELLINGS, Place, space_to_depth

from onnxac.pipeline import Options, optimize
from onnxac.report import HOLDS

PLACES: tuple[Place, ...] = ((0, 0), (0, 1), (1, 0), (1, 1))


def stem(
    spelling: str,
    windows: list[Window],
    *,
    block: int = 2,
    order: tuple[Place, ...] = PLACES,
    size: tuple[int, int] = (12, 20),
    dynamic: bool = False,
    channels: int = 3,
    out: int = 4,
) -> ModelProto:
    net = Net()
    x = net.input((1, channels, *size), ["N", None, "H", "W"] if dynamic else [])
    y = space_to_depth(net, x, block, spelling, order)
    taps = [w.taps for w in windows]
    kernel = rng().integers(-INPUT, INPUT + 1, (out, y.channels, *taps)).astype(np.float64)
    net.output(net.unary("Relu", net.conv(y, kernel, windows, bias=np.arange(out) - 2.0)))
    return net.model()


def attributes(model: ModelProto) -> dict[str, list[int]]:
    (conv,) = (n for n in model.graph.node if n.op_type == "Conv")
    return {a.name: list(a.ints) for a in conv.attribute if a.ints}


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_focus_and_its_conv_are_one_conv(spelling: str, dynamic: bool) -> None:
    before = stem(spelling, SAME3, dynamic=dynamic)
    after, report = optimize(before)
    assert operators(after) == {"Conv": 1, "Relu": 1}
    found = attributes(after)
    assert found["kernel_shape"] == [6, 6]
    assert found["strides"] == [2, 2]
    assert found["pads"] == [2, 2, 2, 2]
    (fusion,) = report.fusions
    assert fusion.certificate is not None
    assert fusion.certificate.verdict == HOLDS
    for size in ({"N": 2, "H": 8, "W": 10}, {"N": 1, "H": 2, "W": 2}) if dynamic else ({},):
        values = feeds(before, 1, size)
        assert np.array_equal(run(after, values)[0], run(before, values)[0])


@pytest.mark.parametrize("order", tuple(itertools.permutations(PLACES)))
def test_slices_may_come_in_any_order(order: tuple[Place, ...]) -> None:
    after, _ = fused(stem("slices", SAME3, order=order))
    assert operators(after) == {"Conv": 1, "Relu": 1}


def test_a_part_of_the_places_makes_no_kernel_with_holes() -> None:
    """Three of four slices would be a 6×6 kernel, a quarter of it zeros: two are joined."""
    after, report = fused(stem("slices", SAME3, order=PLACES[:3]))
    assert operators(after) == {"Conv": 2, "Add": 1, "Relu": 1}
    assert report.after.stats.macs == report.before.stats.macs


def test_sizes_that_the_model_rejects_do_not_stand_in_the_way() -> None:
    """An odd size has no blocks: the original fails there, and nothing has to hold."""
    before = stem("SpaceToDepth", SAME3, dynamic=True, block=4)
    after, _ = optimize(before, Options(verify=False))
    assert operators(after) == {"Conv": 1, "Relu": 1}
    assert attributes(after)["kernel_shape"] == [12, 12]


def test_slices_that_need_not_agree_keep_their_border() -> None:
    """One Slice of every second element runs at odd sizes, too: its end is not known."""
    net = Net()
    x = net.input((1, 3, 12, 12), ["N", None, "H", "W"])
    bounds = [net.constant(np.array(v, np.int64)) for v in ([0], [2**62], [2], [2])]
    y = net.node("Slice", [x.name, *bounds], x, shape=(1, 3, 6, 12))
    kernel = rng().integers(-2, 3, (4, 3, 3, 1)).astype(np.float64)
    net.output(net.conv(y, kernel, [Window(3, offset=-1), Window()]))
    before = net.model()
    after, _ = optimize(before, Options(verify=False))
    for high in (5, 6, 7, 8):
        values = feeds(before, high, {"N": 1, "H": high, "W": 4})
        assert np.array_equal(run(after, values)[0], run(before, values)[0])


@st.composite
def geometries(draw: st.DrawFn) -> list[Window]:
    windows = []
    for _ in range(2):
        taps, stride, dilation = draw(st.tuples(*[st.integers(1, n) for n in (3, 2, 2)]))
        begin, end = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
        span = dilation * (taps - 1)
        windows.append(Window(taps, dilation, stride, -begin, begin + end - span))
    return windows


@given(
    spelling=st.sampled_from(SPELLINGS),
    block=st.integers(2, 4),
    windows=geometries(),
    order=st.permutations(PLACES),
    dynamic=st.booleans(),
)
def test_whatever_the_geometry_nothing_changes(
    spelling: str, block: int, windows: list[Window], order: list[Place], dynamic: bool
) -> None:
    block = 2 if spelling == "slices" else block
    size = (8 * block, 9 * block)
    before = stem(spelling, windows, block=block, order=tuple(order), size=size, dynamic=dynamic)
    after, _ = optimize(before, Options(verify=False))
    assert len(after.graph.node) <= len(before.graph.node)
    for n in range(3 if dynamic else 1):
        values = feeds(before, n, {"N": 1, "H": (6 + n) * block, "W": (7 + n) * block})
        assert np.array_equal(run(after, values)[0], run(before, values)[0])
    onnx.checker.check_model(after, full_check=True)


def test_a_channel_shuffle_between_pointwise_convolutions_is_a_choice_of_rows() -> None:
    """Reshape, Transpose, Reshape, as ShuffleNet has it; both convolutions are dense."""
    net = Net()
    x = net.input((1, 8, 6, 6))
    kernels = [rng().integers(-1, 2, (8, 8, 1, 1)).astype(np.float64) for _ in range(2)]
    y = net.conv(x, kernels[0], [Window()] * 2)
    apart, turned, joined = (1, 2, 4, 6, 6), (1, 4, 2, 6, 6), (1, 8, 6, 6)
    y = net.node("Reshape", [y.name, net.constant(np.array(apart))], y, shape=apart)
    y = net.node("Transpose", [y.name], y, shape=turned, perm=[0, 2, 1, 3, 4])
    y = net.node("Reshape", [y.name, net.constant(np.array(joined))], y, shape=joined)
    net.output(net.conv(y, kernels[1], [Window()] * 2))
    after, report = fused(net.model())
    assert operators(after) == {"Conv": 1}
    assert report.fusions[0].kinds == ("branches", "shuffles")
