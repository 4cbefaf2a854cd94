"""One graph, looked up in every way that the matching needs. Nodes are their positions.

Names can't identify a node: they may be empty, and exporters repeat them. Positions can,
and so can the tensors that a node writes, because each has one writer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

Key = tuple[str, str]


class GraphIndex:
    """The top-level graph of a model. Subgraphs count as part of the node that owns them."""

    def __init__(self, model: ModelProto) -> None:
        self.graph: GraphProto = model.graph
        self.nodes: list[NodeProto] = list(model.graph.node)
        self.producer: dict[str, int] = {}
        self.readers: dict[str, list[int]] = defaultdict(list)
        self._inputs: list[tuple[str, ...]] = []
        for i, node in enumerate(self.nodes):
            self._inputs.append((*node.input, *_captured(node)))
            for name in self._inputs[i]:
                if name:
                    self.readers[name].append(i)
            for name in node.output:
                if name:
                    self.producer[name] = i

    @cached_property
    def initializers(self) -> dict[str, TensorProto]:
        """The constant tensors of the graph by name: initializers, and what Constants hold."""
        held = {n.output[0]: t for n in self.nodes for t in _held(n)}
        return held | {t.name: t for t in self.graph.initializer}

    @cached_property
    def by_key(self) -> dict[Key, list[int]]:
        """Positions by (name, operator type)."""
        found: dict[Key, list[int]] = defaultdict(list)
        for i, node in enumerate(self.nodes):
            found[node.name, node.op_type].append(i)
        return dict(found)

    def inputs(self, i: int) -> tuple[str, ...]:
        """Tensors that node `i` reads, those that its subgraphs capture included."""
        return self._inputs[i]

    def sources(self, i: int) -> Iterator[int]:
        """Nodes whose output node `i` reads."""
        for name in self._inputs[i]:
            if name in self.producer:
                yield self.producer[name]

    def users(self, i: int) -> Iterator[int]:
        """Nodes that read an output of node `i`."""
        for name in self.nodes[i].output:
            yield from self.readers.get(name, ()) if name else ()

    def cone(self, outputs: Iterable[str], stop: Iterable[str]) -> set[int]:
        """Nodes that `outputs` are computed from, back to the tensors in `stop`."""
        border = set(stop)
        pending = [name for name in outputs if name in self.producer]
        seen: set[int] = set()
        while pending:
            i = self.producer[pending.pop()]
            if i not in seen:
                seen.add(i)
                pending += [n for n in self._inputs[i] if n not in border and n in self.producer]
        return seen


def _held(node: NodeProto) -> Iterator[TensorProto]:
    if node.op_type == "Constant" and len(node.output) == 1:
        yield from (a.t for a in node.attribute if a.type == AttributeProto.TENSOR)


def _captured(node: NodeProto) -> Iterator[str]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield from _free_names(attribute.g)
        elif attribute.type == AttributeProto.GRAPHS:
            for graph in attribute.graphs:
                yield from _free_names(graph)


def _free_names(graph: GraphProto) -> Iterator[str]:
    bound = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    bound.update(name for node in graph.node for name in node.output)
    for node in graph.node:
        yield from (n for n in (*node.input, *_captured(node)) if n and n not in bound)
    yield from (v.name for v in graph.output if v.name not in bound)
