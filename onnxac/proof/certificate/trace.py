"""The axes of every tensor in a part of a graph, at given sizes of the sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from onnxac.proof.certificate.axes import Axes, Scope, length
from onnxac.proof.certificate.calls import Call, UnknownOperatorError, Value
from onnxac.proof.certificate.cut import Array, Part, operands
from onnxac.proof.certificate.evaluate import BROKEN, Evaluator
from onnxac.proof.certificate.rules import RULES
from onnxac.proof.certificate.spans import Span


@dataclass
class Tracer:
    """Follows the axes through one part, and computes what is computed from their lengths.

    seen  every free axis of every tensor
    """

    part: Part
    evaluator: Evaluator
    scope: Scope
    seen: list[Span] = field(default_factory=list)

    def run(self, sources: Mapping[str, Axes]) -> dict[str, Axes]:
        """The axes of each tensor. Raises UnknownOperatorError, TooShortError or ApartError."""
        axes: dict[str, Axes] = dict(sources)
        known: dict[str, Array] = {}
        for index, node in enumerate(self.part.nodes):
            names = [n for n in operands(node) if n]
            if not any(n in axes or n in known for n in names):
                continue  # A constant: the evaluator computes it when somebody asks.
            call = self._call(index, axes, known)
            if not any(n in axes for n in names):
                known.update(zip(node.output, self.evaluator.apply(index, call.args), strict=False))
                continue
            own = [axes.get(n, ()) if n else () for n in operands(node)]
            if node.op_type == "Shape":
                whole = np.array([length(a) for a in own[0]], np.int64)
                known[node.output[0]] = whole[call.get("start", 0) : call.attributes.get("end")]
                continue
            rule = RULES.get(node.op_type)
            if rule is None:
                raise UnknownOperatorError(f"{node.op_type} is not known to the certificate")
            fixed = frozenset(n for n in names if n not in known)
            try:
                made = rule(self.scope, call, own, node.input, fixed)
            except BROKEN as error:
                where = f"{node.op_type} {node.name!r}"
                raise UnknownOperatorError(f"{where} can't be followed: {error}") from error
            for name, found in zip(node.output, made, strict=False):
                axes[name] = found
                self.seen += [a for a in found if isinstance(a, Span)]
        return axes

    def _call(self, index: int, axes: Mapping[str, Axes], known: Mapping[str, Array]) -> Call:
        node = self.part.nodes[index]
        args: list[Value | None] = []
        for name in operands(node):
            if not name:
                args.append(None)
            elif name in axes:
                # Its shape is all that is asked of it here, with an axis of probes in front.
                shape = (1, *(length(a) for a in axes[name]))
                args.append(Value(np.broadcast_to(np.zeros(()), shape), True))
            elif name in known:
                args.append(Value(known[name], False))
            else:
                args.append(self.evaluator.constant(name))
        return Call(
            node.op_type,
            self.evaluator.attributes[index],
            tuple(args),
            self.part.opset,
            outputs=len(node.output),
        )
