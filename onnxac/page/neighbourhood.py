"""The surroundings of a block: a small graph, drawn at once while a large one is laid out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from onnx import ModelProto, ValueInfoProto

from .index import GraphIndex

# A viewer draws so many nodes in a moment.
MOST = 60


def neighbourhood(index: GraphIndex, seeds: Iterable[int]) -> list[int]:
    """The seeds and what is nearest to them along the edges, in the order of the graph."""
    waiting = deque(seeds)
    found = dict.fromkeys(waiting)
    while waiting and len(found) < MOST:
        i = waiting.popleft()
        for j in (*index.sources(i), *index.users(i)):
            if j not in found and len(found) < MOST:
                found[j] = None
                waiting.append(j)
    return sorted(found)


def excerpt(slim: ModelProto, index: GraphIndex, nodes: list[int]) -> ModelProto:
    """A model of some nodes of `slim`: what they read from elsewhere are its inputs.

    slim   the model without its weights; `index` is of the same graph
    """
    part = ModelProto(ir_version=slim.ir_version, opset_import=slim.opset_import)
    # By these fields a viewer tells a model, even where they are empty.
    part.producer_name, part.producer_version = slim.producer_name, slim.producer_version
    part.functions.extend(slim.functions)
    graph = part.graph
    graph.name = slim.graph.name
    graph.node.extend(slim.graph.node[i] for i in nodes)
    inside = set(nodes)
    read = dict.fromkeys(name for i in nodes for name in index.inputs(i) if name)
    made = [name for i in nodes for name in index.nodes[i].output if name]
    held = {t.name: t for t in slim.graph.initializer if t.name in read}
    types = {v.name: v for v in (*slim.graph.value_info, *slim.graph.input, *slim.graph.output)}
    graph.initializer.extend(held.values())
    graph.input.extend(
        types.get(name) or ValueInfoProto(name=name)
        for name in read
        if name not in held and index.producer.get(name) not in inside
    )
    outputs = {o.name for o in slim.graph.output}
    graph.output.extend(
        types.get(name) or ValueInfoProto(name=name)
        for name in made
        if name in outputs or not inside.issuperset(index.readers.get(name, ()))
    )
    graph.value_info.extend(types[name] for name in made if name in types)
    return part
