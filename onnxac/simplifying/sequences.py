"""Sequences of tensors that are taken apart again at once: Split, Slice or Gather.

    SplitToSequence → SequenceAt, SequenceAt, …  =  Split

PyTorch's exporters write split, chunk and unbind so. Nothing is known of the shape of what comes
out of a sequence, and so of nothing behind it: this goes before all that asks for shapes.

Requires  facts on the model as it was read.
Ensures   every tensor that is no sequence is still there by its name, with the value that it had.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxac.graph.bodies import all_names
from onnxac.graph.model import Model, from_proto
from onnxac.inference.facts import Facts


@dataclass(frozen=True)
class _Split:
    """A SplitToSequence all of whose readers take a part that is known.

    sizes   of the parts along the axis; None for parts of 1 whose axis goes
    equal   the size of all parts but the last, where there is no telling how many there are
    taken   number of a part → the tensors that it is read as
    """

    node: NodeProto
    axis: int
    sizes: tuple[int, ...] | None
    equal: int
    taken: dict[int, list[NodeProto]]

    @property
    def made(self) -> list[str]:
        """What its nodes make."""
        nodes = [self.node, *(n for taken in self.taken.values() for n in taken)]
        return [o for n in nodes for o in n.output]


def without_sequences(model: Model, facts: Facts, kept: frozenset[str]) -> Model | None:
    """The model without such sequences; None where it has none. The model is not changed.

    kept  outputs of nodes to leave alone
    """
    splits = [s for s in _splits(model.proto, facts) if kept.isdisjoint(s.made)]
    if not splits:
        return None
    made = ModelProto()
    made.CopyFrom(model.proto)
    names = _Names(made)
    instead: dict[str, list[NodeProto]] = {}
    for split in splits:
        instead.update((n.output[0], []) for ns in split.taken.values() for n in ns)
        instead[split.node.output[0]] = [*_parts(split, facts.opset, names)]
    nodes = [
        n
        for old in model.proto.graph.node
        for n in (instead.get(old.output[0], [old]) if old.output else [old])
    ]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(names.held)
    return from_proto(made, model.folder)


class _Names:
    """New constants, each of a name that nothing else has."""

    def __init__(self, proto: ModelProto) -> None:
        self._taken = set(all_names(proto))
        self.held: list[TensorProto] = []

    def unique(self, wish: str) -> str:
        """The name, with a number where that is taken."""
        name, number = wish, 1
        while name in self._taken:
            name, number = f"{wish}_{number}", number + 1
        self._taken.add(name)
        return name

    def integers(self, wish: str, values: Sequence[int] | int) -> str:
        """The name of an initializer."""
        name = self.unique(wish)
        self.held.append(numpy_helper.from_array(np.asarray(values, np.int64), name))
        return name


def _splits(proto: ModelProto, facts: Facts) -> Iterator[_Split]:
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    outside = {o.name for o in proto.graph.output}
    for node in proto.graph.node:
        for name in node.input:
            readers[name].append(node)
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            outside.update(n for a in node.attribute for g in (a.g, *a.graphs) for n in _read(g))
    for node in proto.graph.node:
        if node.op_type == "SplitToSequence" and facts.is_standard(node.domain, node.op_type):
            found = None if node.output[0] in outside else _read_as(node, readers, facts)
            if found is not None:
                yield found


def _read(graph: object) -> Iterator[str]:
    for node in getattr(graph, "node", ()):
        yield from node.input
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _read(inner)


def _read_as(node: NodeProto, readers: dict[str, list[NodeProto]], facts: Facts) -> _Split | None:
    given = {a.name: a.i for a in node.attribute}
    shape = facts.shape(node.input[0])
    if not shape:
        return None
    axis = given.get("axis", 0) % len(shape)
    extent = shape[axis]
    sizes: tuple[int, ...] | None
    equal = 1
    if len(node.input) > 1 and node.input[1]:
        held = facts.value(node.input[1])
        if held is None or held.ndim > 1:
            return None
        if held.ndim:
            sizes = tuple(int(v) for v in held)
        else:
            equal = int(held)
            sizes = _equal(extent, equal) if isinstance(extent, int) else ()
    elif given.get("keepdims", 1):
        sizes = (1,) * extent if isinstance(extent, int) else ()
    else:
        sizes = None
    if equal < 1:
        return None
    count = extent if sizes is None else len(sizes)
    taken: dict[int, list[NodeProto]] = defaultdict(list)
    for reader in readers[node.output[0]]:
        place = _place(reader, node.output[0], count if isinstance(count, int) else 0, facts)
        if place is None:
            return None
        taken[place].append(reader)
    return _Split(node, axis, sizes, equal, dict(taken))


def _equal(extent: int, size: int) -> tuple[int, ...]:
    whole, rest = divmod(extent, max(size, 1))
    return (*[size] * whole, *([rest] if rest else []))


def _place(reader: NodeProto, sequence: str, count: int, facts: Facts) -> int | None:
    """Which part a node takes; None for one that does something else."""
    if reader.op_type != "SequenceAt" or not facts.is_standard(reader.domain, reader.op_type):
        return None
    held = facts.value(reader.input[1]) if reader.input[0] == sequence else None
    if held is None or held.size != 1:
        return None
    place = int(held.reshape(()))
    place += count if place < 0 else 0
    return place if place >= 0 and (not count or place < count) else None


def _parts(split: _Split, opset: int, names: _Names) -> Iterator[NodeProto]:
    """The nodes that make all parts that are taken."""
    made = {place: taken[0].output[0] for place, taken in split.taken.items()}
    if split.sizes is None:
        yield from _gathered(split, made, names)
    elif split.sizes:
        yield _split(split, split.sizes, made, opset, names)
    else:
        yield from _sliced(split, made, names)
    for place, taken in split.taken.items():
        for other in taken[1:]:
            yield helper.make_node("Identity", [made[place]], [other.output[0]], other.name)


def _gathered(split: _Split, made: Mapping[int, str], names: _Names) -> Iterator[NodeProto]:
    for place, name in made.items():
        read = [split.node.input[0], names.integers(f"{name}.index", place)]
        yield helper.make_node("Gather", read, [name], name, axis=split.axis)


def _split(
    split: _Split, sizes: Sequence[int], made: Mapping[int, str], opset: int, names: _Names
) -> NodeProto:
    source, name = split.node.input[0], split.node.name
    outputs = [made.get(p) or names.unique(f"{name}.{p}") for p in range(len(sizes))]
    if opset < 13:
        return helper.make_node("Split", [source], outputs, name, axis=split.axis, split=sizes)
    read = [source, names.integers(f"{name}.split", sizes)]
    return helper.make_node("Split", read, outputs, name, axis=split.axis)


def _sliced(split: _Split, made: Mapping[int, str], names: _Names) -> Iterator[NodeProto]:
    for place, name in made.items():
        first = place * split.equal
        bounds = {"starts": first, "ends": first + split.equal, "axes": split.axis}
        held = [names.integers(f"{name}.{role}", [value]) for role, value in bounds.items()]
        yield helper.make_node("Slice", [split.node.input[0], *held], [name], name)
