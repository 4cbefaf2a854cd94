"""What is known of each tensor without running the model: type, shape, constant value.

One walk over the nodes, in order. Types come from onnx's own inference, node by node, so
that a custom operator hides only what depends on it; along dynamic extents they come from
`shapes`, which keeps them as formulas over the inputs'.
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

from onnxac.graph.model import Model
from onnxac.graph.operators import runs, traits
from onnxac.inference.shapes import Shapes, is_order
from onnxac.inference.types import digestible

# Constants with at most this many elements are computed during the walk: shapes hang on them.
_SMALL = 1024
# Operators whose output is of the type of their first inputs, if those are alike: how many.
_ALIKE = {"Identity": 1, "Neg": 1, "BatchNormalization": 1, "Add": 2, "Sub": 2, "Mul": 2, "Div": 2}


class Facts(Shapes):
    """Facts about every tensor of a model's main graph.

    freeze      take initializers that are also graph inputs as constants
    dequantize  take quantized weights as the constants that they stand for
    """

    def __init__(self, model: Model, *, freeze: bool = False, dequantize: bool = False) -> None:
        super().__init__(model, freeze=freeze, dequantize=dequantize)
        self._proto = model.proto
        self._imports = [onnx.helper.make_opsetid(d, v) for d, v in model.opsets.items()]
        self._faults: dict[str, str] = {}
        self._schemas: dict[tuple[str, str], Any] = {}
        # Tensors of which the file tells what is not so, and those of which nobody knows.
        self._stale: set[str] = set()
        # Operators that not every runtime has for every type, and the types they have here.
        self._at_work: set[tuple[str, int | None]] = set()
        graph = model.proto.graph
        # Types as onnx writes them are needed during the walk only.
        self._types: dict[str, TypeProto] = {}
        for value in graph.input:
            self._note(value.name, self.believe(value.type, value.name))
        self._hints = {v.name: self.believe(v.type) for v in (*graph.value_info, *graph.output)}
        for sparse in graph.sparse_initializer:
            self._note(sparse.values.name, self.type_of(sparse.values.data_type, sparse.dims))
        for tensor in graph.initializer:
            self._note(tensor.name, self.type_of(tensor.data_type, tensor.dims))
        for node in graph.node:
            self._visit(node)
        self._types.clear()

    def kind(self, name: str) -> TypeProto | None:
        """The tensor's type as onnx writes it; None where not even its element type is known."""
        dtype, shape = self.dtype(name), self.shape(name)
        if dtype is None:
            return None
        if shape is None:
            return onnx.helper.make_tensor_type_proto(dtype, None)
        return self.type_of(dtype, shape)

    def given(self, name: str) -> TensorProto | TypeProto | None:
        """What a graph inside may know of the tensor: its value, its type, or nothing."""
        return self.stored(name) or self.kind(name)

    def copy(self) -> Facts:
        """The same knowledge, for a pass that adds tensors; values are shared."""
        other = copy(self)
        other._dtypes, other._shapes = dict(self._dtypes), dict(self._shapes)
        other._initializers = dict(self._initializers)
        return other

    def _note(self, name: str, kind: TypeProto) -> None:
        self._types[name] = self.define(name, kind)

    def misstated(self) -> frozenset[str]:
        """Tensors of whose type or shape the file tells something else than what their node makes.

        Most runtimes infer them anew; but memory may be laid out by what is told.
        """
        return frozenset(
            v.name
            for v in self._proto.graph.value_info
            if v.name in self._stale or self._is_misstated(v.name, v.type)
        )

    def _is_misstated(self, name: str, told: TypeProto) -> bool:
        dtype, shape = self.dtype(name), self.shape(name)
        tensor = told.tensor_type
        if dtype and tensor.elem_type and dtype != tensor.elem_type:
            return True
        if shape is None or not tensor.HasField("shape"):
            return False
        dims = tensor.shape.dim
        return len(dims) != len(shape) or any(
            isinstance(n, int) and d.HasField("dim_value") and n != d.dim_value
            for d, n in zip(dims, shape, strict=True)
        )

    def fault(self, name: str) -> str | None:
        """What is wrong with the node that makes the tensor; None where nothing is known to be."""
        return self._faults.get(name)

    def runs(self, op: str, dtype: int | None) -> bool:
        """Whether an operator may be written for an element type.

        Runtimes have it, or the model needs one that has it as it is.
        """
        return runs(op, dtype) or (op, dtype) in self._at_work

    def _visit(self, node: NodeProto) -> None:
        self._types.update(self.told_by_weight(node))
        if not self._is_alike(node):
            for name, kind in self._infer(node).items():
                self._note(name, kind)
        if node.output and traits(node.op_type, node.domain).types is not None:
            self._at_work.add((node.op_type, self.dtype(node.output[0])))
        outputs = [o for o in node.output if o]
        self._stale.update(
            o for o in outputs if o in self._hints and self._is_misstated(o, self._hints[o])
        )
        constant = self.note_constant(node) or self.follow(node)
        if constant and all(self.count(o) <= _SMALL for o in outputs):
            for output in outputs:
                self.value(output)

    def _is_alike(self, node: NodeProto) -> bool:
        """Note the output's type where it is plainly that of the inputs; whether it is."""
        count = _ALIKE.get(node.op_type, int(traits(node.op_type).elementwise))
        if not count or len(node.output) != 1 or not self._is_own(node, count):
            return False
        first, *others = node.input[:count]
        kind, shape, dtype = self._types.get(first), self.shape(first), self.dtype(first)
        if kind is None or shape is None or dtype is None:
            return False
        if any(self.dtype(i) != dtype or self.shape(i) != shape for i in others):
            return False
        (output,) = node.output
        self._types[output], self._shapes[output], self._dtypes[output] = kind, shape, dtype
        return True

    def _infer(self, node: NodeProto) -> dict[str, TypeProto]:
        """Types of the node's outputs, as far as they can be known."""
        known = self.own_type(node)
        if known is not None:
            return {node.output[0]: known}
        hints = {o: self._hints[o] for o in node.output if o in self._hints}
        if not self._stale.isdisjoint(node.input):
            # What is told was told of other shapes.
            self._stale.update(hints)
            hints = {}
        if node.op_type == "Transpose" and not is_order(node):
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
                digestible(node),
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


def _reason(error: Exception) -> str:
    """The last sentence of an inference error, without its tags."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"\[\w*Error\]\s*|\(op_type:[^)]*\):?\s*", "", text)[:200].strip()
