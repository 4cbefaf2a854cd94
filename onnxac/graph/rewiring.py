"""Let readers read other tensors and drop nodes, all in one walk over the graph.

graphsurgeon keeps the readers of a tensor in a list and looks through it at every change,
comparing whole nodes; where one constant has thousands of readers that is quadratic.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_graphsurgeon as gs

from onnxac.graph.reachable import alive


class Rewiring:
    """Changes of a graph that are collected first and applied together.

    named  tensors needed by their very name: outputs, and what subgraphs read
    fixed  tensors whose nodes have to stay as they are
    """

    def __init__(self, graph: gs.Graph, named: frozenset[str], fixed: frozenset[str]) -> None:
        self._graph, self._named, self._fixed = graph, named, fixed
        self._instead: dict[str, gs.Tensor] = {}
        self._removed: set[int] = set()

    def resolve(self, tensor: gs.Tensor) -> gs.Tensor:
        """The tensor that readers of `tensor` will read."""
        while tensor.name in self._instead:
            tensor = self._instead[tensor.name]
        return tensor

    def alias(self, tensor: gs.Tensor, other: gs.Tensor) -> None:
        """Let readers of `tensor` read `other`; whatever makes the tensor stays."""
        self._instead[tensor.name] = self.resolve(other)

    def drop(self, node: gs.Node, equals: Iterable[tuple[gs.Tensor, gs.Tensor]]) -> None:
        """Remove a node, since each of its outputs equals a tensor that is made before it.

        equals  (output, the tensor that it equals) for every output that has a name

        A name that is needed passes to the node that makes the equal tensor. Where that is
        needed by its own name too, or is no node's, the node stays, and only its readers
        read the other tensor.
        """
        pairs = [(made, self.resolve(equal)) for made, equal in equals]
        if any(made.name in self._fixed for made, _ in pairs):
            return
        stays = any(m.name in self._named and not self._renames(equal) for m, equal in pairs)
        for made, equal in pairs:
            if stays or made.name not in self._named:
                self._instead[made.name] = equal
            else:
                maker = equal.inputs[0]
                place = next(i for i, t in enumerate(maker.outputs) if t is equal)
                made.inputs.clear()
                maker.outputs[place] = made
                self._instead[equal.name] = made
        if not stays:
            self._removed.add(id(node))

    def _renames(self, tensor: gs.Tensor) -> bool:
        """Whether the tensor may be called something else."""
        return bool(tensor.inputs) and tensor.name not in self._named | self._fixed

    def apply(self) -> list[gs.Node]:
        """Change the graph; returns the nodes that went, and those that nothing needs, in order."""
        before = self._graph.nodes
        nodes = [n for n in before if id(n) not in self._removed]
        touched: dict[int, gs.Tensor] = {}
        for node in nodes:
            for index, tensor in enumerate(node.inputs):
                other = self.resolve(tensor)
                if other is not tensor:
                    list.__setitem__(node.inputs, index, other)
                    touched |= {id(tensor): tensor, id(other): other}
        nodes = alive(nodes, self._named)
        staying = {id(n) for n in nodes}
        gone = [n for n in before if id(n) not in staying]
        touched |= {id(t): t for n in gone for t in n.inputs}
        for tensor in touched.values():
            list.clear(tensor.outputs)
        for node in nodes:
            for tensor in node.inputs:
                if id(tensor) in touched:
                    list.append(tensor.outputs, node)
        self._graph.nodes = nodes
        return gone
