"""What a graph tells about its own inputs: extents that weights fix, and ranges of integers.

Exporters leave extents open that are not: channels that meet a weight, a rank that a
convolution has. And an index that is only ever fed 0 to 7 shows 8 rows of a table. Each input
is followed through operators that keep its elements in their places, up to the first that
has weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import numpy_helper

from onnxac.proof.running.signature import Port, Signature

# Operators that keep the elements of their first operand where they are.
STAYS = frozenset(
    {
        "Identity", "Cast", "Relu", "LeakyRelu", "PRelu", "Elu", "Celu", "Selu", "Gelu", "Sigmoid",
        "HardSigmoid", "HardSwish", "Mish", "Softplus", "Softsign", "Tanh", "Erf", "Exp", "Log",
        "Sqrt", "Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "Clip", "Dropout", "Not",
        "Reciprocal", "Sin", "Cos", "BatchNormalization", "InstanceNormalization", "QuantizeLinear",
        "DequantizeLinear", "Softmax", "LogSoftmax",
    }
)  # fmt: skip
BROADCASTS = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max"})
RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
# Beyond the ends of a Clip of integers, both sides of it are met.
MARGIN = 2


@dataclass(frozen=True)
class _Trace:
    """A tensor that is an input's elements: which axis of the input each of its axes is.

    `axes` is None while the input's rank is unknown: then they are those of the input.
    """

    name: str
    axes: tuple[int, ...] | None


def refine(signature: Signature, graph: onnx.GraphProto) -> Signature:
    """The signature with what the graph tells about extents, ranks and ranges of its inputs."""
    reader = _Reader(graph, signature)
    for node in graph.node:
        reader.visit(node)
    return replace(signature, inputs=tuple(reader.refined(p) for p in signature.inputs))


class _Reader:
    def __init__(self, graph: onnx.GraphProto, signature: Signature) -> None:
        self._constants = {t.name: t for t in graph.initializer}
        self._traces = {
            p.name: _Trace(p.name, None if p.dims is None else tuple(range(len(p.dims))))
            for p in signature.inputs
            if p.container == "tensor"
        }
        self._extents: dict[str, dict[int, int]] = {}
        self._ranks = {p.name: len(p.dims) for p in signature.inputs if p.dims is not None}
        self._integers: dict[str, list[tuple[int, int]]] = {}

    def visit(self, node: onnx.NodeProto) -> None:
        """Learn from one node; called in the order of the graph."""
        if node.op_type == "Constant":
            value = next((a.t for a in node.attribute if a.name == "value"), None)
            if value is not None:
                self._constants[node.output[0]] = value
        elif node.op_type == "Identity" and node.input[0] in self._constants:
            self._constants[node.output[0]] = self._constants[node.input[0]]
        for index, name in enumerate(node.input):
            trace = self._traces.get(name)
            if trace is None:
                continue
            for axis, extent in self._told(node, index, trace):
                self._learn(trace, axis, extent)
            self._learn_integers(node, index, trace)
            follows = self._follow(node, index, trace)
            if follows is not None and node.output:
                self._traces[node.output[0]] = follows

    def refined(self, port: Port) -> Port:
        """The port, with what was learned of it."""
        extents = self._extents.get(port.name, {})
        rank = self._ranks.get(port.name)
        dims = port.dims
        if rank is not None:
            old = port.dims or (None,) * rank
            dims = tuple(d if isinstance(d, int) else extents.get(a, d) for a, d in enumerate(old))
        ranges = self._integers.get(port.name)
        integers = (max(r[0] for r in ranges), min(r[1] for r in ranges)) if ranges else None
        if integers is not None and integers[0] >= integers[1]:
            integers = None
        return replace(port, dims=dims, integers=integers)

    def _dims(self, node: onnx.NodeProto, index: int) -> tuple[int, ...]:
        """The shape of a constant operand; empty where it is none."""
        tensor = self._constants.get(node.input[index]) if index < len(node.input) else None
        return tuple(tensor.dims) if tensor is not None else ()

    def _told(self, node: onnx.NodeProto, index: int, trace: _Trace) -> Iterator[tuple[int, int]]:
        """Axes of the operand and the extents that they must have."""
        op, weight = node.op_type, self._dims(node, 1)
        if index == 0 and op in ("Conv", "ConvTranspose") and len(weight) > 2:
            self._learn_rank(trace, len(weight))
            group = next((a.i for a in node.attribute if a.name == "group"), 1)
            yield 1, weight[1] * group if op == "Conv" else weight[0]
        elif index == 0 and op in ("BatchNormalization", "InstanceNormalization") and weight:
            yield 1, weight[0]
        elif index == 0 and op == "MatMul" and len(weight) > 1:
            yield -1, weight[-2]
        elif index == 0 and op == "Gemm" and len(weight) == 2:
            self._learn_rank(trace, 2)
            flags = {a.name: a.i for a in node.attribute}
            yield 0 if flags.get("transA") else 1, weight[1 if flags.get("transB") else 0]
        elif index == 0 and op in RECURRENT and len(weight) == 3:
            self._learn_rank(trace, 3)
            yield 2, weight[2]
        elif op == "MatMul" and index == 1 and self._dims(node, 0):
            first = self._dims(node, 0)
            yield -2 if len(first) > 1 else -1, first[-1]
        elif op in BROADCASTS and len(node.input) == 2:
            for axis, extent in enumerate(reversed(self._dims(node, 1 - index)), start=1):
                if extent > 1:
                    yield -axis, extent

    def _learn_rank(self, trace: _Trace, rank: int) -> None:
        if trace.axes is None:
            self._ranks.setdefault(trace.name, rank)

    def _learn(self, trace: _Trace, axis: int, extent: int) -> None:
        if trace.axes is None:
            rank = self._ranks.get(trace.name)
            if rank is None or axis >= rank:
                return
            place = axis % rank
        elif -len(trace.axes) <= axis < len(trace.axes):
            place = trace.axes[axis]
        else:
            return
        self._extents.setdefault(trace.name, {}).setdefault(place, extent)

    def _learn_integers(self, node: onnx.NodeProto, index: int, trace: _Trace) -> None:
        found: tuple[int, int] | None = None
        if node.op_type == "Gather" and index == 1 and self._dims(node, 0):
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            found = (0, self._dims(node, 0)[axis])
        elif node.op_type == "OneHot" and index == 0 and self._scalar(node, 1) is not None:
            found = (0, int(self._scalar(node, 1) or 0))
        elif node.op_type == "Clip" and index == 0:
            low, high = self._scalar(node, 1), self._scalar(node, 2)
            if low is not None and high is not None:
                found = (int(low) - MARGIN, int(high) + MARGIN + 1)
        if found is not None:
            self._integers.setdefault(trace.name, []).append(found)

    def _scalar(self, node: onnx.NodeProto, index: int) -> float | None:
        tensor = self._constants.get(node.input[index]) if index < len(node.input) else None
        if tensor is None or np.prod(tensor.dims, dtype=int) != 1:
            return None
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            return None
        value = float(numpy_helper.to_array(tensor).reshape(()))
        return value if np.isfinite(value) else None

    def _follow(self, node: onnx.NodeProto, index: int, trace: _Trace) -> _Trace | None:
        """What the node gives, in terms of the input; None where elements are moved or mixed."""
        if node.op_type in STAYS and index == 0:
            # A Clip bounds what comes behind it: a Gather's table tells of its result then.
            if node.op_type == "Clip" and self._integers.get(trace.name):
                return None
            return trace
        if node.op_type == "Transpose" and trace.axes is not None:
            perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
            order = perm if perm is not None else list(reversed(range(len(trace.axes))))
            if len(order) == len(trace.axes):
                return replace(trace, axes=tuple(trace.axes[i] for i in order))
        if node.op_type in BROADCASTS and len(node.input) == 2 and trace.axes is not None:
            other = self._constants.get(node.input[1 - index])
            if other is not None and len(other.dims) <= len(trace.axes):
                return trace
        return None
