"""Each graph of a file as a model of its own: the main one, bodies of If, Loop and Scan, functions.

`opened` finds them, from the outside in, since what is known of a tensor outside is known inside.
They are rewritten from the inside out: the graph around reads what is left, and no more.

A function is looked at with what all nodes that call it agree on. Where only one does, what that
one gives it is part of what it is: constants that it is given are its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import onnx_graphsurgeon as gs
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TypeProto

from onnxac.graph.bodies import (
    Given,
    all_names,
    alone,
    back,
    bound,
    function_alone,
    function_back,
    own_inputs,
    read_outside,
    with_body,
)
from onnxac.graph.model import Model, from_proto
from onnxac.inference.facts import Facts
from onnxac.report.places import Key, called_by, key_of, place_of, spots


@dataclass(frozen=True)
class Call:
    """A node that calls a function, and where it is."""

    scope: Scope
    node: gs.Node


@dataclass
class Scope:
    """One graph.

    place  where it is, as `graph.bodies` names it; "" for the main graph
    given  what is known of the tensors from outside that it reads
    put    takes the graph that became of it
    stale  what is inside of it is another by now
    """

    place: str
    model: Model
    facts: Facts
    given: dict[str, Given] = field(default_factory=dict)
    put: Callable[[GraphProto], None] = lambda _: None
    stale: bool = False


Look = Callable[[Model], Facts]


def opened(model: Model, facts: Facts, look: Look) -> list[Scope]:
    """All graphs of a file, the main one last, each before the one that it is in or called from.

    facts  what is known of the main graph
    look   finds out what is known of another one
    """
    main = Scope("", model, facts)
    if not model.functions and not spots(model.proto.graph.node):
        return [main]
    model.reserved.update(all_names(model.proto))
    return _Opening(model, look).of(main)[::-1]


class _Opening:
    def __init__(self, model: Model, look: Look) -> None:
        self._model, self._look = model, look
        self._functions = {key_of(f): i for i, f in enumerate(model.functions)}
        self._calls: dict[Key, list[Call]] = defaultdict(list)

    def of(self, main: Scope) -> list[Scope]:
        found = self._inside(main)
        waiting = dict(self._functions)
        while True:
            callers = {k for i in waiting.values() for k in _called(self._model.functions[i])}
            # All nodes that call it are known.
            ready = next((k for k in waiting if k not in callers and self._calls[k]), None)
            if ready is None:
                return found
            found += self._function(waiting.pop(ready), self._calls[ready])

    def _inside(self, scope: Scope) -> list[Scope]:
        """The graph, and what is inside of it."""
        found = [scope]
        model, nodes = scope.model, list(scope.model.graph.nodes)
        for node in nodes:
            key = called_by(_origin(model, node))
            if key in self._functions:
                self._calls[key].append(Call(scope, node))
        origins = [_origin(model, n) for n in nodes]
        places = spots(origins, scope.place)
        reads = _reads(model, origins) if places else Counter[str]()
        for spot in places:
            body = self._body(scope, nodes[spot.node], spot.attribute, spot.place)
            body.facts.shared = frozenset(
                n for n in body.given if reads[n] > 1 or n in scope.facts.shared
            )
            found += self._inside(body)
        return found

    def _body(self, scope: Scope, node: gs.Node, attribute: int, place: str) -> Scope:
        origin = _origin(scope.model, node)
        body = origin.attribute[attribute].g
        given: dict[str, Given] = {n: scope.facts.given(n) for n in read_outside(body)}
        told = own_inputs(origin, body, scope.facts.kind)
        inner = self._model_of(alone(body, scope.model.proto, {**given, **told}))

        def put(made: GraphProto) -> None:
            now = _origin(scope.model, node)
            scope.model.adopt(node, with_body(now, attribute, back(made, body, given)))
            scope.stale = True

        return Scope(place, inner, self._look(inner), given, put)

    def _function(self, index: int, calls: Sequence[Call]) -> list[Scope]:
        function = self._model.functions[index]
        given = _given(function, calls)
        whole = bound(function, [_origin(c.scope.model, c.node) for c in calls])
        inner = self._model_of(function_alone(whole, self._model.proto, given))

        def put(made: GraphProto) -> None:
            result, left = function_back(made, function, given)
            self._model.functions[index] = result
            if len(left) < len(function.input):
                (call,) = calls
                kept = [t for i, t in enumerate(call.node.inputs) if i in left]
                call.node.inputs = kept
                call.scope.stale = True

        return self._inside(Scope(place_of(function), inner, self._look(inner), given, put))

    def _model_of(self, proto: ModelProto) -> Model:
        made = from_proto(proto, self._model.folder)
        made.reserved, made.exact = self._model.reserved, self._model.exact
        return made


def _origin(model: Model, node: gs.Node) -> NodeProto:
    origin = model.origin(node)
    assert origin is not None, "no nodes are added before all graphs are opened"
    return origin


def _reads(model: Model, nodes: Iterable[NodeProto]) -> Counter[str]:
    """How often each tensor of a graph is read, by its nodes and by their bodies."""
    found = Counter(t.name for t in model.graph.outputs)
    for node in nodes:
        found.update(node.input)
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                found.update(read_outside(body))
    return found


def _called(function: FunctionProto) -> Iterable[Key]:
    """The functions that nodes in a function may call."""
    waiting = list(function.node)
    while waiting:
        node = waiting.pop()
        yield called_by(node)
        waiting += [n for a in node.attribute for g in (a.g, *a.graphs) for n in g.node]


def _given(function: FunctionProto, calls: Sequence[Call]) -> dict[str, Given]:
    """What is known of a function's inputs, wherever it is called from."""
    found: dict[str, Given] = {}
    for index, name in enumerate(function.input):
        read = [c.node.inputs[index].name if index < len(c.node.inputs) else "" for c in calls]
        if len(calls) == 1 and read[0]:
            found[name] = calls[0].scope.facts.given(read[0])
        elif all(read):
            kinds = [c.scope.facts.kind(n) for c, n in zip(calls, read, strict=True)]
            found[name] = _common([k for k in kinds if k is not None]) if all(kinds) else None
    return found


def _common(kinds: Sequence[TypeProto]) -> TypeProto | None:
    """What types agree on; None where that is nothing."""
    first, *others = (k.tensor_type for k in kinds)
    if any(o.elem_type != first.elem_type for o in others):
        return None
    made = TypeProto()
    made.tensor_type.elem_type = first.elem_type
    ranks = {len(t.shape.dim) if t.HasField("shape") else None for t in (first, *others)}
    if len(ranks) == 1 and None not in ranks:
        made.tensor_type.shape.SetInParent()
        for dims in zip(*(t.shape.dim for t in (first, *others)), strict=True):
            dim = made.tensor_type.shape.dim.add()
            if all(d.HasField("dim_value") and d.dim_value == dims[0].dim_value for d in dims):
                dim.dim_value = dims[0].dim_value
    return made
