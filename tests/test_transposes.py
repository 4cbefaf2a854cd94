"""Channels last: what stands between a Transpose and its opposite needs neither of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto
from test_exporters import BATCHES, operators
from test_layouts import Values, integers, model, node, same

from onnxac.graph.fixed import fixed
from onnxac.graph.model import from_proto
from onnxac.inference.facts import Facts
from onnxac.reordering.order import reorder

FLOAT = TensorProto.FLOAT
TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


def conv(source: str, target: str, weight: str, pads: int = 1) -> list[NodeProto]:
    """A convolution as it is exported from what is channels last."""
    return [
        node("Transpose", source, f"{target}_in", perm=TO_FIRST),
        node("Conv", f"{target}_in {weight}", f"{target}_out", pads=[pads] * 4),
        node("Transpose", f"{target}_out", target, perm=TO_LAST),
    ]


def test_a_branch_that_is_fed_by_the_input() -> None:
    """RepVGG: an affine of the input, channels last, beside a convolution of its transpose."""
    before = model(
        [*conv("x", "a", "w"), node("Mul", "x s", "b"), node("Add", "a b", "y")],
        ("N", 5, 5, 4),
        w=integers(4, 4, 3, 3),
        s=integers(4, seed=1),
    )
    assert operators(before, *BATCHES) == Counter({"Transpose": 2, "Conv": 1})


def test_blocks_behind_each_other() -> None:
    """Two RepVGG blocks with their identity branch: no Transpose between them."""
    nodes: list[NodeProto] = []
    for source, target, n in (("x", "r", 0), ("r", "y", 1)):
        nodes += conv(source, f"a{n}", f"w{n}")
        nodes += conv(source, f"b{n}", f"v{n}", 0)
        nodes += [
            node("Mul", f"{source} s", f"c{n}"),
            node("Add", f"a{n} b{n}", f"d{n}"),
            node("Add", f"d{n} c{n}", f"e{n}"),
            node("Relu", f"e{n}", target),
        ]
    held = {f"w{n}": integers(4, 4, 3, 3, seed=n) for n in range(2)}
    held |= {f"v{n}": integers(4, 4, 1, 1, seed=2 + n) for n in range(2)}
    held["s"] = integers(4, seed=9)
    before = model(nodes, ("N", 5, 5, 4), FLOAT, **held)
    assert operators(before, *BATCHES) == Counter({"Transpose": 2, "Conv": 2, "Relu": 2})


@pytest.mark.parametrize(
    "activation",
    [
        [node("Clip", "a low high", "r")],
        [node("Max", "a slope", "r")],
        [node("Add", "a slope", "p"), node("Relu", "p", "q"), node("Mul", "a q", "r")],
        [node("Relu", "a", "p"), node("Sub", "slope p", "r")],
    ],
    ids=["Clip", "Max", "hard swish", "Sub"],
)
def test_activations_of_several_operators(activation: list[NodeProto]) -> None:
    """Their constants are laid out anew."""
    low, high = np.array(-4, np.float32), np.array(9, np.float32)
    slope = integers(4, seed=3)
    held: dict[str, Values] = {"low": low, "high": high, "slope": slope}
    used = {i for n in activation for i in n.input}
    before = model(
        [*conv("x", "a", "w"), *activation, *conv("r", "y", "v")],
        (1, 5, 5, 4),
        FLOAT,
        w=integers(4, 4, 3, 3),
        v=integers(4, 4, 3, 3, seed=1),
        **{k: v for k, v in held.items() if k in used},
    )
    assert operators(before)["Transpose"] == 2


def test_branches_that_are_joined_channels_last() -> None:
    """JAX: a Concat of what convolutions make, and a normalization in the order of convolutions."""
    before = model(
        [
            *conv("x", "a", "w"),
            *conv("x", "b", "v"),
            node("Concat", "a b", "c", axis=-1),
            node("Transpose", "c", "t", perm=TO_FIRST),
            node("Mul", "t s", "m"),
            node("Transpose", "m", "d", perm=TO_LAST),
            node("Relu", "d", "r"),
            node("Transpose", "r", "y", perm=TO_FIRST),
        ],
        ("N", 5, 5, 4),
        w=integers(4, 4, 3, 3),
        v=integers(4, 4, 3, 3, seed=1),
        s=integers(8, 1, 1, seed=2),
    )
    assert operators(before, *BATCHES) == Counter({"Transpose": 1, "Conv": 1, "Relu": 1})


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_a_join_along_any_axis(axis: int) -> None:
    """It is along another one where the Transposes around it go."""
    before = model(
        [
            *conv("x", "a", "w"),
            node("Relu", "a", "p"),
            *conv("x", "b", "v"),
            node("Sigmoid", "b", "q"),
            node("Concat", "p q", "c", axis=axis),
            node("Transpose", "c", "y", perm=TO_FIRST),
        ],
        (2, 5, 5, 4),
        w=integers(4, 4, 3, 3),
        v=integers(4, 4, 3, 3, seed=1),
    )
    found = operators(before)
    assert found["Transpose"] == 1
    assert found["Concat"] == 1


def test_a_residual() -> None:
    """The sum reads what the convolution reads transposed: it is one with it."""
    before = model(
        [
            *conv("x", "a", "w"),
            node("Relu", "a", "r"),
            *conv("r", "b", "v"),
            node("Add", "b r", "c"),
            node("Relu", "c", "s"),
            *conv("s", "y", "u"),
        ],
        (1, 5, 5, 4),
        w=integers(4, 4, 3, 3),
        v=integers(4, 4, 3, 3, seed=1),
        u=integers(4, 4, 3, 3, seed=2),
    )
    assert operators(before) == Counter({"Transpose": 2, "Conv": 3, "Relu": 2})


def test_what_is_read_transposed_and_as_it_is() -> None:
    """Another reader of the activation wants it channels last: one Transpose stays for it."""
    before = model(
        [
            *conv("x", "a", "w"),
            node("Relu", "a", "r"),
            *conv("r", "b", "v"),
            node("Softmax", "r", "z", axis=-1),
            node("Add", "b z", "y"),
        ],
        (1, 5, 5, 4),
        w=integers(4, 4, 3, 3),
        v=integers(4, 4, 3, 3, seed=1),
    )
    assert operators(before)["Transpose"] == 3


def test_a_perm_that_is_no_order_of_axes_is_left() -> None:
    before = model(
        [node("Relu", "x", "r"), node("Transpose", "r", "y", perm=[2, 2, 3, 1])], (1, 5, 5, 4)
    )
    graph = from_proto(before)
    reorder(graph, Facts(graph), fixed(graph), ())
    assert [n.op for n in graph.graph.nodes] == ["Relu", "Transpose"]


class Regions:
    """Random networks that are channels last: convolutions, and elementwise operators between."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.held: dict[str, Values] = {}
        self._tensors = ["x"]

    def _constant(self) -> str:
        shapes = [(), (1,), (4,), (1, 1, 4), (1, 1, 1, 4), (5, 1, 1), (1, 5, 1)]
        name = f"c{len(self.held)}"
        shape = shapes[self._rng.integers(len(shapes))]
        self.held[name] = self._rng.integers(-1, 2, shape).astype(np.float32)
        return name

    def _step(self, target: str) -> None:
        kind = self._rng.integers(6)
        # What was made last is likely to be read next.
        first, second = (
            self._tensors[-1 - min(int(self._rng.geometric(0.6)) - 1, len(self._tensors) - 1)]
            for _ in range(2)
        )
        if kind <= 1:
            taps = int(self._rng.choice([1, 3]))
            weight = f"c{len(self.held)}"
            self.held[weight] = self._rng.integers(-1, 2, (4, 4, taps, taps)).astype(np.float32)
            self.nodes += conv(first, target, weight, taps // 2)
        elif kind == 2:
            self.nodes.append(node("Relu", first, target))
        elif kind == 3:
            op = self._rng.choice(["Add", "Sub", "Max", "Min"])
            self.nodes.append(node(op, f"{first} {second}", target))
        else:
            op = self._rng.choice(["Add", "Mul", "Max"] if kind == 4 else ["Sub", "Min"])
            operands = [first, self._constant()]
            if op in ("Mul", "Min") or self._rng.integers(2):
                operands.reverse()
            self.nodes.append(node(op, " ".join(operands), target))

    def grow(self, steps: int) -> None:
        for n in range(steps):
            target = "y" if n == steps - 1 else f"t{n}"
            self._step(target)
            self._tensors.append(target)


@given(st.integers(0, 2**40), st.integers(4, 12))
def test_random_regions(seed: int, steps: int) -> None:
    drawn = Regions(seed)
    drawn.grow(steps)
    before = model(drawn.nodes, (2, 5, 5, 4), FLOAT, **drawn.held)
    after, _ = same(before)
    assert len(after.graph.node) <= len(before.graph.node)


def test_an_upsampling_that_is_channels_last() -> None:
    """Keras: each axis is repeated by Unsqueeze, Tile and Reshape; it folds as one Resize."""
    nodes, source = [], "x"
    for axis, times in ((2, "rows"), (3, "columns")):
        nodes += [
            node("Unsqueeze", f"{source} at{axis}", f"u{axis}"),
            node("Tile", f"u{axis} {times}", f"t{axis}"),
            node("Reshape", f"t{axis} to{axis}", f"r{axis}"),
        ]
        source = f"r{axis}"
    before = model(
        [*nodes, *conv(source, "y", "w")],
        ("N", 5, 5, 4),
        at2=np.array([2]),
        at3=np.array([3]),
        rows=np.array([1, 1, 2, 1, 1]),
        columns=np.array([1, 1, 1, 2, 1]),
        to2=np.array([-1, 10, 5, 4]),
        to3=np.array([-1, 10, 10, 4]),
        w=integers(4, 4, 3, 3),
    )
    assert operators(before, *BATCHES) == Counter({"Transpose": 2, "ConvTranspose": 1})


@pytest.mark.parametrize("inside", [True, False], ids=["of the input", "of a result"])
def test_a_crop_by_places_that_is_channels_last(inside: bool) -> None:
    """JAX: x[:, 1:-1, 1:-1] is a GatherND between two Transposes."""
    rows, columns = np.meshgrid([1, 2, 3], [1, 2, 3], indexing="ij")
    crop = [
        node("Transpose", "x" if inside else "b", "f", perm=[1, 2, 0, 3]),
        node("GatherND", "f places", "g"),
        node("Transpose", "g", "h", perm=[2, 0, 1, 3]),
    ]
    branch = [*crop, *conv("h", "b", "v", 0)] if inside else [*conv("x", "b", "v", 0), *crop]
    before = model(
        [*conv("x", "a", "w", 0), *branch, node("Add", f"a {'b' if inside else 'h'}", "y")],
        ("N", 5, 5, 4),
        places=np.stack([rows, columns], -1),
        w=integers(4, 4, 3, 3),
        v=integers(4, 4, 1, 1, seed=1),
    )
    assert operators(before, *BATCHES) == Counter({"Transpose": 2, "Conv": 1})


def test_a_gate_of_means() -> None:
    """JAX: squeeze and excitation, whose means are over axes that are channels last."""
    before = model(
        [
            *conv("x", "a", "w"),
            node("ReduceMean", "a", "m", axes=[1, 2]),
            node("Transpose", "m", "t", perm=TO_FIRST),
            node("Conv", "t v", "c"),
            node("Transpose", "c", "d", perm=TO_LAST),
            node("Relu", "d", "g"),
            node("Mul", "a g", "y"),
        ],
        ("N", 4, 4, 4),
        FLOAT,
        w=integers(4, 4, 3, 3),
        v=integers(4, 4, 1, 1, seed=1),
    )
    assert operators(before, *BATCHES)["Transpose"] == 2


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("axes", [[-1], [1, 3], [-2, 0]])
def test_other_reductions(op: str, axes: list[int]) -> None:
    before = model(
        [
            *conv("x", "a", "w"),
            node(op, "a", "m", axes=axes),
            node("Transpose", "m", "t", perm=TO_FIRST),
            node("Relu", "t", "y"),
        ],
        (2, 5, 5, 4),
        FLOAT,
        w=integers(4, 4, 3, 3),
    )
    assert operators(before)["Transpose"] == 1


def test_a_reduction_that_is_told_its_axes() -> None:
    """From opset 18 on they are an operand."""
    held = {"over": np.array([1, 2]), "w": integers(4, 4, 3, 3)}
    nodes = [
        *conv("x", "a", "w"),
        node("ReduceMean", "a over", "m"),
        node("Transpose", "m", "t", perm=TO_FIRST),
        node("Relu", "t", "y"),
    ]
    before = model(nodes, (2, 4, 4, 4), FLOAT, **held)
    before.opset_import[0].version = 18
    assert operators(before)["Transpose"] == 1


def test_branches_that_are_joined_and_stay_channels_last() -> None:
    """Keras: what follows the Concat is channels last, too."""
    before = model(
        [
            *conv("x", "a", "w"),
            *conv("x", "b", "v"),
            node("Concat", "a b", "c", axis=3),
            node("Mul", "c s", "m"),
            node("Relu", "m", "y"),
        ],
        ("N", 5, 5, 4),
        w=integers(4, 4, 3, 3),
        v=integers(4, 4, 3, 3, seed=1),
        s=integers(8, seed=2),
    )
    assert operators(before, *BATCHES) == Counter({"Transpose": 2, "Conv": 1, "Relu": 1})


def test_a_normalization_in_front_of_a_classifier() -> None:
    """TensorFlow: a map is flattened channels last, and its columns stay in that order."""
    before = model(
        [
            node("Mul", "x s", "m"),
            node("Add", "m t", "n"),
            node("Flatten", "n", "f"),
            node("MatMul", "f w", "a"),
            node("MatMul", "f v", "b"),
            node("Add", "a b", "y"),
        ],
        ("N", 3, 3, 4),
        s=integers(4),
        t=integers(4, seed=1),
        w=integers(36, 5, seed=2),
        v=integers(36, 5, seed=3),
    )
    sizes = [{"N": 1}, {"N": 3}]
    assert operators(before, *sizes) == Counter({"Flatten": 1, "Gemm": 1})
