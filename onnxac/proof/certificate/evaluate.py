"""A part of a graph, evaluated by the operators of this room, on many probes at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import AttributeProto, NodeProto, helper, numpy_helper

from onnxac.proof.certificate.calls import Call, UnknownOperatorError, Value
from onnxac.proof.certificate.cut import Array, Part, as_float, operands
from onnxac.proof.certificate.moving import MOVING
from onnxac.proof.certificate.operators import TABLE

OPERATORS = {**TABLE, **MOVING}
_ROUNDS = frozenset(
    """Add Sub Sum Mul Div Sqrt Pow Reciprocal MatMul Gemm Einsum Conv ReduceMean
    ReduceSum DequantizeLinear""".split()  # noqa: SIM905
)
BROKEN = (ValueError, IndexError, KeyError, TypeError, AttributeError)


@dataclass
class Evaluator:
    """Runs one part. What depends on no source is computed once.

    least     what a magnitude of a weight counts at least: below, its type has no digits left
    elements  how many values were computed so far
    """

    part: Part
    sources: tuple[str, ...]
    least: float = 0.0
    elements: int = 0
    attributes: list[dict[str, Any]] = field(default_factory=list)
    _constants: dict[str, Value] = field(default_factory=dict)
    _magnitudes: dict[str, Value] = field(default_factory=dict)
    _fixed: dict[str, int] = field(default_factory=dict)
    _live: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.attributes = [_attributes(n) for n in self.part.nodes]
        depends = self._depends = set(self.sources)
        for index, node in enumerate(self.part.nodes):
            if any(n in depends for n in operands(node)):
                depends.update(node.output)
                self._live.append(index)
            else:
                self._fixed.update((name, index) for name in node.output if name)
        self._last = {name: i for i in self._live for name in self.part.nodes[i].input}

    @property
    def live(self) -> Iterable[tuple[NodeProto, dict[str, Any]]]:
        """Nodes that depend on a source, each with its attributes."""
        return ((self.part.nodes[i], self.attributes[i]) for i in self._live)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor depends on no source."""
        return name not in self._depends

    def constant(self, name: str, absolute: bool = False) -> Value:
        """A tensor that depends on no source: an initializer, or computed from some.

        absolute  every term of the sums that it was computed by counts by its magnitude
        """
        known = self._magnitudes if absolute else self._constants
        waiting = [name]
        while waiting:
            top = waiting[-1]
            index = self._fixed.get(top)
            if top in known:
                waiting.pop()
            elif index is None:
                array = as_float(self.part.value(top))
                if absolute and array.dtype.kind == "f":
                    array = np.maximum(np.abs(array), self.least)
                known[top] = Value(array, False)
            else:
                node = self.part.nodes[index]
                names = operands(node)
                missing = [n for n in names if n and n not in known]
                if missing:
                    waiting += missing
                    continue
                args = tuple(known[n] if n else None for n in names)
                for output, array in zip(
                    node.output, self.apply(index, args, True, absolute), strict=False
                ):
                    known[output] = Value(array, False)
        return known[name]

    def constant_shapes(self) -> Iterable[tuple[int, ...]]:
        """The shapes of the constants that nodes with a source read."""
        for index in self._live:
            for name in operands(self.part.nodes[index]):
                if name and self.is_constant(name):
                    yield self.constant(name).array.shape

    @property
    def arithmetic(self) -> Iterable[tuple[NodeProto, dict[str, Any]]]:
        """Nodes that compute constants of floating type by more than moving them."""
        return (
            (self.part.nodes[i], self.attributes[i])
            for i in sorted(set(self._fixed.values()))
            if self.part.nodes[i].op_type in _ROUNDS
            and self.constant(self.part.nodes[i].output[0]).array.dtype.kind == "f"
        )

    def run(
        self,
        feeds: Mapping[str, Array],
        targets: tuple[str, ...],
        *,
        shift: bool = True,
        absolute: bool = False,
    ) -> list[Array]:
        """What the targets are for arrays [Q, *shape] at the sources, each again with Q.

        Raises UnknownOperatorError where a node can't be evaluated.
        """
        known = {name: Value(array, True) for name, array in feeds.items()}
        for index in self._live:
            node = self.part.nodes[index]
            args = tuple(
                None if not n else known[n] if n in known else self.constant(n, absolute)
                for n in operands(node)
            )
            shape = node.op_type == "Shape" or not any(a is not None and a.live for a in args)
            for name, array in zip(
                node.output, self.apply(index, args, shift, absolute), strict=False
            ):
                if name:
                    known[name] = Value(array, not shape)
                    self.elements += array.size
            for name in set(node.input):
                # Large arrays go when their last reader has seen them.
                if self._last[name] == index and name not in targets:
                    known.pop(name, None)
        probes = next(iter(feeds.values())).shape[0]
        return [self._target(name, known, probes) for name in targets]

    def _target(self, name: str, known: Mapping[str, Value], probes: int) -> Array:
        value = known[name] if name in known else self.constant(name)
        if value.live:
            return value.array
        return np.broadcast_to(value.array, (probes, *value.array.shape))

    def apply(
        self,
        index: int,
        args: tuple[Value | None, ...],
        shift: bool = True,
        absolute: bool = False,
    ) -> list[Array]:
        """The outputs of one node. Raises UnknownOperatorError."""
        node, attributes = self.part.nodes[index], self.attributes[index]
        if node.op_type == "Constant":
            return [_constant(attributes)]
        function = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if function is None:
            raise UnknownOperatorError(f"{node.op_type} is not known to the certificate")
        call = Call(
            node.op_type,
            attributes,
            args,
            self.part.opset,
            shift,
            absolute,
            outputs=len(node.output),
        )
        try:
            with np.errstate(all="ignore"):
                result = function(call)
        except BROKEN as error:
            where = f"{node.op_type} {node.name!r}"
            raise UnknownOperatorError(f"{where} can't be evaluated: {error}") from error
        return result if isinstance(result, list) else [result]


def _attributes(node: NodeProto) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.type == AttributeProto.STRINGS:
            value = [v.decode() for v in value]
        found[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return found


def _constant(attributes: Mapping[str, Any]) -> Array:
    for name, value in attributes.items():
        if name == "value":
            return as_float(numpy_helper.to_array(value))
        if name in ("value_float", "value_floats"):
            return np.asarray(value, np.float64)
        if name in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
    raise UnknownOperatorError("Constant that is neither a tensor nor a number")
