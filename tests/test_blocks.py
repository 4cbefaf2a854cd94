"""What follows a DepthToSpace, or is added to it, goes into the convolution before it: to the bit.

All weights and inputs are small integers, so results are equal to the bit, borders included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exact import INPUT, Net, Tensor, Window, feeds, operators, run
from fusing import POINT, SAME3, fused, rng
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto

from onnxac.pipeline import Options, optimize
from onnxac.report import EQUAL, HOLDS

MODELS = Path(__file__).parents[1] / "models" / "onnx"

SPELLINGS = ("CRD", "DCR", "reshaped CRD", "reshaped DCR")
SIZES: tuple[dict[str, int], ...] = (
    {"N": 1, "H": 3, "W": 4},
    {"N": 2, "H": 1, "W": 1},
    {"N": 1, "H": 6, "W": 5},
)
NEAREST = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
# What becomes of a shuffled tensor; the last argument is the convolution's source.
Change = Callable[[Net, Tensor, Tensor], Tensor]


def shuffled(net: Net, x: Tensor, block: int, spelling: str) -> Tensor:
    """[N, C·f², H, W] → [N, C, H·f, W·f]."""
    n, deep, h, w = x.shape
    c, mode = deep // block**2, spelling[-3:]
    shape = (n, c, h * block, w * block)
    if not spelling.startswith("reshaped"):
        return net.node("DepthToSpace", [x.name], x, shape=shape, blocksize=block, mode=mode)
    cut = (n, c, block, block, h, w) if mode == "CRD" else (n, block, block, c, h, w)
    perm = [0, 1, 4, 2, 5, 3] if mode == "CRD" else [0, 3, 4, 1, 5, 2]
    y = net.node("Reshape", [x.name, target(net, x, cut[1:4], 1)], x, shape=cut)
    y = net.node("Transpose", [y.name], y, shape=[cut[p] for p in perm], perm=perm)
    return net.node("Reshape", [y.name, target(net, x, [c], block)], y, shape=shape)


def target(net: Net, x: Tensor, middle: Sequence[int], factor: int) -> str:
    """[N, *middle, H·factor, W·factor], from the shape where that is dynamic."""
    n, _, h, w = x.shape
    if not net.dynamic:
        return net.constant(np.array([n, *middle, h * factor, w * factor], np.int64))
    shape = net.node("Shape", [x.name], x).name
    ends = [
        net.node("Gather", [shape, net.constant(np.array(at, np.int64))], x, axis=0).name
        for at in ([0], [2, 3])
    ]
    long = net.node("Mul", [ends[1], net.constant(np.array([factor], np.int64))], x).name
    held = net.constant(np.array(middle, np.int64))
    return net.node("Concat", [ends[0], held, long], x, axis=0).name


def kernel(out: int, width: int, taps: int = 1, most: int = INPUT) -> Any:
    return rng().integers(-most, most + 1, (out, width, taps, taps)).astype(np.float64)


def head(
    change: Change,
    *,
    block: int = 2,
    spelling: str = "CRD",
    channels: tuple[int, int] = (3, 3),
    windows: Sequence[Window] = SAME3,
    dynamic: bool = False,
) -> ModelProto:
    """Relu, a convolution, a shuffle, what the change makes of it, Relu."""
    net = Net()
    width, out = channels
    x = net.unary("Relu", net.input((1, width, 4, 5), ["N", None, "H", "W"] if dynamic else []))
    deep = out * block * block
    y = net.conv(x, kernel(deep, width, windows[0].taps), windows, bias=np.arange(deep) - 3.0)
    net.output(net.unary("Relu", change(net, shuffled(net, y, block, spelling), x)))
    return net.model()


def enlarged(net: Net, x: Tensor, factor: int, **attrs: Any) -> Tensor:
    scales = net.constant(np.array([1.0, 1.0, factor, factor]))
    shape = [n * f for n, f in zip(x.shape, (1, 1, factor, factor), strict=True)]
    return net.node("Resize", [x.name, "", scales], x, shape=shape, **(attrs or NEAREST))


def scaled(net: Net, y: Tensor, x: Tensor) -> Tensor:
    factors = (np.arange(y.channels) - 1.0).reshape(-1, 1, 1)
    return net.shift(net.scale(y, factors), 2 - factors, first=True, op="Sub")


def normalized(net: Net, y: Tensor, x: Tensor) -> Tensor:
    gamma, beta, mean = (np.arange(y.channels) - 1.0 + n for n in range(3))
    return net.batch_norm(y, gamma, beta, mean, np.arange(y.channels) % 2)


def divided(net: Net, y: Tensor, x: Tensor) -> Tensor:
    return net.divide(net.shift(y, np.array(3.0)), np.array(2.0))


def pointwise(net: Net, y: Tensor, x: Tensor) -> Tensor:
    return net.conv(y, kernel(2, y.channels), POINT, bias=np.array([1.0, -2.0]))


def twice(net: Net, y: Tensor, x: Tensor) -> Tensor:
    return scaled(net, pointwise(net, normalized(net, y, x), x), x)


def skip(net: Net, y: Tensor, x: Tensor) -> Tensor:
    return net.combine([y, enlarged(net, x, y.shape[2] // x.shape[2])])


def skip_and_mean(net: Net, y: Tensor, x: Tensor) -> Tensor:
    return pointwise(net, skip(net, y, x), x)


def skip_of_a_point(net: Net, y: Tensor, x: Tensor) -> Tensor:
    point = net.conv(x, kernel(y.channels, x.channels), POINT)
    return net.combine([enlarged(net, point, y.shape[2] // x.shape[2]), scaled(net, y, x)])


CHANGES: tuple[Change, ...] = (
    scaled, normalized, divided, pointwise, twice, skip, skip_and_mean, skip_of_a_point,
)  # fmt: skip


def same(before: ModelProto, after: ModelProto) -> None:
    dims = before.graph.input[0].type.tensor_type.shape.dim
    dynamic = any(d.dim_param for d in dims)
    for number, size in enumerate(SIZES if dynamic else ({},)):
        values = feeds(before, number, size)
        assert np.array_equal(run(after, values)[0], run(before, values)[0])
    onnx.checker.check_model(after, full_check=True)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)
def test_what_follows_goes_into_the_convolution(
    change: Change, spelling: str, dynamic: bool
) -> None:
    before = head(change, spelling=spelling, dynamic=dynamic)
    after, report = optimize(before)
    same(before, after)
    assert operators(after) == {"Relu": 2, "Conv": 1, "DepthToSpace": 1}
    (fusion,) = report.fusions
    assert fusion.certificate is not None
    assert fusion.certificate.verdict == HOLDS


@pytest.mark.parametrize("modes", [("CRD", "CRD"), ("DCR", "DCR"), ("CRD", "DCR")])
def test_two_shuffles_that_are_added_are_one_if_they_are_alike(modes: tuple[str, str]) -> None:
    def two(net: Net, y: Tensor, x: Tensor) -> Tensor:
        point = net.conv(x, kernel(4 * y.channels, x.channels), POINT)
        return net.combine([y, shuffled(net, point, 2, modes[1])])

    before = head(two, spelling=modes[0])
    after, _ = fused(before)
    same(before, after)
    alike = modes[0] == modes[1]
    count = 1 if alike else 2
    found = {"Relu": 2, "Conv": count, "DepthToSpace": count} | ({} if alike else {"Add": 1})
    assert operators(after) == found


@given(
    change=st.sampled_from(CHANGES),
    spelling=st.sampled_from(SPELLINGS),
    block=st.integers(2, 4),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    taps=st.integers(1, 3),
    dynamic=st.booleans(),
)
def test_whatever_the_shuffle_nothing_changes(
    change: Change,
    spelling: str,
    block: int,
    channels: tuple[int, int],
    taps: int,
    dynamic: bool,
) -> None:
    width, out = channels
    channels = (out if change in (skip, skip_and_mean) else width, out)
    windows = [Window(taps, offset=-((taps - 1) // 2), extent=0)] * 2
    before = head(
        change, block=block, spelling=spelling, channels=channels, windows=windows, dynamic=dynamic
    )
    after, _ = optimize(before, Options(verify=False))
    assert len(after.graph.node) <= len(before.graph.node)
    same(before, after)


@pytest.mark.parametrize(
    "flavour", ["skip/L", "skip/B", "skip/D", "written/L", "written/D", "written/Ldhw"]
)
def test_exports(flavour: str) -> None:
    """A 3×3, PixelShuffle, the source made larger, and a 1×1: a 3×3 and PixelShuffle."""
    after, report = optimize(MODELS / f"shuffle_{flavour}.onnx")
    assert operators(after) == {"Conv": 2, "Relu": 1, "DepthToSpace": 1}
    assert report.verification is not None
    assert report.verification.verdict == EQUAL
    for fusion in report.fusions:
        assert fusion.certificate is not None
        assert fusion.certificate.verdict == HOLDS


def widened(net: Net, y: Tensor, x: Tensor) -> Tensor:
    return net.conv(y, kernel(y.channels + 1, y.channels), POINT)


def window(net: Net, y: Tensor, x: Tensor) -> Tensor:
    return net.conv(y, kernel(2, y.channels, 3), SAME3)


def positions(net: Net, y: Tensor, x: Tensor) -> Tensor:
    return net.shift(y, rng().integers(-2, 3, y.shape[2:]).astype(np.float64))


def other_source(net: Net, y: Tensor, x: Tensor) -> Tensor:
    return net.combine([y, enlarged(net, net.unary("Neg", net.unary("Abs", x)), 2)])


def interpolated(net: Net, y: Tensor, x: Tensor) -> Tensor:
    long = enlarged(net, x, 2, mode="linear", coordinate_transformation_mode="asymmetric")
    return net.combine([y, net.unary("Floor", long, grain=0)])


def reads_twice(net: Net, y: Tensor, x: Tensor) -> Tensor:
    return net.combine([net.scale(y, np.array(2.0)), net.unary("Abs", y)])


@pytest.mark.parametrize(
    "change",
    [widened, window, positions, other_source, interpolated, reads_twice],
    ids=lambda c: c.__name__,
)
def test_what_does_not_merge_stays_where_it_is(change: Change) -> None:
    """More channels than before would make all phases dearer; a window reads other phases."""
    before = head(change)
    after, _ = fused(before)
    same(before, after)
    kinds = [n.op_type for n in after.graph.node]
    place = kinds.index("DepthToSpace")
    assert kinds[place - 1] == "Conv"
    assert operators(after) == operators(before)


def test_a_shuffle_that_is_written_out_is_one_operator() -> None:
    before = head(lambda net, y, x: y, spelling="reshaped CRD", dynamic=True)
    after, _ = optimize(before)
    same(before, after)
    assert operators(after) == {"Relu": 2, "Conv": 1, "DepthToSpace": 1}


def test_another_order_of_axes_is_no_shuffle() -> None:
    """Rows of a block come where its columns should: it is not what DepthToSpace does."""
    net = Net()
    x = net.input((1, 8, 3, 3))
    y = net.unary("Relu", net.conv(x, kernel(8, 8), POINT))
    cut, shape = (1, 2, 2, 2, 3, 3), (1, 2, 6, 6)
    y = net.node("Reshape", [y.name, net.constant(np.array(cut))], y, shape=cut)
    y = net.node("Transpose", [y.name], y, shape=(1, 2, 3, 2, 3, 2), perm=[0, 1, 4, 3, 5, 2])
    net.output(net.node("Reshape", [y.name, net.constant(np.array(shape))], y, shape=shape))
    before = net.model()
    after, _ = fused(before)
    same(before, after)
    assert "DepthToSpace" not in operators(after)


def test_copies_of_the_source_that_are_added_before_a_shuffle_are_ones() -> None:
    """ABPN's anchor: the source as often as there are phases, in a Concat; of one layer."""
    net = Net()
    x = net.unary("Relu", net.input((1, 3, 4, 5)))
    y = net.conv(x, kernel(12, 3, 3), SAME3, bias=np.arange(12.0))
    anchor = net.node("Concat", [x.name] * 4, x, shape=(1, 12, 4, 5), axis=1)
    y = shuffled(net, net.combine([y, anchor]), 2, "DCR")
    net.output(net.unary("Relu", y))
    before = net.model()
    after, _ = fused(before)
    same(before, after)
    assert operators(after) == {"Relu": 2, "Conv": 1, "DepthToSpace": 1}


@pytest.mark.parametrize("left_out", ["shuffles", "upsample"])
def test_each_part_is_left_out_where_that_is_asked_for(left_out: str) -> None:
    after, _ = optimize(head(skip), Options(verify=False, without=(left_out,)))
    assert operators(after)["Resize"] == 1
