"""The exact tests are tested: a broken tap, bias or border must not go unnoticed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from drawing import Drawn
from exact import Net, Tensor, Window, attempted, feeds, integers, run, session
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from networks import blocks, heads
from onnx import ModelProto, numpy_helper

from onnxac.algebra import Axis
from onnxac.algebra.kernel import overlay, regroup
from onnxac.pipeline import Options, optimize

GEOMETRIES = {
    "3x3, padding 1": (Window(3, offset=-1), Window(3, offset=-1)),
    "3x3, no padding": (Window(3, extent=-2), Window(3, extent=-2)),
    "5x3, stride 2": (Window(5, 1, 2, -2), Window(3, 1, 2, -1)),
    "dilation 2": (Window(3, 2, 1, -2), Window(3, 2, 1, -2)),
    "even, asymmetric": (Window(2, offset=-1), Window(4, offset=-1)),
}


def acnet(geometry: tuple[Window, Window]) -> ModelProto:
    """kxk + kx1 + 1xk, each with a bias; the thin ones crop where the padding is too small."""
    net, rng = Net(), np.random.default_rng(1)
    x = net.input((1, 2, 11, 11))
    rows, columns = geometry
    thin = [
        w._replace(taps=1, dilation=1, offset=w.offset + w.dilation * ((w.taps - 1) // 2))
        for w in geometry
    ]
    ends = []
    for windows in ((rows, columns), (rows, thin[1]), (thin[0], columns)):
        cuts = {
            a: (max(-w.begin, 0), max(-w.end, 0), 1)
            for a, w in enumerate(windows, start=2)
            if min(w.begin, w.end) < 0
        }
        y = net.crop(x, cuts) if cuts else x
        rest = [
            w._replace(offset=-max(w.begin, 0), extent=max(w.begin, 0) + max(w.end, 0) - w.span)
            for w in windows
        ]
        kernel = integers(rng, (2, 2, *(w.taps for w in windows)), 2)
        ends.append(net.conv(y, kernel, rest, bias=integers(rng, (2,))))
    net.output(net.combine([net.combine(ends[:2]), ends[2]]))
    return net.model()


def changes(model: ModelProto) -> Iterator[tuple[str, ModelProto]]:
    """The model with one thing wrong: each tap, each bias, each border."""
    (node,) = model.graph.node
    for at, tensor in enumerate(model.graph.initializer):
        values = numpy_helper.to_array(tensor)
        for index in np.ndindex(*values.shape):
            broken, wrong = ModelProto(), values.copy()
            broken.CopyFrom(model)
            wrong[index] += 1
            broken.graph.initializer[at].CopyFrom(numpy_helper.from_array(wrong, tensor.name))
            yield f"{tensor.name}{index}", broken
    at = next(i for i, a in enumerate(node.attribute) if a.name == "pads")
    for axis in range(2):
        for step in (-1, 1):
            broken = ModelProto()
            broken.CopyFrom(model)
            pads = broken.graph.node[0].attribute[at].ints
            pads[axis], pads[axis + 2] = pads[axis] + step, pads[axis + 2] - step
            if min(pads) >= 0:
                yield f"pads {list(pads)}", broken


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_every_broken_tap_bias_and_border_is_seen(geometry: tuple[Window, Window]) -> None:
    model = acnet(geometry)
    result, _ = optimize(model, Options(verify=False))
    assert len(result.graph.node) == 1
    values = feeds(model)
    (wanted,) = run(model, values)
    assert np.array_equal(run(result, values)[0], wanted)
    broken = list(changes(result))
    assert len(broken) >= math.prod(w.taps for w in geometry) * 4 + 2
    for what, other in broken:
        (found,) = run(other, values)
        assert found.shape != wanted.shape or not np.array_equal(found, wanted), what


# Sabotage: with this in place of a function of onnxac, some network must come out wrong.

after = Axis.after
COMPOSE = "onnxac.algebra.compose"


def forget_bias(*_: Any) -> None:
    """A bias is lost in a composition."""


def no_obstacle(*_: Any) -> None:
    """The border rule is forgotten."""


def shifted(self: Axis, inner: Axis) -> Axis:
    """A composition reads one element too late."""
    right = after(self, inner)
    if self.taps == 1 or inner.taps == 1:
        return right
    return Axis(
        right.taps, right.dilation, right.stride, right.up, right.offset + 1, right.extent - 1
    )


def flipped(parts: Any, axes: Any, lattice: Any) -> np.ndarray:
    """Taps land mirrored."""
    return np.flip(overlay(parts, axes, lattice), axis=-1)


def ungrouped(kernel: np.ndarray, group: int, coarser: int) -> np.ndarray:
    """Groups are laid over one another instead of side by side."""
    right = regroup(kernel, group, coarser)
    return right if group == coarser else np.roll(right, 1, axis=1)


def never(*_: Any) -> bool:
    return False


def always(*_: Any) -> bool:
    return True


def drawn(net: Net, *outputs: Tensor) -> st.SearchStrategy[Drawn]:
    net.output(*outputs)
    return st.just(Drawn(net.model()))


def spread_out() -> st.SearchStrategy[Drawn]:
    """A bias in front of a transposed convolution."""
    net, rng = Net(), np.random.default_rng(2)
    x = net.input((1, 2, 3, 3))
    x = net.conv(x, integers(rng, (2, 2, 1, 1), 2), [Window()] * 2, bias=np.array([1.0, 2.0]))
    kernel = net.constant(integers(rng, (2, 2, 2, 2), 2))
    # It reads no padding: the border rule has nothing to say.
    y = net.node(
        "ConvTranspose", [x.name, kernel], x, shape=(1, 2, 6, 6), strides=[3, 3], pads=[1] * 4
    )
    return drawn(net, y)


def grouped() -> st.SearchStrategy[Drawn]:
    """Two and four groups over one source: the sum has two."""
    net, rng = Net(), np.random.default_rng(2)
    x = net.input((1, 4, 5, 5))
    ends = [
        net.conv(x, integers(rng, (4, 4 // g, 1, 1), 2), [Window()] * 2, group=g) for g in (2, 4)
    ]
    return drawn(net, net.combine(ends))


def expanded() -> st.SearchStrategy[Drawn]:
    """One channel to eight and back, 3x3 and 3x3: cheaper as one."""
    net, rng = Net(), np.random.default_rng(2)
    inside = [Window(3, extent=-2)] * 2
    x = net.conv(net.input((1, 1, 9, 9)), integers(rng, (8, 1, 3, 3), 2), inside)
    return drawn(net, net.conv(x, integers(rng, (1, 8, 3, 3), 2), inside))


SABOTAGE: dict[str, tuple[str, Callable[..., Any], Any]] = {
    "the border rule": (f"{COMPOSE}._border", no_obstacle, blocks),
    "zeros between elements": (f"{COMPOSE}._spread", no_obstacle, spread_out),
    "the fill": (f"{COMPOSE}.is_fill", always, blocks),
    "reading beyond": ("onnxac.algebra.axis.Axis.reads_beyond", never, blocks),
    "agreement": ("onnxac.algebra.axis.Axis.agrees_with", always, blocks),
    "composition": ("onnxac.algebra.axis.Axis.after", shifted, expanded),
    "placing": ("onnxac.algebra.kernel.overlay", flipped, blocks),
    "groups": ("onnxac.algebra.kernel.regroup", ungrouped, grouped),
    "a pooled head": ("onnxac.algebra.kernel.overlay", flipped, heads),
}


def is_wrong(drawn: Drawn) -> bool:
    """Whether other numbers come out. Sabotaged, it may also stumble: that is not being noticed."""
    try:
        result, _ = optimize(drawn.model, Options(verify=False))
        original, changed = session(drawn.model), session(result)
    except Exception:
        return False
    for seed, sizes in enumerate(drawn.sizes):
        values = feeds(drawn.model, seed, sizes)
        wanted = attempted(original, values)
        if wanted is None:
            continue
        found = attempted(changed, values)
        if found is not None and not all(
            np.array_equal(f, w) for f, w in zip(found, wanted, strict=True)
        ):
            return True
    return False


@pytest.mark.parametrize("made", [spread_out, grouped, expanded], ids=lambda f: f.__name__)
def test_without_sabotage_these_are_right(made: Any) -> None:
    find(made(), lambda d: not is_wrong(d), settings=settings(database=None))


@pytest.mark.parametrize("what", SABOTAGE)
def test_sabotage_is_seen(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, replacement, strategy = SABOTAGE[what]
    monkeypatch.setattr(target, replacement)
    quick = settings(
        max_examples=1500,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        find(strategy(), is_wrong, settings=quick)
    except NoSuchExample:
        pytest.fail(f"nobody noticed: {replacement.__doc__ or what}")
