"""Networks inside of bodies and functions: the main graph only runs them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper
from onnx.numpy_helper import from_array

KINDS = ("then_branch", "else_branch", "loop", "scan", "loop in if", "function", "own weights")
DOMAIN = "local"


def nested(model: ModelProto, kind: str) -> ModelProto:
    """The network in a body of that kind. Every second weight stays outside, where it can be.

    Bodies of an If are both the network, under the same names, and only one is run. A function is
    called once, with all its weights; one with weights of its own is called twice.
    """
    graph = model.graph
    if kind in ("function", "own weights"):
        return _called(model, own=kind == "own weights")
    inside = [t for i, t in enumerate(graph.initializer) if i % 2]
    outside = [t for i, t in enumerate(graph.initializer) if not i % 2]
    outputs = [f"{o.name}_out" for o in graph.output]
    body = GraphProto(name="body", node=graph.node, initializer=inside, output=graph.output)
    body.value_info.extend(graph.value_info)
    if kind == "scan":
        return _scanned(model, body, outside, outputs)
    if kind == "loop":
        nodes = _loop(body, outputs)
    elif kind == "loop in if":
        inner = [f"{o.name}_inner" for o in graph.output]
        ends = [_open(n, _rank(o) + 1) for n, o in zip(inner, graph.output, strict=True)]
        looped = helper.make_graph(_loop(body, inner), "choice", [], ends)
        nodes = _if(looped, outputs, graph.input[0].name, which=True)
    else:
        nodes = _if(body, outputs, graph.input[0].name, which=kind == "then_branch")
    return _model(model, nodes, list(graph.input), outputs, outside, more=int("loop" in kind))


def _model(
    model: ModelProto,
    nodes: list[NodeProto],
    inputs: list[ValueInfoProto],
    outputs: list[str],
    initializers: Iterable[TensorProto],
    more: int = 0,
) -> ModelProto:
    """The model around the nodes. Its outputs have `more` axes than those of the network."""
    ends = zip(outputs, itertools.cycle(model.graph.output), strict=False)
    main = helper.make_graph(
        nodes, "main", inputs, [_open(o, more + _rank(r)) for o, r in ends], list(initializers)
    )
    made = helper.make_model(main, opset_imports=model.opset_import)
    made.ir_version = model.ir_version
    return made


def _open(name: str, rank: int) -> ValueInfoProto:
    return helper.make_tensor_value_info(
        name, TensorProto.FLOAT, [f"{name}_{axis}" for axis in range(rank)]
    )


def _rank(value: ValueInfoProto) -> int:
    return len(value.type.tensor_type.shape.dim)


def _constant(name: str, value: object, dtype: type) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=from_array(np.asarray(value, dtype)))


def _if(body: GraphProto, outputs: list[str], source: str, *, which: bool) -> list[NodeProto]:
    """Which body runs is always the same, but follows from values of an input."""
    either = helper.make_node(
        "If", ["which"], outputs, "choice", then_branch=body, else_branch=body
    )
    return [
        helper.make_node("Cast", [source], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["as_float"], ["most"], keepdims=0),
        _constant("limit", 1e6, np.float32),
        helper.make_node("Less" if which else "Greater", ["most", "limit"], ["which"]),
        either,
    ]


def _loop(body: GraphProto, outputs: list[str]) -> list[NodeProto]:
    inner = GraphProto()
    inner.CopyFrom(body)
    inner.node.insert(0, helper.make_node("Identity", ["going"], ["goes_on"]))
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    going = helper.make_tensor_value_info("going", TensorProto.BOOL, [])
    inner.input.extend([turn, going])
    inner.output.insert(0, helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []))
    loop = helper.make_node("Loop", ["turns", "begin"], outputs, "turning", body=inner)
    return [_constant("turns", 2, np.int64), _constant("begin", True, bool), loop]


def _scanned(
    model: ModelProto, body: GraphProto, outside: list[TensorProto], outputs: list[str]
) -> ModelProto:
    inputs = list(model.graph.input)
    body.input.extend(inputs)
    given, nodes = [], [_constant("first", [0], np.int64)]
    for value in inputs:
        other = ValueInfoProto()
        other.CopyFrom(value)
        other.name = f"{value.name}_given"
        given.append(other)
        row = f"{value.name}_rows"
        nodes.append(helper.make_node("Unsqueeze", [other.name, "first"], [row]))
    rows = [f"{v.name}_rows" for v in inputs]
    nodes.append(
        helper.make_node("Scan", rows, outputs, "scan", body=body, num_scan_inputs=len(inputs))
    )
    return _model(model, nodes, given, outputs, outside, more=1)


def _called(model: ModelProto, *, own: bool) -> ModelProto:
    graph = model.graph
    weights = list(graph.initializer)
    constants = [helper.make_node("Constant", [], [t.name], value=t) for t in weights]
    names = [v.name for v in graph.input]
    function = helper.make_function(
        DOMAIN,
        "Net",
        names if own else [*names, *(t.name for t in weights)],
        [o.name for o in graph.output],
        [*(constants if own else []), *graph.node],
        model.opset_import,
    )
    outputs, nodes = list[str](), list[NodeProto]()
    for number in range(2 if own else 1):
        made = [f"{o.name}_out{number}" for o in graph.output]
        nodes.append(helper.make_node("Net", list(function.input), made, domain=DOMAIN))
        outputs += made
    result = _model(model, nodes, list(graph.input), outputs, [] if own else weights)
    result.functions.append(function)
    result.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return result


def insides(model: ModelProto) -> list[GraphProto | onnx.FunctionProto]:
    """All bodies and functions of a model."""
    waiting: list[GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    found: list[GraphProto | onnx.FunctionProto] = list(model.functions)
    while waiting:
        for node in waiting.pop().node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    found.append(attribute.g)
                    waiting.append(attribute.g)
    return found
