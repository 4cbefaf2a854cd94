"""What the outputs hide: none of these pairs may be called equal."""

from __future__ import annotations

import numpy as np
import pytest
from hidden import PAIRS, dense, node, off, ordered, rows, saturated

from onnxac.proof import Settings, verify


@pytest.mark.parametrize("kind", PAIRS)
def test_a_hidden_difference_is_not_called_equal(kind: str) -> None:
    before, after = PAIRS[kind]()
    assert verify(before, after).verdict in ("different", "not shown")


@pytest.mark.parametrize("kind", PAIRS)
def test_without_the_difference_nothing_is_seen(kind: str) -> None:
    """The same graphs with the same weights: whatever is seen above is the difference."""
    before, after = PAIRS[kind]()
    del after.graph.initializer[:]
    after.graph.initializer.extend(before.graph.initializer)
    # Where names differ, as for another export, both models are really run.
    found = verify(before, after)
    constant = kind == "an output that is constant"
    assert found.verdict == ("not shown" if constant else "equal"), found


def test_the_tensor_inside_is_named() -> None:
    before, after = ordered("ArgMax")
    found = verify(before, after)
    assert found.difference.startswith("the outputs agree, but the tensor 't' inside is off by")
    assert "; the first to differ: t" in found.difference
    assert verify(before, after, Settings(outputs_only=True)).passed


def test_a_name_that_means_something_else_is_not_relied_on() -> None:
    """Exporters number tensors: `t` is read by another operator here, and is another thing."""
    w = rows(10)
    minus = [node("Neg", ["t"], ["u"]), node("Neg", ["u"], ["y"])]
    assert verify(dense([node("Identity", ["t"], ["y"])], w), dense(minus, w)).passed
    twice = [node("Mul", ["t", "half"], ["y"])]
    half = {"half": np.array(0.5, np.float32)}
    assert verify(
        dense([node("Identity", ["t"], ["y"])], w), dense(twice, 2 * w, weights=half)
    ).passed


def test_an_output_that_is_constant_is_shown_by_what_it_is_computed_from() -> None:
    """A rectifier that lets nothing through, behind a tensor that was compared."""
    w = rows(10)
    low = {"low": np.full(10, -1e6, np.float32)}
    nodes = [node("Add", ["t", "low"], ["u"]), node("Relu", ["u"], ["y"])]
    split = [
        node("MatMul", ["x", "w1"], ["p"]),
        node("MatMul", ["x", "w2"], ["q"]),
        node("Add", ["p", "q"], ["t"]),
        *nodes,
    ]
    part = np.float32(0.3) * w
    before = dense(split, w, name="unused", weights={"w1": part, "w2": w - part, **low})
    assert verify(before, dense(nodes, w, weights=low)).verdict == "equal"
    assert verify(before, dense(nodes, off(w), weights=low)).verdict == "different"


def test_a_saturated_sigmoid_is_judged_at_the_scale_of_its_range() -> None:
    """Its values are 1e-6 at most; what rounding does to them is as large as they are."""
    before, _ = saturated("Sigmoid")
    found = verify(before, before, Settings(outputs_only=True))
    assert found.passed
