"""What stands before a network's first convolution: a mean, a scale, another order of channels.

All weights and inputs are small integers, and divisors are powers of two, so results are equal to
the bit, borders included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from exact import INT64_MAX, Net, Tensor, Window, feeds, operators, run
from fusing import INNER3, POINT, SAME3, rng
from onnx import ModelProto, helper

from onnxac.pipeline import Options, optimize
from onnxac.report import HOLDS, Report

SIZES = ({"N": 1, "H": 6, "W": 7}, {"N": 2, "H": 9, "W": 5})
Front = Callable[[Net, Tensor], Tensor]


def ints(net: Net, *values: Any) -> list[str]:
    return [net.constant(np.array(v, np.int64)) for v in values]


def kernel(out: int, width: int, taps: int = 3) -> Any:
    return rng().integers(-2, 3, (out, width, taps, taps)).astype(np.float64)


def stem(
    front: Front, windows: list[Window], *, channels: int = 3, dynamic: bool = False
) -> ModelProto:
    net = Net()
    x = net.input((1, channels, 6, 7), ["N", None, "H", "W"] if dynamic else [])
    y = front(net, x)
    weight = kernel(4, y.channels, windows[0].taps)
    net.output(net.unary("Relu", net.conv(y, weight, windows, bias=np.arange(4.0))))
    return net.model()


def proven(before: ModelProto, *, dynamic: bool = False) -> tuple[dict[str, int], Report]:
    """The operators of what comes out, equal to the bit, and certified."""
    after, report = optimize(before)
    for number, size in enumerate(SIZES if dynamic else ({},)):
        values = feeds(before, number, size)
        assert np.array_equal(run(after, values)[0], run(before, values)[0])
    for fusion in report.fusions:
        assert fusion.certificate is not None
        assert fusion.certificate.verdict == HOLDS
    return operators(after), report


# Normalization: (x − mean) / std.

MEAN, STD = (np.array(v).reshape(1, 3, 1, 1) for v in ([1.0, 2.0, 3.0], [2.0, 1.0, 4.0]))


def mean_and_std(net: Net, x: Tensor) -> Tensor:
    return net.divide(net.shift(x, MEAN, op="Sub"), STD)


def std(net: Net, x: Tensor) -> Tensor:
    return net.divide(x, STD)


def to_tensor(net: Net, x: Tensor) -> Tensor:
    """x / 255, as a power of two, and then the mean and std."""
    return mean_and_std(net, net.divide(x, np.array(4.0)))


def padded_with_the_mean(net: Net, x: Tensor) -> Tensor:
    y = net.pad(x, {2: (1, 1), 3: (1, 1)}, value=2.0)
    return net.shift(y, np.array(2.0), op="Sub")


def padded_after(net: Net, x: Tensor) -> Tensor:
    return net.pad(mean_and_std(net, x), {2: (1, 1), 3: (1, 1)})


NORMALIZED: dict[str, tuple[Front, list[Window], dict[str, int], bool]] = {
    # Name: in front, the window, what is left beside the Relu, whether a border is refused.
    "mean and std, nothing padded": (mean_and_std, INNER3, {"Conv": 1}, False),
    "mean and std, patches": (mean_and_std, [Window(2, 1, 2, 0, -1)] * 2, {"Conv": 1}, False),
    "mean and std, padded": (mean_and_std, SAME3, {"Sub": 1, "Conv": 1}, True),
    "mean and std, a Pad of zeros": (padded_after, INNER3, {"Sub": 1, "Conv": 1}, True),
    "std alone, padded": (std, SAME3, {"Conv": 1}, False),
    "255, mean and std, nothing padded": (to_tensor, INNER3, {"Conv": 1}, False),
    "255, mean and std, padded": (to_tensor, SAME3, {"Sub": 1, "Conv": 1}, True),
    "a Pad with the mean itself": (padded_with_the_mean, INNER3, {"Pad": 1, "Conv": 1}, False),
}  # fmt: skip


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", NORMALIZED)
def test_a_normalization_goes_in_as_far_as_the_border_allows(name: str, dynamic: bool) -> None:
    """A window that pads reads zeros, not what the mean makes of zero; a scale of zero is zero."""
    front, windows, left, refused = NORMALIZED[name]
    found, report = proven(stem(front, windows, dynamic=dynamic), dynamic=dynamic)
    assert found == {**left, "Relu": 1}
    borders = [r.reason for r in report.refusals if r.rule == "border"]
    assert len(borders) == refused
    assert all("padding reads past the border" in b and "bias is not zero" in b for b in borders)


# Channels in another order.


def sliced_backwards(net: Net, x: Tensor) -> Tensor:
    return net.node("Slice", [x.name, *ints(net, [-1], [-INT64_MAX], [1], [-1])], x)


def gathered(net: Net, x: Tensor) -> Tensor:
    return net.node("Gather", [x.name, *ints(net, [*range(x.channels)][::-1])], x, axis=1)


def slices_joined(net: Net, x: Tensor) -> Tensor:
    shape = (x.shape[0], 1, *x.shape[2:])
    parts = [
        net.node("Slice", [x.name, *ints(net, [c], [c + 1], [1], [1])], x, shape=shape).name
        for c in range(x.channels)[::-1]
    ]
    return net.node("Concat", parts, x, axis=1)


def split_and_joined(net: Net, x: Tensor) -> Tensor:
    half = (x.shape[0], x.channels // 2, *x.shape[2:])
    parts = [Tensor(net.fresh("part"), half, x.bound) for _ in range(2)]
    (sizes,) = ints(net, [half[1]] * 2)
    net.nodes.append(helper.make_node("Split", [x.name, sizes], [p.name for p in parts], axis=1))
    return net.node("Concat", [p.name for p in parts[::-1]], x, axis=1)


def shuffled(net: Net, x: Tensor) -> Tensor:
    """ShuffleNet's: Reshape, Transpose, Reshape."""
    n, c, h, w = x.shape
    ends = (-1 if net.dynamic else h, -1 if net.dynamic else w)
    if net.dynamic:
        shape = net.node("Shape", [x.name], x).name
        first, last = (
            net.node("Gather", [shape, *ints(net, at)], x, axis=0).name for at in ([0], [2, 3])
        )
        cut, whole = (
            net.node("Concat", [first, *ints(net, middle), last], x, axis=0).name
            for middle in ([2, c // 2], [c])
        )
    else:
        cut, whole = ints(net, [n, 2, c // 2, *ends], x.shape)
    apart = (n, 2, c // 2, h, w)
    y = net.node("Reshape", [x.name, cut], x, shape=apart)
    turned = (n, c // 2, 2, h, w)
    y = net.node("Transpose", [y.name], y, shape=turned, perm=[0, 2, 1, 3, 4])
    return net.node("Reshape", [y.name, whole], y, shape=x.shape)


ORDERS: dict[str, tuple[Front, int]] = {
    "a Slice with a step of -1": (sliced_backwards, 3),
    "a Gather": (gathered, 3),
    "a Slice for each channel, and Concat": (slices_joined, 3),
    "Split and Concat": (split_and_joined, 4),
    "Reshape, Transpose, Reshape": (shuffled, 8),
}


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("windows", [SAME3, POINT], ids=["3×3", "1×1"])
@pytest.mark.parametrize("name", ORDERS)
def test_channels_in_another_order_are_columns_of_the_kernel(
    name: str, windows: list[Window], dynamic: bool
) -> None:
    front, channels = ORDERS[name]
    before = stem(front, windows, channels=channels, dynamic=dynamic)
    found, _ = proven(before, dynamic=dynamic)
    assert found == {"Conv": 1, "Relu": 1}


@pytest.mark.parametrize("name", sorted({*ORDERS} - {"Split and Concat"}))
def test_between_a_pointwise_and_a_depthwise_window_they_are_rows(name: str) -> None:
    front, channels = ORDERS[name]

    def both(net: Net, x: Tensor) -> Tensor:
        point = net.conv(x, kernel(channels, channels, 1), POINT)
        y = front(net, point)
        return net.unary("Relu", net.conv(y, kernel(channels, 1), SAME3, group=channels))

    before = stem(both, POINT, channels=channels)
    found, _ = proven(before)
    assert found == {"Conv": 3, "Relu": 2}


def test_between_grouped_windows_they_stay() -> None:
    """Rows of another group are not in reach of a grouped kernel: dense, it would be dearer."""

    def both(net: Net, x: Tensor) -> Tensor:
        point = net.conv(x, kernel(8, 4, 1), POINT, group=2)
        return net.unary("Relu", net.conv(shuffled(net, point), kernel(8, 1), SAME3, group=8))

    before = stem(both, POINT, channels=8)
    after, _ = optimize(before, Options(verify=False))
    assert operators(after) == operators(before)
