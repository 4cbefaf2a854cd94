"""What was replaced by what in two models without a report, and what of it matters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from onnxac.render.words import operator_type
from onnxac.report import NodeRef

from .pairing import Counterpart, Matching

KINDS_SHOWN = 6


@dataclass(frozen=True)
class Region:
    """Nodes that stand for one another.

    counterpart  its place in `Matching.counterparts`
    title        the name of its last node
    """

    counterpart: int
    title: str
    gone: tuple[NodeRef, ...]
    new: tuple[NodeRef, ...]

    @property
    def before(self) -> str:
        """What was there, in a few words: 3 Conv, 2 Add."""
        return kinds(self.gone)

    @property
    def after(self) -> str:
        """What is there now."""
        return kinds(self.new)


def regions(matching: Matching, before: ModelProto, after: ModelProto) -> list[Region]:
    """All that changed; what computes something first, and the largest of it."""
    found = [
        _region(i, group, before, after)
        for i, group in enumerate(matching.counterparts)
        if not is_constant(group, before, after)
    ]
    return sorted(found, key=lambda r: (not (r.gone and r.new), -len(r.gone) - len(r.new)))


def constants(matching: Matching, before: ModelProto, after: ModelProto) -> list[int]:
    """Places of the counterparts in which nodes only became initializers, or the reverse."""
    groups = enumerate(matching.counterparts)
    return [i for i, group in groups if is_constant(group, before, after)]


def is_constant(group: Counterpart, before: ModelProto, after: ModelProto) -> bool:
    """Whether all that is gone or new are Constant nodes."""
    nodes = [*_nodes(before, group.before), *_nodes(after, group.after)]
    return (not group.before or not group.after) and all(n.op_type == "Constant" for n in nodes)


def _nodes(model: ModelProto, places: Iterable[int]) -> list[NodeProto]:
    return [model.graph.node[i] for i in places]


def _region(i: int, group: Counterpart, before: ModelProto, after: ModelProto) -> Region:
    gone = tuple(map(reference, _nodes(before, group.before)))
    new = tuple(map(reference, _nodes(after, group.after)))
    return Region(i, (new or gone)[-1].name, gone, new)


def reference(node: NodeProto) -> NodeRef:
    """A node as it is named; one without a name is known by its first output."""
    return NodeRef(node.name or next((o for o in node.output if o), ""), node.op_type)


def kinds(nodes: Iterable[NodeRef]) -> str:
    """How many of which type: 3 Conv, 2 Add."""
    counts = Counter(n.op for n in nodes)
    shown = [f"{n} {operator_type(op)}" for op, n in counts.most_common(KINDS_SHOWN)]
    return ", ".join((*shown, *(["…"] if len(counts) > KINDS_SHOWN else []))) or "nothing"
