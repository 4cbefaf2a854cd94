"""Two graphs, and what lies between the same tensors in both.

A change is known by the names of the nodes that it added. `cut_out` finds, in the graph
before and in the graph after, the smallest parts that compute the same tensors (the targets)
from the same tensors (the sources). Both parts are plain lists of nodes, to be evaluated side
by side; nothing is assumed of how one came from the other.

A tensor that has one name in both graphs stands for one value: at a target that is what has to
be shown, at a source it is what another certificate shows, or it is a graph input. The induction
goes along the graph, so that all certificates together say it of every tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

Array = NDArray[Any]


@dataclass(frozen=True)
class Part:
    """Nodes of one graph, in order, that compute targets from sources and constants.

    value   the array of a constant (an initializer), by name
    opset   version of the default operator set
    stored  names of the initializers of its graph
    """

    nodes: tuple[NodeProto, ...]
    value: Callable[[str], Array]
    opset: int
    stored: Container[str] = ()


@dataclass(frozen=True)
class Cut:
    """The same tensors, computed in two ways."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    before: Part
    after: Part


@dataclass
class Graph:
    """One graph by names: who makes a tensor, who reads it, which initializers there are.

    inputs   names of the graph inputs that are no constants
    folder   where external data lies
    divided  tensor → the one that it is, but for a factor per channel
    added    constants beside the initializers
    """

    proto: GraphProto
    opset: int
    inputs: frozenset[str]
    folder: str = ""
    makers: dict[str, int] = field(default_factory=dict)
    readers: dict[str, list[int]] = field(default_factory=dict)
    initializers: dict[str, TensorProto] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    divided: dict[str, str] = field(default_factory=dict)
    added: dict[str, Array] = field(default_factory=dict)
    _values: dict[str, Array] = field(default_factory=dict)
    _constant: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.initializers = {t.name: t for t in self.proto.initializer}
        self.elsewhere = {o.name for o in self.proto.output}
        for index, node in enumerate(self.proto.node):
            for name in node.output:
                if name:
                    self.makers[name] = index
            for name in node.input:
                self.readers.setdefault(name, []).append(index)
            for body in _bodies(node):
                self.elsewhere |= set(_captured(body))

    def value(self, name: str) -> Array:
        """The array of an initializer."""
        if name in self.added:
            return self.added[name]
        if name not in self._values:
            tensor = self.initializers[name]
            self._values[name] = numpy_helper.to_array(tensor, self.folder)
        return self._values[name]

    def is_constant(self, name: str) -> bool:
        """Whether a tensor depends on no input of the graph. An omitted input ("") doesn't."""
        known = self._constant
        waiting = [name]
        while waiting:
            top = waiting[-1]
            if top not in known:
                made = self.makers.get(top)
                if top in self.inputs:
                    known[top] = False
                elif not top or top in self.initializers or top in self.added:
                    known[top] = True
                elif made is None:
                    known[top] = False
                else:
                    node = self.proto.node[made]
                    missing = [n for n in operands(node) if n not in known]
                    if missing:
                        waiting += missing
                        continue
                    known[top] = (
                        all(known[n] for n in operands(node))
                        and not any(True for _ in _bodies(node))
                        and not node.op_type.startswith("Random")
                    )
            waiting.pop()
        return known[name]


def graphs(before: ModelProto, after: ModelProto, folders: tuple[str, str]) -> tuple[Graph, Graph]:
    """Both graphs. What is an input of the result is an input of both, whatever its default."""
    given = {i.name for i in after.graph.input}
    default = {t.name for t in before.graph.initializer}
    # An overridable initializer that the result has no input for was taken as a constant.
    inputs = frozenset(n for i in before.graph.input if (n := i.name) in given or n not in default)
    first, second = (
        Graph(m.graph, _opset(m), inputs, folder)
        for m, folder in zip((before, after), folders, strict=True)
    )
    return first, second


def cut_out(
    before: Graph, after: Graph, added: Iterable[str], opened: frozenset[str] = frozenset()
) -> Cut | str:
    """What the nodes `added` to the graph after replace, or why there is no telling.

    opened  tensors that are to be no sources: what they are computed from belongs to the cut
    """
    wanted = set(added)
    nodes = after.proto.node
    own = {i for i, n in enumerate(nodes) if (n.name or next(iter(n.output), "")) in wanted}
    if not own:
        return "none of the nodes that it added is in the model"
    while True:
        made = [name for i in sorted(own) for name in nodes[i].output if name]
        targets = tuple(
            name
            for name in made
            if name in after.elsewhere or any(r not in own for r in after.readers.get(name, ()))
        )
        # What is new to the graph is judged by what its readers make of it.
        unknown = [t for t in targets if t not in before.makers]
        further = {r for t in unknown for r in after.readers.get(t, ())} - own
        if not further:
            break
        own |= further
    read = {name for i in own for name in nodes[i].input if name}
    sources = {
        after.divided.get(n, n) for n in read if n not in set(made) and not after.is_constant(n)
    }
    return between(before, after, targets, sources, opened)


def between(
    before: Graph,
    after: Graph,
    targets: Sequence[str],
    sources: Iterable[str],
    opened: frozenset[str] = frozenset(),
) -> Cut | str:
    """Both ways from common tensors to the targets, beginning with `sources` as a guess.

    A guess that only one of the two ways passes is walked through: what the graph before reads
    under another name, or transposes by a node of its own, has an ancestor that both pass.
    """
    missing = [t for t in targets if t not in before.makers]
    if missing:
        return f"tensor {missing[0]!r} is not in the original"
    stops = set(sources)
    sides: tuple[tuple[Graph, set[str]], ...] = (before, set(opened)), (after, set(opened))
    while True:
        first, second = (_leaves(g, targets, stops - walked) for g, walked in sides)
        apart = first ^ second
        if not apart:
            break
        # Where one side ends, the other may end too. What only one side comes by is walked
        # through there; where that is an input, something hides it from the other side.
        passed = [n for n in apart if n in (before if n in first else after).makers] or [
            n for n in first & second if n in before.makers
        ]
        if not passed:
            return f"input {min(apart)!r} is read on one side only"
        stops |= apart
        last = max(passed, key=lambda n: (n not in before.makers, before.makers.get(n, -1)))
        for (_, walked), found in zip(sides, (first, second), strict=True):
            if last in found:
                walked.add(last)
        if last not in before.makers:
            stops |= _ancestors(after, last, before.makers)
    return Cut(
        sources=tuple(sorted(first)),
        targets=tuple(targets),
        before=_part(before, targets, first),
        after=_part(after, targets, first),
    )


def _ancestors(graph: Graph, name: str, known: Container[str]) -> set[str]:
    """The nearest tensors that a new one is made of and that are known in the other graph, too."""
    found, waiting, seen = set[str](), [name], {name}
    while waiting:
        made = graph.makers.get(waiting.pop())
        for other in operands(graph.proto.node[made]) if made is not None else ():
            if other in known:
                found.add(other)
            elif other not in seen:
                waiting.append(other)
            seen.add(other)
    return {n for n in found if not graph.is_constant(n)}


def related(graph: Graph, sources: Sequence[str], most: int = 16) -> str | None:
    """A source that is computed from another one by a few nodes, so that both can't be free."""
    for source in sorted(sources, key=lambda n: graph.makers.get(n, -1), reverse=True):
        waiting, steps = [source], 0
        while waiting and steps < most:
            made = graph.makers.get(waiting.pop())
            if made is None:
                continue
            steps += 1
            names = operands(graph.proto.node[made])
            if set(names) & set(sources):
                return source
            waiting += names
    return None


def _leaves(graph: Graph, targets: Sequence[str], stops: set[str]) -> set[str]:
    """Tensors at which a walk back from the targets ends: stops, and inputs of the graph."""
    found: set[str] = set()
    for name, _ in _walk(graph, targets, stops):
        if name in stops or name not in graph.makers:
            found.add(name)
    return found


def _walk(
    graph: Graph, targets: Sequence[str], stops: set[str]
) -> Iterator[tuple[str, NodeProto | None]]:
    """Tensors that are no constants, from the targets back to the stops, each with its maker."""
    waiting, seen = list(targets), set(targets)
    first = set(targets)
    while waiting:
        name = waiting.pop()
        made = graph.makers.get(name)
        if made is None or (name in stops and name not in first):
            yield name, None
            continue
        node = graph.proto.node[made]
        yield name, node
        for other in operands(node):
            if other and other not in seen and not graph.is_constant(other):
                seen.add(other)
                waiting.append(other)


def _part(graph: Graph, targets: Sequence[str], leaves: set[str]) -> Part:
    places: set[int] = set()
    waiting, seen = list(targets), set[str]()
    while waiting:
        name = waiting.pop()
        if not name or name in seen or (name in leaves and name not in targets):
            continue
        seen.add(name)
        made = graph.makers.get(name)
        if made is None or name in graph.inputs:
            continue
        places.add(made)
        waiting += operands(graph.proto.node[made])
    ordered = tuple(graph.proto.node[i] for i in sorted(places))
    stored = {*graph.initializers, *graph.added} if graph.added else graph.initializers
    return Part(ordered, graph.value, graph.opset, stored)


def _opset(model: ModelProto) -> int:
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)


def _bodies(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def _captured(graph: GraphProto) -> Iterator[str]:
    """Names that a body reads, its own among them."""
    for node in graph.node:
        yield from node.input
        for body in _bodies(node):
            yield from _captured(body)
    yield from (o.name for o in graph.output)


def operands(node: NodeProto) -> list[str]:
    """The inputs whose values a node uses: of the last one of a CastLike it wants the type only."""
    names = list(node.input)
    return names[:1] if node.op_type == "CastLike" else names


def as_float(array: Array) -> Array:
    """A float array in float64, of whatever width it was stored in; others as they are."""
    if array.dtype.kind in "iub" and array.dtype.name not in ("bfloat16",):
        return array
    return np.asarray(array, np.float64)
