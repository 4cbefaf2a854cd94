"""How the work grows with the graph: twice the nodes take about twice the calls.

Calls are counted, not seconds: a count is the same on every machine, and on a busy one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxac.pipeline import inspect

SHAPE = (1, 4, 6, 6)
Weights = dict[str, NDArray[Any]]
Chain = Callable[[int], tuple[list[NodeProto], Weights]]

rng = np.random.default_rng(0)


def kernel(*taps: int) -> NDArray[np.float32]:
    return rng.standard_normal((4, 4, *taps)).astype(np.float32)


def blocks(number: int) -> tuple[list[NodeProto], Weights]:
    """ACNet blocks: 3×3, 3×1 and 1×3, summed, and a Relu."""
    nodes: list[NodeProto] = []
    weights: Weights = {}
    last = "x"
    for i in range(number // 6):
        for a, b in ((3, 3), (3, 1), (1, 3)):
            name = f"{i}.{a}{b}"
            weights[f"{name}.w"] = kernel(a, b)
            pads = [a // 2, b // 2] * 2
            nodes.append(helper.make_node("Conv", [last, f"{name}.w"], [name], pads=pads))
        nodes.append(helper.make_node("Add", [f"{i}.33", f"{i}.31"], [f"{i}.s"]))
        nodes.append(helper.make_node("Add", [f"{i}.s", f"{i}.13"], [f"{i}.t"]))
        nodes.append(helper.make_node("Relu", [f"{i}.t"], [f"{i}.y"]))
        last = f"{i}.y"
    return nodes, weights


def one_by_one(make: Callable[[int, str, str], tuple[NodeProto, Weights]]) -> Chain:
    def chain(number: int) -> tuple[list[NodeProto], Weights]:
        nodes: list[NodeProto] = []
        weights: Weights = {}
        last = "x"
        for i in range(number):
            node, held = make(i, last, f"t{i}")
            nodes.append(node)
            weights |= held
            last = f"t{i}"
        return nodes, weights

    return chain


def identity(_: int, last: str, name: str) -> tuple[NodeProto, Weights]:
    return helper.make_node("Identity", [last], [name]), {}


def transpose(number: int, last: str, name: str) -> tuple[NodeProto, Weights]:
    perm = [0, 3, 1, 2] if number % 2 else [0, 2, 3, 1]
    return helper.make_node("Transpose", [last], [name], perm=perm), {}


def scatter(number: int, last: str, name: str) -> tuple[NodeProto, Weights]:
    """One cell is overwritten, inside: no border, wherever one begins to look."""
    at = np.array([[0, number % 4, 2 + number % 3, 3]], np.int64)
    held: Weights = {f"{name}.i": at, f"{name}.v": np.array([number], np.float32)}
    return helper.make_node("ScatterND", [last, f"{name}.i", f"{name}.v"], [name]), held


def relu(_: int, last: str, name: str) -> tuple[NodeProto, Weights]:
    return helper.make_node("Relu", [last], [name]), {}


CHAINS: dict[str, tuple[Chain, int]] = {
    "ACNet": (blocks, 120),
    "Identity": (one_by_one(identity), 200),
    "Transpose": (one_by_one(transpose), 200),
    "ScatterND": (one_by_one(scatter), 200),
    "Relu": (one_by_one(relu), 200),
}


def model(chain: Chain, number: int) -> onnx.ModelProto:
    nodes, weights = chain(number)
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, SHAPE)
        for n in ("x", nodes[-1].output[0])
    ]
    held = [numpy_helper.from_array(v, n) for n, v in weights.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def calls(work: Callable[[], object]) -> int:
    """How many functions the work calls, Python's and others."""
    count = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("name", CHAINS)
def test_twice_the_nodes_take_about_twice_the_work(name: str) -> None:
    chain, number = CHAINS[name]
    models = [model(chain, n) for n in (number, 2 * number)]
    inspect(models[0])
    small, large = (calls(lambda m=m: inspect(m)) for m in models)  # type: ignore[misc]
    assert large < 2.3 * small


def test_certificates_of_twice_the_changes_take_about_twice_the_work() -> None:
    """Each change looks like all the others, and none has the weights of another."""
    models = [model(blocks, n) for n in (480, 960)]
    work = [partial(inspect, m, certified=True) for m in models]
    work[0]()
    small, large = map(calls, work)
    assert large < 2.3 * small


def test_work_that_grows_with_the_square_would_be_seen() -> None:
    def squared(number: int) -> None:
        for i in range(number):
            for _ in range(i):
                abs(i)

    assert calls(lambda: squared(200)) > 3.5 * calls(lambda: squared(100))
