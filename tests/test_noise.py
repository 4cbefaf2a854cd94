"""What rounding alone moves is not called different, and what moves more is.

Where an operator cuts (Relu) or saturates (Sigmoid), what is left of a channel may be small, or
one value only, while its rounding is that of what it was computed from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import onnx
import pytest
from hidden import Array, Pair, graph, node

from onnxac.proof import Settings, verify
from onnxac.proof.judging.compare import Gap, gap
from onnxac.proof.judging.judge import AFTER, BEFORE, FLOAT64, Judge, Subject
from onnxac.proof.running.process import Pair as PairOfNames
from onnxac.proof.running.process import Result, Worker

SHAPE = (1, 16, 16, 16)


def kernels(seed: int, outputs: int = 64) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((outputs, 16, 3, 3)).astype(np.float32) for _ in range(3)]


def total(parts: Sequence[Array]) -> Array:
    return np.asarray(sum(p.astype(np.float64) for p in parts)).astype(np.float32)


def branches(
    tail: Sequence[onnx.NodeProto], parts: Sequence[Array], one: Array, bias: Array
) -> Pair:
    """Three convolutions of x, summed to the tensor u, and one in their place."""

    def conv(weight: str, to: str, *more: str) -> onnx.NodeProto:
        return node("Conv", ["x", weight, *more], [to], pads=[1, 1, 1, 1])

    before = [
        conv("a", "p", "bias"), conv("b", "q"), conv("c", "r"),
        node("Add", ["p", "q"], ["t"]), node("Add", ["t", "r"], ["u"]),
    ]  # fmt: skip
    weights = dict(zip("abc", parts, strict=True))
    first = graph([*before, *tail], {**weights, "bias": bias}, x=SHAPE)
    return first, graph([conv("a", "u", "bias"), *tail], {"a": one, "bias": bias}, x=SHAPE)


def cut(seed: int, factor: float = 1.0) -> Pair:
    """About one value of each channel is left behind the Relu, and that one is near zero."""
    parts = kernels(seed)
    one = total(parts)
    one[:, 3, 1, 1] *= np.float32(factor)
    bias = np.full(len(one), -60, np.float32)
    return branches([node("Relu", ["u"], ["y"])], parts, one, bias)


def gated(seed: int, factor: float = 1.0) -> Pair:
    """Gates near zero, of which rounding leaves a digit or two; what they gate is large."""
    parts = kernels(seed, 16)
    one = total(parts)
    one[:, 3, 1, 1] *= np.float32(factor)
    bias = np.full(len(one), -13, np.float32)
    tail = [
        node("GlobalAveragePool", ["u"], ["m"]),
        node("Sigmoid", ["m"], ["s"]),
        node("Mul", ["x", "s"], ["y"]),
    ]
    return branches(tail, parts, one, bias)


@pytest.mark.parametrize("seed", [1, 14, 18, 26])
@pytest.mark.parametrize("made", [cut, gated])
def test_rounding_is_no_difference(made: Callable[..., Pair], seed: int) -> None:
    found = verify(*made(seed), Settings(outputs_only=True))
    assert found.verdict == "equal", found.difference


@pytest.mark.parametrize("made", [cut, gated])
def test_a_weight_that_is_off_is_a_difference(made: Callable[..., Pair]) -> None:
    found = verify(*made(1, 1.001))
    assert found.verdict == "different"


class Drawn:
    """A worker whose results are given: two that rounding has moved by one law, and the exact."""

    def __init__(self, results: dict[str, Array]) -> None:
        self._results = results

    def run(self, key: str, seed: int | None = None, names: Sequence[str] | None = None) -> None:
        pass

    def gaps(self, first: Result, second: Result, pairs: object, **how: object) -> list[Gap]:
        wide = self._results[first.key]
        told = wide if first.key == FLOAT64 else wide.astype(np.float32)
        have = self._results[second.key].astype(np.float32)
        return [gap([told], [have], wide=first.key == FLOAT64)]


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, False), (1.01, True)])
def test_of_thousands_of_channels_some_are_exact_by_luck(factor: float, verdict: bool) -> None:
    rng = np.random.default_rng(0)
    exact = rng.standard_normal((1, 3000, 9, 9))

    def moved() -> Array:
        # A few values are far larger than the others.
        return np.asarray(exact + 1e-5 * rng.standard_normal(exact.shape) ** 3 / 100)

    before, after = moved(), moved()
    after[:, 7] *= factor
    worker = Drawn({BEFORE: before, AFTER: after, FLOAT64: exact})
    judge = Judge(cast(Worker, worker), Settings(), lambda key: key == FLOAT64, 1e-7)
    (found,) = judge.judge([Subject("y", PairOfNames("y", "y"))])
    assert found.differs == verdict


def cancelling(factor: float = 1.0) -> Pair:
    """Two products that nearly cancel, and the one that a merge makes of them: one value a channel.

    factor  of the merged weights of one channel
    """
    rng = np.random.default_rng(1)
    first = rng.standard_normal((48, 400)).astype(np.float32)
    second = (first * (1 + 2e-4 * rng.standard_normal(first.shape))).astype(np.float32)
    merged = first.astype(np.float64) - second
    merged[:, 7] *= factor
    nodes = [
        node("MatMul", ["x", "a"], ["p"]),
        node("MatMul", ["x", "b"], ["q"]),
        node("Sub", ["p", "q"], ["y"]),
    ]
    return (
        graph(nodes, {"a": first, "b": second}, x=(1, 48)),
        graph([node("MatMul", ["x", "w"], ["y"])], {"w": merged.astype(np.float32)}, x=(1, 48)),
    )


def test_channels_of_one_value_that_rounding_moves_are_no_difference() -> None:
    """Two draws of each one's noise are both small by luck in some of 400."""
    assert verify(*cancelling()).verdict == "equal"


def test_a_channel_of_one_value_that_is_off_is_a_difference() -> None:
    assert verify(*cancelling(1.1)).verdict == "different"
