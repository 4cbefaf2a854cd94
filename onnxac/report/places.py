"""Places: how a report names bodies of If, Loop and Scan, and functions.

The body of an If is "then_branch of If_3"; that of one in a body ends with the place of that, ",
body of Loop_1". The main graph's is "".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from onnx import AttributeProto, FunctionProto, NodeProto

# Domain, name and overload of a function, as a node calls it.
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Spot:
    """Where a body is: in which attribute of which node, by their positions."""

    place: str
    node: int
    attribute: int


def spots(nodes: Sequence[NodeProto], around: str = "") -> list[Spot]:
    """The bodies of standard operators among the nodes of a graph, in order.

    around  the place of that graph
    """
    found: list[Spot] = []
    taken: set[str] = set()
    for index, node in enumerate(nodes):
        if node.domain not in ("", "ai.onnx"):
            continue
        output = next((o for o in node.output if o), "")
        for place, attribute in enumerate(node.attribute):
            if attribute.type == AttributeProto.GRAPH:
                name = _place(attribute.name, node.name or output, around)
                if name in taken:
                    name = _place(attribute.name, output, around)
                taken.add(name)
                found.append(Spot(name, index, place))
    return found


def _place(attribute: str, owner: str, around: str) -> str:
    return ", ".join(filter(None, (f"{attribute} of {owner}", around)))


def place_of(function: FunctionProto) -> str:
    """The place of a function's body."""
    return "function " + ".".join(filter(None, key_of(function)))


def key_of(function: FunctionProto) -> Key:
    """What a node has to have to call the function."""
    return function.domain, function.name, function.overload


def called_by(node: NodeProto) -> Key:
    """The function that the node calls, if there is one of that name."""
    return node.domain, node.op_type, node.overload


def all_nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The nodes, and those in their bodies."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from all_nodes(graph.node)
