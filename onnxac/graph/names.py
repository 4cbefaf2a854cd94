"""Names for what is added to a graph: like what was wished for, and nobody else's."""

from __future__ import annotations

from onnxac.graph.model import Model, captured_names


class Names:
    """Hands out names that no node, tensor or subgraph of the model has."""

    def __init__(self, model: Model) -> None:
        graph = model.graph
        self._reserved = model.reserved
        self._taken = captured_names(model.proto.graph)
        self._taken |= {t.name for t in model.proto.graph.initializer}
        self._taken |= {t.name for t in (*graph.inputs, *graph.outputs)}
        for node in graph.nodes:
            self._taken.add(node.name)
            self._taken.update(t.name for t in (*node.inputs, *node.outputs))

    def unique(self, wish: str) -> str:
        """The wish, with a number behind it if somebody has that name."""
        name, count = wish, 0
        while name in self._taken or name in self._reserved:
            count += 1
            name = f"{wish}_{count}"
        self._taken.add(name)
        self._reserved.add(name)
        return name
