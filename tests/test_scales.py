"""A scale in front of a padded window goes into it, though the shift behind it can't.

PP-LCNetV3 and PP-HGNetV2 have such a Mul and Add behind every activation. Scales here are powers
of two, so that all of it is exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto
from test_exporters import operators
from test_layouts import Values, integers, model, node, same

from onnxac.graph.fixed import fixed
from onnxac.graph.model import from_proto
from onnxac.inference.facts import Facts
from onnxac.pipeline import Options, optimize
from onnxac.reordering.order import reorder
from onnxac.report import HOLDS

FLOAT = TensorProto.FLOAT
SIZES = ({"N": 1, "H": 5, "W": 6}, {"N": 2, "H": 9, "W": 7})
SHAPE = ("N", 4, "H", "W")
PADDED = node("Conv", "a w", "y", pads=[1] * 4)


def affine(*readers: NodeProto, **constants: Values) -> ModelProto:
    """2·relu(x) + 6, and who reads it."""
    held: dict[str, Values] = {
        "s": np.array([2], np.float32),
        "t": np.array([6], np.float32),
        "w": integers(4, 4, 3, 3),
    }
    nodes = [node("Relu", "x", "r"), node("Mul", "r s", "m"), node("Add", "m t", "a"), *readers]
    used = {i for n in nodes for i in n.input}
    return model(
        nodes, SHAPE, FLOAT, **{k: v for k, v in {**held, **constants}.items() if k in used}
    )


def test_the_scale_goes() -> None:
    """The refusal that stays is told, under the name that the node has in the file."""
    after, report = same(affine(PADDED), *SIZES)
    assert Counter(n.op_type for n in after.graph.node) == Counter(["Relu", "Add", "Conv"])
    (refusal,) = report.refusals
    assert (refusal.node.name, refusal.rule) == ("a", "border")


def test_all_of_it_goes_where_nothing_is_padded() -> None:
    assert operators(affine(node("Conv", "a w", "y")), *SIZES) == Counter(["Relu", "Conv"])


def test_every_reader_takes_the_scale() -> None:
    """The next block of PP-LCNetV3: two convolutions and a normalization, added."""
    before = affine(
        node("Conv", "a w", "b", pads=[1] * 4),
        node("Conv", "a v", "c"),
        node("BatchNormalization", "a gain bias mean variance", "d", epsilon=0.0),
        node("Sum", "b c d", "y"),
        v=integers(4, 4, 1, 1, seed=1),
        gain=integers(4, seed=2),
        bias=integers(4, seed=3),
        mean=integers(4, seed=4),
        variance=np.ones(4, np.float32),
    )
    assert operators(before, *SIZES) == Counter(["Relu", "Add", "Conv"])


def test_channels_last() -> None:
    nodes = [
        node("Transpose", "x", "l", perm=[0, 2, 3, 1]),
        node("Relu", "l", "r"),
        node("Mul", "r s", "m"),
        node("Add", "m t", "a_"),
        node("Transpose", "a_", "a", perm=[0, 3, 1, 2]),
        PADDED,
    ]
    scale, shift = np.array([1, -2, 4, 2], np.float32), integers(4) * 4
    before = model(nodes, SHAPE, s=scale, t=shift, w=integers(4, 4, 3, 3))
    assert operators(before, *SIZES)["Mul"] == 0


STAYS = {
    "another reader": [
        node("Conv", "a w", "b", pads=[1] * 4),
        node("Sigmoid", "a", "z"),
        node("Mul", "b z", "y"),
    ],
    "the weight is another's": [
        node("Conv", "a w", "b", pads=[1] * 4),
        node("Conv", "x w", "c", pads=[1] * 4),
        node("Relu", "c", "d"),
        node("Add", "b d", "y"),
    ],
    "a padding with what is not zero": [
        node("Pad", "a pads one", "p"),
        node("Conv", "p w", "y"),
    ],
}


@pytest.mark.parametrize("why", STAYS)
def test_where_the_scale_can_not_go_nothing_moves(why: str) -> None:
    pads = np.array([0, 0, 1, 1] * 2)
    before = affine(*STAYS[why], pads=pads, one=np.array(1, np.float32))
    after, _ = same(before, *SIZES)
    assert list(after.graph.node) == list(before.graph.node)


@pytest.mark.parametrize("scale", [2.0**-12, 0.0, np.inf])
def test_a_shift_is_not_divided_by_next_to_nothing(scale: float) -> None:
    before = affine(PADDED, s=np.array([scale], np.float32))
    after = optimize(before, Options(verify=False))[0]
    assert list(after.graph.node) == list(before.graph.node)


def test_what_is_kept_stays() -> None:
    before = affine(PADDED)
    before.graph.node[1].name = "mine"
    after = optimize(before, Options(verify=False, keep=("mine",)))[0]
    assert list(after.graph.node) == list(before.graph.node)


TERMS = (("Add", "m t"), ("Add", "t m"), ("Sub", "m t"))


@given(
    st.sampled_from([(f, *t) for f in ("Mul", "Div") for t in TERMS]),
    st.lists(st.sampled_from([0.5, 1.0, 2.0, 4.0, -1.0, -2.0]), min_size=4, max_size=4),
    st.sampled_from([(1,), (), (4, 1, 1), (1, 4, 1, 1), (1, 1, 1), (1, 1, 1, 7)]),
    st.sampled_from([(1,), (), (4, 1, 1), (1, 4, 1, 1), (6, 1)]),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
    st.sampled_from([1, 2, 4]),
)
def test_scales_and_shifts_of_every_shape(
    ops: tuple[str, str, str],
    scales: Sequence[float],
    shape: tuple[int, ...],
    shifted: tuple[int, ...],
    pads: Sequence[int],
    group: int,
) -> None:
    count, many = int(np.prod(shape)), int(np.prod(shifted))
    factor, term, operands = ops
    before = model(
        [
            node("Relu", "x", "r"),
            node(factor, "r s", "m"),
            node(term, operands, "a"),
            node("Conv", "a w", "y", pads=pads, group=group),
        ],
        (2, 4, 6, 7),
        s=np.resize(np.array(scales, np.float32), count).reshape(shape),
        t=(4 * np.resize(integers(6), many)).reshape(shifted).astype(np.float32),
        w=integers(4, 4 // group, 3, 3, seed=1),
    )
    after, _ = same(before)
    assert len(after.graph.node) <= 4
    if any(pads) and {shape, shifted} <= {(1,), (), (1, 1, 1)}:
        assert len(after.graph.node) == 3


def test_weights_that_round() -> None:
    """The certificate holds for what is not exact, and the run of both models."""
    rng = np.random.default_rng(3)
    before = affine(
        PADDED,
        s=rng.uniform(0.3, 3, (4, 1, 1)).astype(np.float32),
        t=rng.uniform(-2, 2, (4, 1, 1)).astype(np.float32),
        w=rng.standard_normal((4, 4, 3, 3)).astype(np.float32),
    )
    after, report = optimize(before, Options())
    assert Counter(n.op_type for n in after.graph.node) == Counter(["Relu", "Add", "Conv"])
    (fusion,) = report.fusions
    assert fusion.certificate is not None
    assert fusion.certificate.verdict == HOLDS


@pytest.mark.parametrize(("without", "moved"), [("y", False), ("b", False), ("r", True)])
def test_what_does_not_hold_is_put_back(without: str, moved: bool) -> None:
    """Where the change behind it is left out, the order is as it was."""
    before = affine(
        node("Conv", "a w", "b", pads=[1] * 4),
        node("Conv", "a v", "c"),
        node("Add", "b c", "y"),
        v=integers(4, 4, 1, 1, seed=1),
    )
    graph = from_proto(before)
    reorder(graph, Facts(graph), fixed(graph), (), frozenset({without}))
    order = [n.op for n in graph.graph.nodes][:3]
    assert order == (["Relu", "Add", "Mul"] if moved else ["Relu", "Mul", "Add"])
