"""Small models, fused and compared to the bit, for tests of single decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from exact import Array, Net, Window, feeds, run
from onnx import ModelProto

from onnxac.pipeline import Options, optimize
from onnxac.report import Report

SAME3 = [Window(3, offset=-1)] * 2
INNER3 = [Window(3, extent=-2)] * 2
POINT = [Window()] * 2


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def weight(*shape: int) -> Array:
    """Weights of which none is zero."""
    return rng().choice([-2.0, -1.0, 1.0, 2.0], shape)


def fused(model: ModelProto, **options: Any) -> tuple[ModelProto, Report]:
    """The optimized model, proven to compute the same to the bit."""
    result, report = optimize(model, Options(verify=False, **options))
    for seed in range(3):
        values = feeds(model, seed)
        for have, want in zip(run(result, values), run(model, values), strict=True):
            assert np.array_equal(have, want)
    return result, report


def refused(report: Report) -> set[tuple[str, str]]:
    return {(r.node.op, r.rule) for r in report.refusals}


def one_conv(
    x: Sequence[int], kernel: Array, windows: Sequence[Window], bias: Array | None = None
) -> ModelProto:
    net = Net()
    net.output(net.conv(net.input(x), kernel, windows, bias=bias))
    return net.model()


def composed(outer: Array, inner: Array) -> Array:
    """Kernel of a stride-1 convolution of a stride-1 convolution."""
    kh, kw = (a + b - 1 for a, b in zip(outer.shape[2:], inner.shape[2:], strict=True))
    kernel = np.zeros((outer.shape[0], inner.shape[1], kh, kw))
    for i, j in np.ndindex(*outer.shape[2:]):
        product = np.einsum("om,mikl->oikl", outer[:, :, i, j], inner)
        kernel[:, :, i : i + inner.shape[2], j : j + inner.shape[3]] += product
    return kernel


def assert_final(after: ModelProto) -> None:
    """A second run finds nothing to merge, and leaves as many nodes."""
    again, report = optimize(after, Options(verify=False))
    assert not report.fusions
    assert len(again.graph.node) == len(after.graph.node)
