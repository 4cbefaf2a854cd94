"""An If whose condition is a constant: the branch that is taken stands in its place.

PyTorch writes `squeeze` of an axis whose extent it does not know as an If; often the shape is known
all the same. Of what comes out of two branches of other ranks nothing is known, and so nothing of
what is behind it: this goes before all that asks for shapes.

Requires  facts on the model as it was read.
Ensures   every tensor of the main graph is still there by its name, with the value that it had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from onnxac.graph.bodies import all_names
from onnxac.graph.model import Model, from_proto
from onnxac.inference.facts import Facts


def without_conditions(model: Model, facts: Facts, kept: frozenset[str]) -> Model | None:
    """The model without Ifs that are decided; None where it has none. The model is not changed.

    kept  outputs of nodes to leave alone
    """
    nodes = [n for n in model.proto.graph.node if kept.isdisjoint(n.output)]
    taken = {n.output[0]: b for n in nodes if (b := _taken(n, facts)) is not None}
    if not taken:
        return None
    made = ModelProto()
    made.CopyFrom(model.proto)
    names = all_names(made)
    nodes = []
    for node in model.proto.graph.node:
        body = taken.get(node.output[0]) if node.output else None
        if body is None:
            nodes.append(node)
        else:
            inside, held = _inlined(node, body, names)
            nodes += inside
            made.graph.initializer.extend(held)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return from_proto(made, model.folder)


def _taken(node: NodeProto, facts: Facts) -> GraphProto | None:
    """The branch that is always taken."""
    if node.op_type != "If" or not facts.is_standard(node.domain, "If") or not node.output:
        return None
    held = facts.value(node.input[0]) if facts.is_constant(node.input[0]) else None
    if held is None or held.size != 1:
        return None
    wanted = "then_branch" if bool(held.reshape(())) else "else_branch"
    body = next((a.g for a in node.attribute if a.name == wanted), None)
    return None if body is None or body.sparse_initializer else body


def _inlined(
    node: NodeProto, body: GraphProto, names: set[str]
) -> tuple[list[NodeProto], list[TensorProto]]:
    """The branch as nodes of the graph around, and the constants that it had."""
    own = [t.name for t in body.initializer] + [o for n in body.node for o in n.output if o]
    instead = {name: _unique(name, names) for name in own}
    ends: list[NodeProto] = []
    for inner, outer in zip(body.output, node.output, strict=True):
        made = {o for n in body.node for o in n.output}
        if inner.name in made and instead[inner.name] not in node.output:
            instead[inner.name] = outer
        elif outer:
            # Something from outside, a constant, or what another output is already.
            source = instead.get(inner.name, inner.name)
            ends.append(onnx.helper.make_node("Identity", [source], [outer]))
    nodes = [_renamed(n, instead) for n in body.node]
    held = [TensorProto.FromString(t.SerializeToString()) for t in body.initializer]
    for tensor in held:
        tensor.name = instead[tensor.name]
    return nodes + ends, held


def _unique(name: str, names: set[str]) -> str:
    number = 1
    while f"{name}_{number}" in names:
        number += 1
    names.add(f"{name}_{number}")
    return f"{name}_{number}"


def _renamed(node: NodeProto, instead: Mapping[str, str]) -> NodeProto:
    """The node with other names for what it reads and makes, in bodies of its own too."""
    result = NodeProto()
    result.CopyFrom(node)
    result.input[:] = [instead.get(i, i) for i in node.input]
    result.output[:] = [instead.get(o, o) for o in node.output]
    for graph in _bodies(result):
        _rename(graph, instead)
    return result


def _rename(graph: GraphProto, instead: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [instead.get(i, i) for i in node.input]
        for inner in _bodies(node):
            _rename(inner, instead)
    for output in graph.output:
        output.name = instead.get(output.name, output.name)


def _bodies(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs
