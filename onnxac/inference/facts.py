"""What is known of each tensor without running the model: type, shape, constant value.

One walk over the nodes, in order. Types come from onnx's own inference, node by node, so
that a custom operator hides only what depends on it; sliding windows, Slice, Pad and Concat
use `windows`, which keeps dynamic extents as a formula over the input's.
"""

from __future__ import annotations

import re
from copy import copy
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, TypeProto, numpy_helper
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError, infer_node_outputs

from onnxac.algebra import Obstacle
from onnxac.graph.model import Model
from onnxac.inference.constants import Constants
from onnxac.inference.dims import Dim, Extent, Shape, joined, static
from onnxac.inference.types import without_negative
from onnxac.inference.windows import (
    OPERANDS,
    pad_axes,
    slice_axes,
    takes_one,
    transposed_axes,
    window_axes,
)

# Constants with at most this many elements are computed during the walk: shapes hang on them.
_SMALL = 1024
_WINDOWS = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool")


class Facts(Constants):
    """Facts about every tensor of a model's main graph.

    freeze  take initializers that are also graph inputs as constants
    """

    def __init__(self, model: Model, *, freeze: bool = False) -> None:
        super().__init__(model, freeze=freeze)
        self._proto = model.proto
        self._imports = [onnx.helper.make_opsetid(d, v) for d, v in model.opsets.items()]
        self._faults: dict[str, str] = {}
        self._schemas: dict[tuple[str, str], Any] = {}
        graph = model.proto.graph
        self._hints = {v.name: v.type for v in (*graph.value_info, *graph.output)}
        # Types as onnx writes them are needed during the walk only.
        self._types: dict[str, TypeProto] = {}
        for value in graph.input:
            self._note(value.name, value.type)
        for sparse in graph.sparse_initializer:
            self._note(sparse.values.name, self.type_of(sparse.values.data_type, sparse.dims))
        for tensor in graph.initializer:
            self._note(tensor.name, self.type_of(tensor.data_type, tensor.dims))
        for node in graph.node:
            self._visit(node)
        self._types.clear()

    def copy(self) -> Facts:
        """The same knowledge, for a pass that adds tensors; constants are shared."""
        other = copy(self)
        other._dtypes, other._shapes = dict(self._dtypes), dict(self._shapes)
        return other

    def _note(self, name: str, kind: TypeProto) -> None:
        self._types[name] = self.define(name, kind)

    def fault(self, name: str) -> str | None:
        """What is wrong with the node that makes the tensor; None where nothing is known to be."""
        return self._faults.get(name)

    def _visit(self, node: NodeProto) -> None:
        for name, kind in self._infer(node).items():
            self._note(name, kind)
        constant = self.note_constant(node)
        outputs = [o for o in node.output if o]
        if constant and all(self.count(o) <= _SMALL for o in outputs):
            for output in outputs:
                self.value(output)

    def _infer(self, node: NodeProto) -> dict[str, TypeProto]:
        """Types of the node's outputs, as far as they can be known."""
        known = self._window(node) or self._moved(node)
        if known is not None:
            return {node.output[0]: known}
        hints = {o: self._hints[o] for o in node.output if o in self._hints}
        if node.op_type == "Transpose" and not _is_order(node):
            self._faults.update((o, "its perm is no order of axes") for o in node.output if o)
            return hints
        kinds = {i: self._types[i] for i in node.input if i in self._types}
        schema = self._schema(node)
        if schema is None or len(kinds) < len({i for i in node.input if i}):
            return hints
        data = {i: self._as_proto(i) for i in node.input if i and self._is_small(i)}
        try:
            found = infer_node_outputs(
                schema,
                without_negative(node),
                kinds,
                data,
                opset_imports=self._imports,
                ir_version=self._proto.ir_version,
            )
        except (InferenceError, ValidationError, RuntimeError, ValueError, KeyError) as error:
            said = f"it is not valid: {_reason(error)}"
            # Element types that don't agree are believed where the file says what comes of it:
            # mixed precision is exported so, and some runtimes take it.
            believed = hints if not isinstance(error, InferenceError) else {}
            self._faults.update((o, said) for o in node.output if o and o not in believed)
            return hints
        return {**hints, **{k: v for k, v in found.items() if v.ByteSize()}}

    def _window(self, node: NodeProto) -> TypeProto | None:
        """Output type of a sliding window over an input with dynamic extents."""
        if node.op_type not in _WINDOWS or not self._is_own(node) or len(node.output) != 1:
            return None
        shape = self.shape(node.input[0])
        if shape is None or len(shape) < 3 or all(isinstance(d, int) for d in shape[2:]):
            return None
        attrs = _attributes(node)
        channels: Dim = shape[1]
        taps = attrs.get("kernel_shape")
        if node.op_type.startswith("Conv"):
            weight = static(self.shape(node.input[1]) or ())
            if len(weight) != len(shape) or None in weight:
                return None
            first, second, *taps = [int(d or 0) for d in weight]
            channels = first if node.op_type == "Conv" else second * attrs.get("group", 1)
        if taps is None:
            return None
        rule = transposed_axes if node.op_type == "ConvTranspose" else window_axes
        axes = rule(attrs, taps, static(shape[2:]))
        if isinstance(axes, Obstacle):
            return None
        dims = [
            a.length(d) if isinstance(d, int) else d.through(a)
            for a, d in zip(axes, shape[2:], strict=True)
        ]
        return self.type_of(self.dtype(node.input[0]) or 0, [shape[0], channels, *dims])

    def _moved(self, node: NodeProto) -> TypeProto | None:
        """Output type of a Slice, Pad or Concat along dynamic extents."""
        if node.op_type not in ("Slice", "Pad", "Concat") or not self._is_own(node):
            return None
        sources = node.input if node.op_type == "Concat" else node.input[:1]
        shapes = [s for i in sources if (s := self.shape(i)) is not None]
        if len(shapes) < len(sources) or not any(isinstance(d, Extent) for s in shapes for d in s):
            return None
        if node.op_type == "Concat":
            axis = int(_attributes(node)["axis"]) % len(shapes[0])
            dims: list[Dim | None] | None = joined(shapes, axis)
        else:
            dims = self._cut(node, shapes[0])
            if dims is None and node.op_type == "Slice" and self.opset == 10:
                # onnx's inference for this opset keeps the name of an extent that it cuts.
                dims = [None] * len(shapes[0])
        return None if dims is None else self.type_of(self.dtype(node.input[0]) or 0, dims)

    def _cut(self, node: NodeProto, shape: Shape) -> list[Dim | None] | None:
        attrs = _attributes(node)
        operands = [attrs.get(k) for k in OPERANDS[node.op_type]]
        for n, name in enumerate(node.input[1 : 1 + len(operands)]):
            operands[n] = self.value(name) if name else None
            if name and operands[n] is None:
                return None
        if node.op_type == "Slice":
            single = takes_one(operands, len(shape))
            left = [1 if one else d for d, one in zip(shape, single, strict=True)]
            axes = slice_axes(operands, static(left))
            shape = tuple(left)
        else:
            axes = pad_axes(operands, static(shape))
        if isinstance(axes, Obstacle):
            return None
        return [
            a.length(d) if isinstance(d, int) else d.through(a)
            for a, d in zip(axes, shape, strict=True)
        ]

    def _is_own(self, node: NodeProto) -> bool:
        """Whether the rules of this class may read the node: its operands are there."""
        operands = node.input[:2]
        return (
            self.is_standard(node.domain, node.op_type)
            and bool(operands and node.output)
            and all(operands)
        )

    def _schema(self, node: NodeProto) -> Any:
        key = (node.domain, node.op_type)
        if key in self._functions:
            return None
        if key not in self._schemas:
            domain = "" if node.domain == "ai.onnx" else node.domain
            version = self._opsets.get(domain, 1)
            try:
                self._schemas[key] = onnx.defs.get_schema(node.op_type, version, domain)
            except onnx.defs.SchemaError:
                self._schemas[key] = None
        return self._schemas[key]

    def _is_small(self, name: str) -> bool:
        return (
            self.is_constant(name) and self.count(name) <= _SMALL and self.value(name) is not None
        )

    def _as_proto(self, name: str) -> TensorProto:
        tensor: TensorProto | None = self._initializers.get(name)
        if tensor is not None and tensor.data_location != TensorProto.EXTERNAL:
            return tensor
        return numpy_helper.from_array(np.asarray(self._values[name]), name)


def _is_order(node: NodeProto) -> bool:
    """Whether a Transpose's perm, where it has one, is a permutation."""
    perm = list(_attributes(node).get("perm", ()))
    return sorted(perm) == list(range(len(perm)))


def _reason(error: Exception) -> str:
    """The last sentence of an inference error, without its tags."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"\[\w*Error\]\s*|\(op_type:[^)]*\):?\s*", "", text)[:200].strip()


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
