"""What is inferred of shapes, and of tensors that hold them, is what runs show."""

from __future__ import annotations

import itertools
import math
import operator
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper
from shape_chains import Chain, is_bound, observed, value

from onnxac.algebra import Axis
from onnxac.graph.model import from_proto
from onnxac.inference.dims import (
    Dim,
    Extent,
    broadcast,
    divided,
    equal,
    larger,
    minus,
    plus,
    product,
    quotient,
    smaller,
)
from onnxac.inference.facts import Facts

Array = NDArray[Any]
MODELS = Path(__file__).parents[1] / "models" / "onnx"
COUNT = {"fuzz": 4000, "ci": 400}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 200)
SIZES = ({"N": 1, "H": 5, "W": 7}, {"N": 3, "H": 8, "W": 5}, {"N": 2, "H": 13, "W": 12})
N, H, W = Extent("N"), Extent("H"), Extent("W")


@pytest.mark.parametrize("part", range(4))
def test_shapes_and_symbols_are_what_runs_show(part: int) -> None:
    told = 0
    for seed in range(part, COUNT, 4):
        model = Chain(seed).model()
        facts = Facts(from_proto(model))
        for sizes in SIZES:
            try:
                held = observed(model, sizes)
            except Exception:
                continue
            for name, array in held.items():
                told += _assert_right(facts, name, array, sizes, seed)
    assert told > 10 * COUNT


def dynamic_models() -> list[Path]:
    """Exports with a dynamic extent."""
    found = []
    for path in sorted(MODELS.glob("*/*.onnx")):
        inputs = onnx.load(path, load_external_data=False).graph.input
        if any(d.dim_param for i in inputs for d in i.type.tensor_type.shape.dim):
            found.append(path)
    return found


def test_shapes_in_exports_are_what_runs_show() -> None:
    paths = dynamic_models()
    told = sum(_told(path, size) for path in paths for size in (64, 81))
    assert len(paths) > 20
    assert told > 1000


def _told(path: Path, size: int) -> int:
    """Compare one export at one size; the number of dynamic entries that were compared."""
    model = onnx.load(path)
    facts = Facts(from_proto(model))
    names = {o.name for o in model.graph.output}
    shown = {o for n in model.graph.node for o in n.output if o}
    model.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in shown - names)
    (data,) = model.graph.input
    dims = data.type.tensor_type.shape.dim
    x = np.zeros(
        [d.dim_value or (3 if i == 0 else size + i) for i, d in enumerate(dims)], np.float32
    )
    roots = {d.dim_param: n for d, n in zip(dims, x.shape, strict=True) if d.dim_param}
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options)
        held = session.run([o.name for o in model.graph.output], {data.name: x})
    except Exception:
        return 0
    names_in_order = [o.name for o in model.graph.output]
    return sum(
        _assert_right(facts, name, array, roots, path.parent.name)
        for name, array in zip(names_in_order, held, strict=True)
    )


def _assert_right(
    facts: Facts, name: str, array: Array, sizes: Mapping[str, int], seed: object
) -> int:
    """Compare what is known with what was seen; returns the number of dynamic entries."""
    shape = facts.shape(name)
    told = 0
    if shape is not None:
        assert len(shape) == array.ndim, (seed, name)
        for dim, seen in zip(shape, array.shape, strict=True):
            if is_bound(dim, sizes):
                assert value(dim, sizes) == seen, (seed, name, str(dim))
                told += isinstance(dim, Extent)
    for entry, seen in zip(facts.symbol(name) or (), array.reshape(-1), strict=False):
        if entry is not None and is_bound(entry, sizes):
            assert value(entry, sizes) == int(seen), (seed, name, str(entry))
            told += isinstance(entry, Extent)
    if facts.is_constant(name):
        held = facts.value(name)
        assert held is not None
        assert held.dtype == array.dtype, (seed, name)
        assert np.array_equal(held, array), (seed, name)
    return told


ARITHMETIC: dict[str, tuple[Callable[..., Dim | None], Callable[[int, int], int]]] = {
    "plus": (plus, operator.add),
    "minus": (minus, operator.sub),
    "product": (lambda a, b: product([a, b]), operator.mul),
    "divided": (divided, operator.floordiv),
    "quotient": (lambda a, b: quotient([a], [b]), operator.floordiv),
    "larger": (larger, max),
    "smaller": (smaller, min),
    "equal": (equal, operator.eq),
}


@pytest.mark.parametrize("what", ARITHMETIC)
def test_arithmetic_on_extents(what: str) -> None:
    """On formulas of formulas, at three sizes: exact, or nothing is said."""
    rng = random.Random(what)
    rule, right = ARITHMETIC[what]
    said = 0
    for _ in range(2000):
        a, b = _drawn(rng), _drawn(rng)
        if all(value(d, s) >= 1 for d in (a, b) for s in SIZES):
            found = rule(a, b)
            if found is not None:
                said += 1
                assert [value(found, s) for s in SIZES] == [
                    right(value(a, s), value(b, s)) for s in SIZES
                ], (str(a), str(b))
    assert said > 200


def _drawn(rng: random.Random) -> Dim:
    dim: Dim = rng.choice((N, H, W, 1, 2, 3, 6))
    for _ in range(rng.randrange(4)):
        other = rng.choice((N, H, 1, 2, 3))
        rule = rng.choice((plus, minus, divided, lambda a, b: product([a, b])))
        dim = rule(dim, other) or dim
    return dim


def test_products_are_equal_in_any_order() -> None:
    dims: tuple[Dim, ...] = (N, 3, H, 2, W)
    found = {product(order) for order in itertools.permutations(dims)}
    assert len(found) == 1
    assert quotient([found.pop() or 0], [H, 6]) == product([N, W])


def test_a_product_is_as_large_as_its_factors() -> None:
    flat = product([N, H, 4])
    assert isinstance(flat, Extent)
    assert flat.nominal(64) == math.prod((64, 64, 4))


def test_what_broadcasts() -> None:
    assert broadcast(1, N) == N
    assert broadcast(N, 1) == N
    assert broadcast(N, 8) == 8
    assert broadcast(N, H) is None


def test_a_window_over_a_strided_extent_has_a_name() -> None:
    """Two of them are equal, though no single formula covers them."""
    half = divided(H, 2)
    assert product([half, 2]) == product([divided(H, 2), 2])
    assert product([half, 2]) != H


def test_formulas_do_not_grow_without_end() -> None:
    """Pools and transposed convolutions by turns, and a batch that is tiled by itself."""
    down, up = Axis(taps=2, stride=2, extent=-1), Axis(taps=2, up=3, extent=1)
    dim: Extent | None = H
    depth = 0
    while dim is not None:
        dim = dim.through(down if depth % 2 else up)
        depth += 1
    assert 10 < depth < 1000
    square: Dim | None = N
    for _ in range(1000):
        square = product([square, N, 3])
    assert square is None


def test_numbers_that_a_type_does_not_hold_are_not_followed() -> None:
    nodes = [helper.make_node("Shape", ["x"], ["s0"])]
    for i in range(70):
        nodes.append(helper.make_node("Mul", [f"s{i}", "many"], [f"s{i + 1}"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["N", 4])],
        [helper.make_tensor_value_info("s70", 7, [2])],
        [helper.make_tensor("many", 7, [1], [2])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    facts = Facts(from_proto(made))
    assert facts.symbol("s20") == (product([N, 2**20]), 2**22)
    assert facts.symbol("s70") is None


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan, 0.5, 1e30])
def test_numbers_that_are_no_extents(odd: float) -> None:
    """They stand where extents could: a shape is multiplied by them."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Cast", ["s"], ["f"], to=1),
        helper.make_node("Mul", ["f", "odd"], ["m"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["N", 4])],
        [helper.make_tensor_value_info("m", 1, [2])],
        [helper.make_tensor("odd", 1, [], [odd])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    facts = Facts(from_proto(made))
    assert facts.symbol("f") == (N, 4)
    assert facts.symbol("odd") is None
    assert facts.symbol("m") is None
