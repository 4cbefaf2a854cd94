"""Ifs that have only one branch to take, with the nodes of that branch in their place.

Whoever merges over the border of such an If has put the branch in its place, under the names that
its tensors have inside: names are unique all the way in.
"""

from __future__ import annotations

from collections.abc import Mapping

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

_STANDARD = ("", "ai.onnx")


def in_place(before: ModelProto, after: ModelProto) -> ModelProto:
    """The model before, with branches for those of its Ifs that the model after has no longer."""
    left = {o for n in after.graph.node if n.op_type == "If" for o in n.output if o}
    made = before
    # A branch may hold the next one.
    while True:
        known = _conditions(made.graph)
        taken = {
            place: branch
            for place, node in enumerate(made.graph.node)
            if left.isdisjoint(node.output) and (branch := _taken(node, known)) is not None
        }
        if not taken or not _are_distinct(made.graph, list(taken.values())):
            return made
        made = _replaced(made, taken)


def _conditions(graph: GraphProto) -> dict[str, TensorProto]:
    """Constants of one boolean, by name."""
    found = {t.name: t for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in _STANDARD:
            found.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    inputs = {i.name for i in graph.input}
    return {n: t for n, t in found.items() if t.data_type == TensorProto.BOOL and n not in inputs}


def _taken(node: NodeProto, known: Mapping[str, TensorProto]) -> GraphProto | None:
    """The branch that an If takes, where its condition is a constant."""
    if node.op_type != "If" or node.domain not in _STANDARD or node.input[0] not in known:
        return None
    value = numpy_helper.to_array(known[node.input[0]])
    if value.size != 1:
        return None
    name = "then_branch" if value.item() else "else_branch"
    return next((a.g for a in node.attribute if a.name == name), None)


def _are_distinct(graph: GraphProto, bodies: list[GraphProto]) -> bool:
    """Whether no tensor of one has a name of another."""
    names = [n for g in (graph, *bodies) for n in _made(g)]
    return len(names) == len(set(names))


def _made(graph: GraphProto) -> list[str]:
    nodes = [o for n in graph.node for o in n.output if o]
    return [*nodes, *(t.name for t in graph.initializer)]


def _replaced(model: ModelProto, taken: Mapping[int, GraphProto]) -> ModelProto:
    """The model with branches in place of the nodes at some positions."""
    made = ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    nodes = list(model.graph.node)
    del graph.node[:]
    for place, node in enumerate(nodes):
        branch = taken.get(place)
        if branch is None:
            graph.node.append(node)
            continue
        graph.node.extend(branch.node)
        graph.initializer.extend(branch.initializer)
        graph.value_info.extend((*branch.value_info, *branch.output))
        graph.node.extend(
            helper.make_node("Identity", [given.name], [name])
            for given, name in zip(branch.output, node.output, strict=True)
            if name
        )
    return made
