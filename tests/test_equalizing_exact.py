"""Random networks, equalized by powers of two: ONNX Runtime gives the same bits.

Their weights are small integers times powers of two, so that no sum rounds (`uneven`): what is
merged and equalized has to equal what went in, not only what is merged.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from drawing import Draws
from exact import session
from hypothesis import event, given, note
from hypothesis import strategies as st
from uneven import Map, Uneven, feed

from onnxac.pipeline import Options, optimize
from onnxac.proof.certificate import certify
from onnxac.report import HOLDS


def bent(net: Uneven, d: Draws, x: Map) -> Map:
    """One of the operators that a factor passes, or none."""
    op = d.pick("Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "none")
    if op == "LeakyRelu":
        return net.same(op, x, alpha=d.pick(0.5, 0.25))
    if op == "PRelu":
        slope = net.constant(f"s{len(net.nodes)}", np.full((x.channels, 1, 1), 0.5))
        return net.same(op, x, slope)
    if op == "MaxPool":
        return net.same(op, x, kernel_shape=[3, 3], pads=[1] * 4)
    if op == "AveragePool":
        return net.same(op, x, kernel_shape=[2, 2], pads=[0, 0, 1, 1], count_include_pad=1)
    return net.relu(x) if op == "Relu" else x


def layer(net: Uneven, d: Draws, x: Map, **more: object) -> Map:
    taps, channels = d.pick(1, 3), d.between(2, 5)
    group = x.channels if d.chance(one_in=4) else 1
    channels = x.channels if group > 1 else channels
    if "powers" in more:
        channels, group = x.channels, 1
    return net.conv(x, channels, taps=taps, group=group, **more)  # type: ignore[arg-type]


def branches(net: Uneven, d: Draws, x: Map) -> Map:
    """Two convolutions of one map, which are merged before anything is equalized."""
    powers = net.powers(d.between(2, 4))
    parts = [net.conv(x, len(powers), taps=t, powers=powers).name for t in (3, 1)]
    return Map(net.node("Add", parts), powers)


@st.composite
def networks(draw: st.DrawFn) -> tuple[Uneven, tuple[Map, ...]]:
    """A few layers one behind another, with sums, Concats and outputs in the middle."""
    d = Draws(draw)
    space: list[int | str] = ["h", "w"] if d.chance() else [8, 8]
    net = Uneven(d.between(0, 2**16), inputs=d.between(1, 3), dims=[d.pick(1, 2), *space])
    x, outputs = net.start, list[Map]()
    for _ in range(d.between(1, 3)):
        kind = d.pick("layer", "branches", "residual", "concat", "clip")
        if kind == "branches":
            x = branches(net, d, x)
        elif kind == "residual":
            other = layer(net, d, bent(net, d, x), powers=x.powers)
            x = Map(net.node("Add", [other.name, x.name]), x.powers)
        elif kind == "concat":
            other = layer(net, d, x)
            x = Map(net.node("Concat", [other.name, x.name], axis=1), other.powers + x.powers)
        elif kind == "clip":
            bound = net.constant(f"six{len(net.nodes)}", np.array(6.0))
            x = net.same("Clip", layer(net, d, x), "", bound)
        else:
            x = layer(net, d, x)
        x = bent(net, d, x)
        if d.chance(one_in=6):
            outputs.append(x)
    x = net.head(x) if d.chance() else layer(net, d, x)
    return net, (x, *(o for o in outputs if o.name != x.name))


@given(networks(), st.booleans())
def test_equal_to_the_bit(drawn: tuple[Uneven, tuple[Map, ...]], boldest: bool) -> None:
    net, outputs = drawn
    model = net.model(*outputs)
    note(onnx.printer.to_text(model.graph))
    # Whichever candidate is taken: the one that is expected to help, or the boldest.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "onnxac.quantizing.least_noisy", lambda *a: len(a[-1]) - 1 if boldest else None
        )
        result, report = optimize(model, Options(verify=False, equalize=True))
    event(f"equalized: {len(report.equalizations)}")
    # Means over them divide by powers of two.
    for size in (8, 16):
        values = feed(net, size, size)
        expected = session(model).run(None, values)
        found = session(result).run(None, values)
        for want, have in zip(expected, found, strict=True):
            assert np.array_equal(want, have), size
    for change, made in zip(report.changes, certify(model, result, report.changes), strict=True):
        assert made.verdict == HOLDS, (change.key, made.reason)
