"""Nodes that compute what another node computes: of equal nodes one stays.

A pass over the graph before lowering. It stands in this room because it decides what goes, and
asks `inference` what constants hold; the graph's own room knows topology only.

Requires  nodes in topological order; facts by tensor name.
Ensures   every tensor that is needed by name is still there by that name; every tensor that
          is left has the value that it had, so facts stay true; no node is added.

Every tensor gets a number, and equal values the same one (value numbering: Cocke and Schwartz,
1970). Two nodes are equal where operator, attributes, bodies and the numbers of what they read
are. Time is linear in the size of the graph. Of large weights only those are hashed that agree
with another one in type, shape, and the bytes at both ends.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator

import onnx_graphsurgeon as gs
from onnx import NodeProto, TensorProto, numpy_helper
from onnx.external_data_helper import uses_external_data

from onnxac.graph.model import Model
from onnxac.graph.operators import PLAIN, traits
from onnxac.graph.rewiring import Rewiring
from onnxac.inference.facts import Facts
from onnxac.inference.stored import flaw

# Dropout draws unless it does nothing, and then it is gone before.
# Two operands in either order give the same bits.
_COMMUTATIVE = {"Add", "Mul", "And", "Or", "Xor", "Equal"}
# Bytes at each end of a constant that are compared before all of it is.
_ENDS = 64
# Elements of a computed constant that is looked into.
_SMALL = 64


def merge_duplicates(
    model: Model, facts: Facts, named: frozenset[str], kept: frozenset[str]
) -> list[gs.Node]:
    """Let one of each set of equal nodes stay; returns the others, which are gone.

    named  tensors needed by their very name: outputs, and what subgraphs read
    kept   outputs of nodes to leave alone
    """
    rewiring = Rewiring(model.graph, named, kept)
    values = _constants(model, facts)
    overwritten = frozenset(_overwritten(model.graph))
    for name in overwritten:
        values.pop(name, None)
    numbers = _Numbers(facts, overwritten)
    stored: dict[Hashable, gs.Tensor] = {}
    for tensor in _read(model.graph):
        key = None if tensor.inputs else values.get(tensor.name)
        if key is not None:
            first = stored.setdefault(key, tensor)
            numbers.same(tensor.name, first.name)
            if first is not tensor:
                rewiring.alias(tensor, first)
    held: dict[Hashable, list[gs.Tensor]] = {k: [t] for k, t in stored.items()}
    alike: dict[Hashable, _Alike] = defaultdict(_Alike)
    for node in model.graph.nodes:
        own = values.get(node.outputs[0].name) if node.op == "Constant" else None
        made = first = list(node.outputs)
        if own is not None:
            first = held.setdefault(own, made)
        else:
            origin = model.origin(node)
            if origin is not None and made and _is_deterministic(origin, facts):
                first = alike[_reads(node, numbers)].first(origin, made)
        for mine, other in zip(made, first, strict=True):
            if mine.name:
                numbers.same(mine.name, other.name)
        if first is not made:
            rewiring.drop(node, [(m, o) for m, o in zip(made, first, strict=True) if m.name])
    return rewiring.apply()


class _Numbers:
    """One number for each value that some tensor holds.

    Small constants that nodes compute are told apart by what they hold, not by how.
    """

    def __init__(self, facts: Facts, overwritten: frozenset[str]) -> None:
        self._facts, self._overwritten = facts, overwritten
        self._numbers: dict[str, int] = {}
        self._held: dict[Hashable, int] = {}
        self._next = itertools.count()

    def __getitem__(self, name: str) -> int | None:
        """The number of a tensor's value; None for an input that is left out."""
        if not name:
            return None
        if name not in self._numbers:
            held = self._holds(name)
            number = next(self._next)
            self._numbers[name] = number if held is None else self._held.setdefault(held, number)
        return self._numbers[name]

    def _holds(self, name: str) -> Hashable:
        facts = self._facts
        if name in self._overwritten or not facts.is_made(name) or facts.count(name) > _SMALL:
            return None
        value = facts.value(name)
        if value is None or value.dtype.kind not in "biuf":
            return None
        return str(value.dtype), value.shape, value.tobytes()

    def same(self, name: str, other: str) -> None:
        """Note that `name` holds what `other` holds."""
        number = self[other]
        assert number is not None, other
        self._numbers[name] = number


def _read(graph: gs.Graph) -> Iterable[gs.Tensor]:
    return {t.name: t for n in graph.nodes for t in n.inputs if t.name}.values()


def _overwritten(graph: gs.Graph) -> Iterator[str]:
    """What ONNX Runtime writes over: running statistics, in place, where BN is being trained."""
    for node in graph.nodes:
        if node.op == "BatchNormalization" and node.attrs.get("training_mode"):
            yield from (t.name for t in node.inputs)


class _Alike:
    """Nodes of one operator that read the same; attributes are read where there are several."""

    def __init__(self) -> None:
        self._alone: tuple[NodeProto, list[gs.Tensor]] | None = None
        self._by_attributes: dict[tuple[bytes, ...], list[gs.Tensor]] = {}

    def first(self, node: NodeProto, made: list[gs.Tensor]) -> list[gs.Tensor]:
        """What the first node makes whose attributes are this one's, too."""
        if self._alone is None and not self._by_attributes:
            self._alone = node, made
            return made
        if self._alone is not None:
            other, theirs = self._alone
            self._by_attributes[_attributes(other)] = theirs
            self._alone = None
        return self._by_attributes.setdefault(_attributes(node), made)


def _attributes(node: NodeProto) -> tuple[bytes, ...]:
    return tuple(sorted(a.SerializeToString(deterministic=True) for a in node.attribute))


def _reads(node: gs.Node, numbers: _Numbers) -> Hashable:
    """The operator, what it reads, and which of its outputs it makes."""
    inputs = [numbers[t.name] for t in node.inputs]
    while inputs and inputs[-1] is None:
        inputs.pop()
    if node.op in _COMMUTATIVE:
        inputs.sort(key=lambda n: -1 if n is None else n)
    return node.op, tuple(inputs), tuple(bool(t.name) for t in node.outputs)


def _is_deterministic(node: NodeProto, facts: Facts) -> bool:
    held = (a for a in node.attribute if a.type not in PLAIN)
    bodies = [g for a in held for g in (a.g, *a.graphs) if g.node]
    return (
        facts.is_standard(node.domain, node.op_type)
        and not traits(node.op_type).random
        and node.op_type != "Dropout"
        and all(_is_deterministic(n, facts) for g in bodies for n in g.node)
    )


def _constants(model: Model, facts: Facts) -> dict[str, Hashable]:
    """What constants hold, for those that may equal another one."""
    alike: dict[Hashable, list[tuple[str, TensorProto]]] = defaultdict(list)
    for name, tensor in _stored(model, facts):
        if not uses_external_data(tensor):
            alike[tensor.data_type, tuple(tensor.dims)].append((name, tensor))
    found: dict[str, Hashable] = {}
    for kind, tensors in alike.items():
        if len(tensors) > 1:
            found.update((name, (kind, key)) for name, key in _digests(tensors))
    return found


def _stored(model: Model, facts: Facts) -> Iterator[tuple[str, TensorProto]]:
    """Initializers that nobody may override, and what Constant nodes hold."""
    for tensor in model.proto.graph.initializer:
        if tensor.name not in facts.overridable and tensor.name not in facts.failures:
            yield tensor.name, tensor
    for node in model.proto.graph.node:
        if node.op_type == "Constant" and facts.is_standard(node.domain, node.op_type):
            # One without a value is no valid Constant, but the checker lets it pass.
            held = [a.t for a in node.attribute if a.HasField("t")]
            if held and flaw(held[0]) is None:
                yield node.output[0], held[0]
            elif (value := facts.value(node.output[0])) is not None and value.dtype.kind in "fi":
                yield node.output[0], numpy_helper.from_array(value)


def _digests(tensors: list[tuple[str, TensorProto]]) -> Iterator[tuple[str, bytes]]:
    """Names and digests of those whose ends another one has too."""
    ends: dict[bytes, list[tuple[str, TensorProto]]] = defaultdict(list)
    for name, tensor in tensors:
        data = _bytes(tensor)
        ends[data[:_ENDS] + data[-_ENDS:]].append((name, tensor))
    for group in ends.values():
        if len(group) > 1:
            for name, tensor in group:
                yield name, hashlib.sha256(_bytes(tensor)).digest()


def _bytes(tensor: TensorProto) -> bytes:
    return tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
