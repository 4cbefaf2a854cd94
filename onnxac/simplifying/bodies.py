"""Constants and nodes that do nothing, inside of bodies of If, Loop and Scan and of functions.

A pass before lowering, on the bodies' own protobufs: the graph around them is left as it is.

Requires  bodies in topological order, names of the model unique across nested bodies.
Ensures   inputs and outputs of each body keep their names; every value that is left is what it
          was; a body in which nothing is to be done stays, byte for byte.

Types inside of a body hang on what runs it, so only what needs none is done: operators over
constants become initializers (in functions, which have none, Constant nodes) where the file does
not grow for it, and Identity, Dropout that is off, and joins of one operand go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)
from onnx.external_data_helper import uses_external_data

from onnxac.graph.model import Model, captured_names
from onnxac.graph.operators import traits
from onnxac.inference.constants import run_node
from onnxac.inference.facts import Facts
from onnxac.inference.stored import Values, flaw

_ONE_OF_ONE = ("Concat", "Sum", "Max", "Min", "Mean")
# Constants with more elements are not computed here.
_MOST = 1024
# Bytes that a constant may take beyond those of the node that made it.
_SLACK = 64


def simplify_bodies(model: Model, facts: Facts) -> int:
    """Simplify all bodies of a model; returns how many nodes went from them."""
    removed = 0
    for node in model.graph.nodes:
        origin = model.origin(node)
        if origin is not None and any(_bodies(origin)):
            changed = NodeProto()
            changed.CopyFrom(origin)
            found = sum(_Body(facts, model.opsets, {}).simplify(b) for b in _bodies(changed))
            if found:
                model.adopt(node, changed)
                removed += found
    for index, function in enumerate(model.functions):
        opsets = {
            "" if o.domain == "ai.onnx" else o.domain: o.version for o in function.opset_import
        }
        made = FunctionProto()
        made.CopyFrom(function)
        found = _Body(facts, opsets, {}).simplify(made)
        if found:
            model.functions[index] = made
            removed += found
    return removed


def _bodies(node: NodeProto) -> Iterable[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


class _Body:
    """One body while it is simplified.

    known  constants of the bodies around it; None for other names of theirs
    """

    def __init__(
        self, facts: Facts, opsets: dict[str, int], known: Mapping[str, Values | None]
    ) -> None:
        self._facts, self._opsets = facts, opsets
        self._known: dict[str, Values | None] = dict(known)
        self._instead: dict[str, str] = {}
        self._removed = 0

    def simplify(self, body: GraphProto | FunctionProto) -> int:
        """Change the body in place; returns how many nodes went."""
        is_graph = isinstance(body, GraphProto)
        outputs = [o.name for o in body.output] if is_graph else list(body.output)
        inputs = [i.name for i in body.input] if is_graph else list(body.input)
        # A function reads nothing from outside: nothing there may pass for a constant.
        self._outer: Callable[[str], Values | None] = self._around if is_graph else _nothing
        self._known.update(dict.fromkeys(inputs))
        if is_graph:
            for tensor in body.initializer:
                small = tensor.name not in inputs and np.prod(tensor.dims) <= _MOST
                self._known[tensor.name] = _stored(tensor) if small else None
        captured = captured_names(body if is_graph else GraphProto(node=body.node))
        fixed = captured | set(outputs)
        made: dict[str, Values] = {}
        kept = [n for n in body.node if not self._is_done(n, fixed, made)]
        if not self._removed:
            return 0
        kept = _needed(kept, fixed)
        read = fixed.union(*(n.input for n in kept))
        stored = {k: v for k, v in made.items() if k in read}
        before = len(body.node)
        if is_graph:
            initializers = [t for t in body.initializer if t.name in read or t.name in inputs]
            initializers += [numpy_helper.from_array(v, k) for k, v in stored.items()]
            _refill(body.initializer, initializers)
        else:
            kept = [_constant(k, v) for k, v in stored.items()] + kept
        _refill(body.node, kept)
        there = set(inputs).union(stored, *(n.output for n in kept))
        _refill(body.value_info, [v for v in body.value_info if v.name in there])
        return max(before - len(kept), self._removed)

    def _is_done(self, node: NodeProto, fixed: set[str], made: dict[str, Values]) -> bool:
        """Whether the node's outputs are had without it."""
        _refill(node.input, [self._instead.get(i, i) for i in node.input])
        self._known.update(dict.fromkeys(node.output))
        if not self._facts.is_standard(node.domain, node.op_type):
            return False
        if any(_bodies(node)):
            inner = [_Body(self._facts, self._opsets, self._known) for _ in _bodies(node)]
            pairs = zip(inner, _bodies(node), strict=True)
            self._removed += sum(b.simplify(graph) for b, graph in pairs)
            return False
        if not fixed.isdisjoint(node.output):
            return False
        if _does_nothing(node):
            self._instead[node.output[0]] = node.input[0]
            self._known[node.output[0]] = self._value(node.input[0])
            self._removed += 1
            return True
        values = self._computed(node)
        if values is None:
            return False
        self._known.update(values)
        size = sum(v.nbytes for v in values.values())
        if node.op_type == "Constant" or size > node.ByteSize() + _SLACK:
            return False
        made.update(values)
        self._removed += 1
        return True

    def _computed(self, node: NodeProto) -> dict[str, Values] | None:
        """The node's outputs, where all it reads are small constants."""
        known = traits(node.op_type)
        if known.random or known.quantizes or any(a.ref_attr_name for a in node.attribute):
            return None
        values = [self._value(i) if i else None for i in node.input]
        if any(v is None for v, i in zip(values, node.input, strict=True) if i):
            return None
        try:
            results = run_node(node, values, self._opsets)
        except Exception:  # a reference operator may raise anything; the node stays
            return None
        if not all(isinstance(r, np.ndarray | np.generic) for r in results):
            # A sequence, or nothing at all: no initializer holds that.
            return None
        arrays = [np.asarray(r) for r in results]
        if any(a.dtype.kind not in "biuf" or a.size > _MOST for a in arrays):
            return None
        return {o: a for o, a in zip(node.output, arrays, strict=False) if o}

    def _value(self, name: str) -> Values | None:
        return self._known[name] if name in self._known else self._outer(name)

    def _around(self, name: str) -> Values | None:
        """The value of a constant of the main graph."""
        facts = self._facts
        return facts.value(name) if facts.is_constant(name) and facts.count(name) <= _MOST else None


def _stored(tensor: TensorProto) -> Values | None:
    """The value of a body's initializer, where it is had without another file."""
    if flaw(tensor) is not None or uses_external_data(tensor):
        return None
    return np.asarray(numpy_helper.to_array(tensor))


def _nothing(_: str) -> None:
    return None


def _does_nothing(node: NodeProto) -> bool:
    if len(node.output) != 1 or not node.input or not node.input[0]:
        return False
    if node.op_type == "Dropout":
        return len(node.input) < 3
    return node.op_type == "Identity" or (node.op_type in _ONE_OF_ONE and len(node.input) == 1)


def _needed(nodes: list[NodeProto], fixed: set[str]) -> list[NodeProto]:
    """Nodes that the names depend on."""
    needed, found = set(fixed), list[NodeProto]()
    for node in reversed(nodes):
        if not needed.isdisjoint(node.output):
            needed.update(node.input)
            found.append(node)
    return found[::-1]


def _constant(name: str, value: Values) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def _refill(field: Any, values: Iterable[Any]) -> None:
    """Give a repeated field other elements."""
    copies = list(values)
    if hasattr(field, "add"):
        copies = [type(c).FromString(c.SerializeToString()) for c in copies]
    del field[:]
    field.extend(copies)
