"""A body with what it reads from outside as one flat graph, so that certificates see no nesting.

What a body reads of the graphs around it is computed by nodes of these, and names are unique all
the way in: so these nodes, and those of the body, make one graph. A function has names of its own:
those around the one node that calls it are marked, and what it is given is handed over by an
Identity. Of a function that is called more than once, only types are known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TypeProto, helper

from onnxac.proof.certificate.calls import UnknownOperatorError
from onnxac.proof.certificate.shapes import Shapes
from onnxac.proof.judging.identity import captured
from onnxac.report.places import Key, all_nodes, called_by, key_of, place_of, spots

# Marks the names around a function, which may be those inside of it as well.
_AROUND = "around/"


@dataclass(frozen=True)
class _Entry:
    """A graph inside: of a body, what is `around` it; of a function, what it is called by."""

    around: str
    body: GraphProto | FunctionProto


class Views:
    """The bodies and functions of a model, each as a flat model."""

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self._entries: dict[str, _Entry] = {}
        self._calls: dict[Key, list[tuple[str, NodeProto]]] = defaultdict(list)
        self._made: dict[str, ModelProto] = {"": model}

    def _index(self) -> None:
        """Find all bodies, and all nodes that call functions."""
        model = self._model
        self._enter("", model.graph.node)
        for function in model.functions:
            self._enter(place_of(function), function.node)
        for function in model.functions:
            # Now that all calls are known, so are the attributes that they give.
            place, key = place_of(function), key_of(function)
            whole = _bound(function, [n for _, n in self._calls[key]])
            self._entries[place] = _Entry("", whole)
            self._enter(place, whole.node, calls=False)

    def _enter(self, place: str, nodes: Sequence[NodeProto], *, calls: bool = True) -> None:
        if calls:
            for node in nodes:
                self._calls[called_by(node)].append((place, node))
        for spot in spots(nodes, place):
            body = nodes[spot.node].attribute[spot.attribute].g
            self._entries[spot.place] = _Entry(place, body)
            self._enter(spot.place, body.node, calls=calls)

    def of(self, place: str) -> ModelProto:
        """The flat model. Raises UnknownOperatorError where there is none."""
        if place not in self._made:
            if not self._entries:
                self._index()
            entry = self._entries.get(place)
            if entry is None:
                raise UnknownOperatorError(f"there is no {place}")
            if isinstance(entry.body, GraphProto):
                self._made[place] = self._flat(entry.body, self.of(entry.around))
            else:
                self._made[place] = self._called(entry.body)
        return self._made[place]

    def _flat(self, body: GraphProto, around: ModelProto) -> ModelProto:
        made = _needed(around, [*_read(body.node), *(o.name for o in body.output)])
        taken = {o for n in made.graph.node for o in n.output if o}
        twice = sorted(taken.intersection(o for n in body.node for o in n.output))
        if twice:
            raise UnknownOperatorError(f"{twice[0]!r} is made inside and outside")
        _extend(made.graph, body)
        return made

    def _called(self, function: FunctionProto) -> ModelProto:
        calls = self._calls[key_of(function)]
        if len(calls) != 1:
            return _stored(self._alone(function, self._types(function, calls)))
        ((place, call),) = calls
        around = self.of(place)
        pairs = [(i, n) for i, n in zip(call.input, function.input, strict=False) if i]
        made = _marked(_needed(around, [i for i, _ in pairs]))
        handed = [helper.make_node("Identity", [_AROUND + i], [n]) for i, n in pairs]
        inner = self._alone(function, {}).graph
        del inner.input[:]
        made.graph.node.extend(handed)
        _extend(made.graph, inner)
        del made.opset_import[:]
        made.opset_import.extend(function.opset_import)
        return _stored(made)

    def _alone(self, function: FunctionProto, types: Mapping[str, TypeProto]) -> ModelProto:
        """The function as a model, with the types that are known of its inputs."""
        made = ModelProto(ir_version=self._model.ir_version, opset_import=function.opset_import)
        made.functions.extend(self._model.functions)
        made.graph.name = function.name
        made.graph.node.extend(function.node)
        inputs = (onnx.ValueInfoProto(name=n, type=types.get(n)) for n in function.input)
        made.graph.input.extend(inputs)
        made.graph.output.extend(onnx.ValueInfoProto(name=o) for o in function.output)
        return made

    def _types(
        self, function: FunctionProto, calls: Sequence[tuple[str, NodeProto]]
    ) -> dict[str, TypeProto]:
        """What inference knows of what the calls give, where they agree."""
        found: dict[str, TypeProto] = {}
        for index, name in enumerate(function.input):
            shapes: set[tuple[int | None, ...]] = set()
            for place, call in calls:
                around = self.of(place)
                given = call.input[index] if index < len(call.input) else ""
                shapes.add(tuple(Shapes(around, around).of(given)) if given else ())
            if len({len(s) for s in shapes}) == 1:
                dims = [s[0] if len(set(s)) == 1 else None for s in zip(*shapes, strict=True)]
                found[name] = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, dims)
        return found


def _read(nodes: Iterable[NodeProto]) -> list[str]:
    """What nodes read, also inside of their bodies."""
    return [n for node in nodes for n in (*node.input, *captured(node)) if n]


def _bound(function: FunctionProto, calls: Sequence[NodeProto]) -> FunctionProto:
    """The function with values for its attributes; what calls differ over is no known operator."""
    made = FunctionProto()
    made.CopyFrom(function)
    defaults = {a.name: a for a in function.attribute_proto}
    for node in all_nodes(made.node):
        for attribute in [a for a in node.attribute if a.ref_attr_name]:
            name = attribute.ref_attr_name
            given = [
                next((a for a in call.attribute if a.name == name), defaults.get(name))
                for call in calls
            ]
            node.attribute.remove(attribute)
            if any(a != given[0] or (a is not None and a.ref_attr_name) for a in given):
                node.domain = "unknown"
            elif given and given[0] is not None:
                filled = AttributeProto()
                filled.CopyFrom(given[0])
                filled.name = attribute.name
                node.attribute.append(filled)
    return made


def _needed(model: ModelProto, names: Iterable[str]) -> ModelProto:
    """The part of a model that computes some of its tensors."""
    graph = model.graph
    makers = {o: i for i, n in enumerate(graph.node) for o in n.output if o}
    waiting, seen, places = list(names), set[str](), set[int]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in makers and makers[name] not in places:
            places.add(makers[name])
            waiting += _read([graph.node[makers[name]]])
    made = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    made.functions.extend(model.functions)
    part = made.graph
    part.name = graph.name or "graph"
    part.node.extend(n for i, n in enumerate(graph.node) if i in places)
    part.initializer.extend(t for t in graph.initializer if t.name in seen)
    part.input.extend(i for i in graph.input if i.name in seen)
    part.value_info.extend(v for v in (*graph.value_info, *graph.output) if v.name in seen)
    return made


def _extend(graph: GraphProto, body: GraphProto) -> None:
    """Add a body to the nodes before it; its outputs are those of the whole."""
    graph.node.extend(body.node)
    graph.initializer.extend(body.initializer)
    graph.input.extend(body.input)
    graph.value_info.extend(body.value_info)
    graph.output.extend(body.output)


def _stored(model: ModelProto) -> ModelProto:
    """The model with initializers for Constants: in a function these are the weights."""
    graph = model.graph
    kept: list[NodeProto] = []
    for node in graph.node:
        own = [a.t for a in node.attribute if a.name == "value"] if _is_constant(node) else []
        for tensor in own:
            added = graph.initializer.add()
            added.CopyFrom(tensor)
            added.name = node.output[0]
        if not own:
            kept.append(node)
    copies = [NodeProto.FromString(n.SerializeToString()) for n in kept]
    del graph.node[:]
    graph.node.extend(copies)
    return model


def _is_constant(node: NodeProto) -> bool:
    """Whether it is a standard Constant."""
    return node.op_type == "Constant" and node.domain in ("", "ai.onnx")


def _marked(model: ModelProto) -> ModelProto:
    """The model with other names for all its tensors and nodes. Raises where it has bodies."""
    graph = model.graph
    for node in graph.node:
        if any(a.g.node or a.g.output or a.graphs for a in node.attribute):
            raise UnknownOperatorError(f"{node.op_type} stands before what the function is given")
        node.name = _AROUND + node.name
        for names in (node.input, node.output):
            marked = [_AROUND + n if n else n for n in names]
            del names[:]
            names.extend(marked)
    for field in (graph.initializer, graph.input, graph.value_info, graph.output):
        for entry in field:
            entry.name = _AROUND + entry.name
    return model
