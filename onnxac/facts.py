"""What is known of each tensor without running the model: type, shape, constant value.

One walk over the nodes, in order. Types come from onnx's own inference, node by node, so
that a custom operator hides only what depends on it; sliding windows use `windows`, which
keeps dynamic extents as a formula over the input's. A tensor that does not depend on an
input is a constant; it is computed by onnx's reference operators when somebody asks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_graphsurgeon as gs
from onnx import NodeProto, TensorProto, TypeProto, numpy_helper
from onnx.checker import ValidationError
from onnx.reference.ops import load_op
from onnx.shape_inference import InferenceError, infer_node_outputs

from onnxac.algebra import Axis, Obstacle
from onnxac.model import Model
from onnxac.windows import OPERANDS, pad_axes, slice_axes, transposed_axes, window_axes

# Constants with at most this many elements are computed during the walk: shapes hang on them.
_SMALL = 1024
# Larger results of constant subgraphs are left for the runtime to compute.
_MAX_ELEMENTS = 2**28

_RANDOM = {
    "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial",
    "Bernoulli",
}  # fmt: skip
# Weights behind these are meant to stay as they are stored.
QUANTIZED = {"DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear"}
# Operators that read a second input's type only.
_TYPE_ONLY = {"CastLike": (1,)}

Values = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Extent:
    """A dynamic extent: ⌊(up·(root − 1) + extent) / stride⌋ + 1, as a window makes it."""

    root: str
    up: int = 1
    stride: int = 1
    extent: int = 0

    def through(self, axis: Axis) -> Extent | None:
        """The number of outputs of `axis` over a source of this extent."""
        if axis.up != 1 and self.stride != 1:
            return None
        return Extent(
            self.root, self.up * axis.up, self.stride * axis.stride,
            self.extent * axis.up + axis.extent * self.stride,
        )

    def at(self, root: int) -> int:
        """Its value where the root has the value `root`."""
        return (self.up * (root - 1) + self.extent) // self.stride + 1

    def __str__(self) -> str:
        if (self.up, self.stride, self.extent) == (1, 1, 0):
            return self.root
        return f"({self.up}*({self.root}-1)+{self.extent})//{self.stride}+1"


Dim = int | Extent
Shape = tuple[Dim, ...]


def static(dims: Sequence[Dim]) -> list[int | None]:
    """The dims that are numbers; None for those that are dynamic."""
    return [d if isinstance(d, int) else None for d in dims]


def _joined(shapes: Sequence[Shape | None], axis: int) -> list[Dim | None] | None:
    """Shape of a concatenation of which one operand at most is dynamic along `axis`."""
    known = [s for s in shapes if s is not None]
    if len(known) < len(shapes):
        return None
    dims: list[Dim | None] = list(known[0])
    moving = [d for s in known if isinstance(d := s[axis], Extent)]
    fixed = sum(d for s in known if isinstance(d := s[axis], int))
    if len(moving) == 1:
        dims[axis] = replace(moving[0], extent=moving[0].extent + fixed * moving[0].stride)
    else:
        dims[axis] = None if moving else fixed
    return dims


class Facts:
    """Facts about every tensor of a model's main graph.

    freeze  take initializers that are also graph inputs as constants
    """

    def __init__(self, model: Model, *, freeze: bool = False) -> None:
        self._model = model
        self.opset = model.opset
        self._types: dict[str, TypeProto] = {}
        self._shapes: dict[str, Shape] = {}
        self._extents: dict[str, Extent] = {}
        self._initializers = {t.name: t for t in model.proto.graph.initializer}
        self._makers: dict[str, NodeProto] = {}
        self._values: dict[str, Values] = {}
        self._schemas: dict[tuple[str, str], Any] = {}
        self._given = {v.name: v.type for v in model.proto.graph.value_info}
        self._given.update((v.name, v.type) for v in model.proto.graph.output)
        self.failures: dict[str, str] = {}
        inputs = {i.name for i in model.proto.graph.input}
        old_ir = model.proto.ir_version < 4
        self.overridable = set() if freeze or old_ir else inputs & self._initializers.keys()
        self._opsets = {o.domain: o.version for o in model.proto.opset_import}
        self._start()
        for node in model.proto.graph.node:
            self._visit(node)

    # What others ask.

    def shape(self, name: str) -> Shape | None:
        """The tensor's shape; None where even its rank is unknown."""
        if name not in self._shapes:
            kind = self._types.get(name)
            if kind is None or not kind.tensor_type.HasField("shape"):
                return None
            self._shapes[name] = tuple(
                d.dim_value if d.HasField("dim_value")
                else self._extent(d.dim_param or f"?{name}.{i}")
                for i, d in enumerate(kind.tensor_type.shape.dim)
            )
        return self._shapes[name]

    def dtype(self, name: str) -> int | None:
        """The tensor's element type, a TensorProto.DataType; None where unknown."""
        kind = self._types.get(name)
        return kind.tensor_type.elem_type or None if kind is not None else None

    def is_constant(self, name: str) -> bool:
        """Whether the tensor does not depend on any graph input."""
        return name in self._makers or (
            name in self._initializers and name not in self.overridable
        )

    def is_initializer(self, name: str) -> bool:
        """Whether the tensor is stored in the model as it is."""
        return name in self._initializers

    def value(self, name: str) -> Values | None:
        """The constant's value, in its own dtype; None where it is none, or can't be had."""
        stack = [name]
        while stack:
            top = stack[-1]
            if top in self._values or top in self.failures:
                stack.pop()
            elif top in self._initializers:
                self._values[top] = self._read(self._initializers[top])
            elif top not in self._makers:
                return None
            else:
                maker = self._makers[top]
                waiting = [
                    i for n, i in enumerate(maker.input)
                    if i and n not in _TYPE_ONLY.get(maker.op_type, ())
                    and i not in self._values and i not in self.failures
                ]
                if waiting and maker.op_type != "Shape":
                    stack += waiting
                else:
                    self._compute(maker)
        return self._values.get(name) if self.is_constant(name) else None

    def is_made(self, name: str) -> bool:
        """Whether the tensor is a constant that a node makes, not an initializer."""
        return name in self._makers

    def is_computed_by(self, node: gs.Node) -> bool:
        """Whether all the node does is to make constants."""
        return all(self.is_constant(t.name) for t in node.outputs if t.name)

    def nbytes(self, name: str) -> int | None:
        """Size of a tensor's data; None where it is not known."""
        count, dtype = self._count(name), self.dtype(name)
        if math.isinf(count) or dtype is None or dtype == TensorProto.STRING:
            return None
        return int(count) * onnx.helper.tensor_dtype_to_np_dtype(dtype).itemsize

    def chain_bytes(self, name: str) -> int:
        """What the nodes and leaves that compute a constant take in the file."""
        nodes, leaves, _ = self._chain(name)
        return sum(n.ByteSize() for n in nodes) + sum(self.nbytes(i) or 0 for i in leaves)

    def type_reads(self, name: str) -> set[str]:
        """Activations of which a constant's computation reads the type or the shape."""
        return {r for r in self._chain(name)[2] if not self.is_constant(r)}

    def _chain(self, name: str) -> tuple[list[NodeProto], list[str], list[str]]:
        nodes: list[NodeProto] = []
        leaves, reads = list[str](), list[str]()
        seen, waiting = set[str](), [name]
        while waiting:
            top = waiting.pop()
            if top in seen or not top:
                continue
            seen.add(top)
            maker = self._makers.get(top)
            if maker is None:
                leaves.append(top)
                continue
            nodes.append(maker)
            shape_only = maker.op_type in ("Shape", "Size")
            free = _TYPE_ONLY.get(maker.op_type, ())
            for n, i in enumerate(maker.input):
                (reads if shape_only or n in free else waiting).append(i)
        return nodes, leaves, reads

    def release(self, name: str) -> None:
        """Forget a large value; it is computed again if somebody asks again."""
        if name in self._values and self._values[name].size > _SMALL:
            del self._values[name]

    def define_like(self, name: str, other: str, channels: int | None = None) -> None:
        """Give a new tensor the type of another one, but for the number of channels."""
        kind = TypeProto()
        kind.CopyFrom(self._types[other])
        if channels is not None:
            kind.tensor_type.shape.dim[1].dim_value = channels
        self._types[name] = kind

    # The walk.

    def _start(self) -> None:
        graph = self._model.proto.graph
        for value in graph.input:
            self._types[value.name] = value.type
        for sparse in graph.sparse_initializer:
            self._types[sparse.values.name] = onnx.helper.make_tensor_type_proto(
                sparse.values.data_type, list(sparse.dims)
            )
        for tensor in graph.initializer:
            self._types[tensor.name] = onnx.helper.make_tensor_type_proto(
                tensor.data_type, list(tensor.dims)
            )

    def _visit(self, node: NodeProto) -> None:
        constant = self._is_foldable(node)
        if constant:
            self._makers.update((o, node) for o in node.output if o)
        for name, kind in self._infer(node).items():
            self._types[name] = self._named(name, kind)
            self._shapes.pop(name, None)
        if constant and all(self._count(o) <= _SMALL for o in node.output if o):
            for output in node.output:
                if output:
                    self.value(output)

    def _is_foldable(self, node: NodeProto) -> bool:
        if node.domain not in ("", "ai.onnx") or node.op_type in _RANDOM | QUANTIZED:
            return False
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            return False
        if node.op_type in ("Shape", "Size"):
            shape = self.shape(node.input[0])
            return shape is not None and self._shape_slice(node, shape) is not None
        free = _TYPE_ONLY.get(node.op_type, ())
        return all(
            not i or self.is_constant(i) for n, i in enumerate(node.input) if n not in free
        ) and not any(self.dtype(node.input[n]) is None for n in free)

    def _shape_slice(self, node: NodeProto, shape: Shape) -> list[int] | None:
        attrs = {a.name: a.i for a in node.attribute}
        dims = shape[attrs.get("start", 0) : attrs.get("end", len(shape))]
        return None if any(isinstance(d, Extent) for d in dims) else [int(str(d)) for d in dims]

    def _infer(self, node: NodeProto) -> dict[str, TypeProto]:
        known = self._window(node) or self._moved(node)
        if known is not None:
            return known
        schema = self._schema(node)
        kinds = {i: self._types[i] for i in node.input if i in self._types}
        if schema is None or len(kinds) < len({i for i in node.input if i}):
            return self._hints(node)
        data = {i: self._as_proto(i) for i in node.input if i and self._is_small_constant(i)}
        try:
            found = infer_node_outputs(
                schema, node, kinds, data, opset_imports=list(self._model.proto.opset_import),
                ir_version=self._model.proto.ir_version,
            )
        except (InferenceError, ValidationError, RuntimeError, ValueError, KeyError) as error:
            self.failures.setdefault(f"shape of {node.output[0]}", " ".join(str(error).split()))
            return self._hints(node)
        return {**self._hints(node), **{k: v for k, v in found.items() if v.ByteSize()}}

    def _hints(self, node: NodeProto) -> dict[str, TypeProto]:
        return {o: self._given[o] for o in node.output if o in self._given}

    def _window(self, node: NodeProto) -> dict[str, TypeProto] | None:
        """Output type of a sliding window over an input with dynamic extents."""
        if node.domain or node.op_type not in (
            "Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"
        ) or len(node.output) != 1:
            return None
        shape = self.shape(node.input[0])
        if shape is None or len(shape) < 3 or all(isinstance(d, int) for d in shape[2:]):
            return None
        attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        channels: Dim = shape[1]
        taps = attrs.get("kernel_shape")
        if node.op_type.startswith("Conv"):
            weight = self.shape(node.input[1])
            if weight is None or any(isinstance(d, Extent) for d in weight):
                return None
            taps = static(weight[2:])
            channels = weight[0] if node.op_type == "Conv" else weight[1] * attrs.get("group", 1)
        if taps is None:
            return None
        rule = transposed_axes if node.op_type == "ConvTranspose" else window_axes
        axes = rule(attrs, taps, static(shape[2:]))
        if isinstance(axes, Obstacle) or len(axes) != len(shape) - 2:
            return None
        dims: list[Dim | None] = [
            a.length(d) if isinstance(d, int) else d.through(a)
            for a, d in zip(axes, shape[2:], strict=True)
        ]
        return {node.output[0]: self._kind(self.dtype(node.input[0]) or 0, [shape[0], channels, *dims])}

    def _moved(self, node: NodeProto) -> dict[str, TypeProto] | None:
        """Output type of a Slice, Pad or Concat along dynamic extents."""
        if node.domain or node.op_type not in ("Slice", "Pad", "Concat"):
            return None
        shapes = [self.shape(i) for i in node.input[: None if node.op_type == "Concat" else 1]]
        first = shapes[0] if shapes else None
        if first is None or not any(isinstance(d, Extent) for s in shapes for d in s or ()):
            return None
        attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Concat":
            dims = _joined(shapes, int(attrs["axis"]) % len(first))
        else:
            read = slice_axes if node.op_type == "Slice" else pad_axes
            operands = [attrs.get(k) for k in OPERANDS[node.op_type]]
            for n, i in enumerate(node.input[1 : 1 + len(operands)]):
                operands[n] = self.value(i) if i else None
                if i and operands[n] is None:
                    return None
            axes = read(operands, static(first))
            dims = None if isinstance(axes, Obstacle) else [
                a.length(d) if isinstance(d, int) else d.through(a)
                for a, d in zip(axes, first, strict=True)
            ]
        return None if dims is None else {
            node.output[0]: self._kind(self.dtype(node.input[0]) or 0, dims)
        }

    # Types and extents.

    def _extent(self, text: str) -> Extent:
        return self._extents.setdefault(text, Extent(text))

    def _kind(self, dtype: int, dims: Sequence[Dim | None]) -> TypeProto:
        for d in dims:
            if isinstance(d, Extent):
                self._extents[str(d)] = d
        return onnx.helper.make_tensor_type_proto(
            dtype, [d if isinstance(d, int) or d is None else str(d) for d in dims]
        )

    def _named(self, name: str, kind: TypeProto) -> TypeProto:
        """Give every unknown extent a name of its own, so that it equals only itself."""
        if not kind.HasField("tensor_type"):
            return kind
        dims = kind.tensor_type.shape.dim
        if all(d.HasField("dim_value") or d.dim_param for d in dims):
            return kind
        copy = TypeProto()
        copy.CopyFrom(kind)
        for i, d in enumerate(copy.tensor_type.shape.dim):
            if not d.HasField("dim_value") and not d.dim_param:
                d.dim_param = f"?{name}.{i}"
        return copy

    def _count(self, name: str) -> float:
        shape = self.shape(name)
        if shape is None or any(isinstance(d, Extent) for d in shape):
            return math.inf
        return math.prod(int(str(d)) for d in shape)

    def _schema(self, node: NodeProto) -> Any:
        key = (node.domain, node.op_type)
        if key not in self._schemas:
            domain = "" if node.domain == "ai.onnx" else node.domain
            version = self._opsets.get(node.domain, self._opsets.get("", 1))
            try:
                self._schemas[key] = onnx.defs.get_schema(node.op_type, version, domain)
            except onnx.defs.SchemaError:
                self._schemas[key] = None
        return self._schemas[key]

    # Values.

    def _is_small_constant(self, name: str) -> bool:
        return self.is_constant(name) and self._count(name) <= _SMALL and (
            self.value(name) is not None
        )

    def _as_proto(self, name: str) -> TensorProto:
        tensor = self._initializers.get(name)
        if tensor is not None and tensor.data_location != TensorProto.EXTERNAL:
            return tensor
        return numpy_helper.from_array(np.asarray(self._values[name]), name)

    def _read(self, tensor: TensorProto) -> Values:
        folder = self._model.folder
        return np.asarray(numpy_helper.to_array(tensor, str(folder) if folder else ""))

    def _compute(self, node: NodeProto) -> None:
        if node.op_type in ("Shape", "Size"):
            dims = self._shape_slice(node, self.shape(node.input[0]) or ())
            count = np.asarray(dims if node.op_type == "Shape" else math.prod(dims or ()), np.int64)
            self._values[node.output[0]] = count
            return
        lost = next((self.failures[i] for i in node.input if i in self.failures), None)
        if lost is None and any(self._count(o) > _MAX_ELEMENTS for o in node.output if o):
            lost = "the result is too large to store"
        if lost is not None:
            self.failures.update((o, lost) for o in node.output if o)
            return
        free = _TYPE_ONLY.get(node.op_type, ())
        inputs = [self._blank(i) if n in free else self._values[i] if i else None
                  for n, i in enumerate(node.input)]
        try:
            results = run_node(node, inputs, self._opsets)
        except Exception as error:  # a reference operator may raise anything on odd input
            why = f"{node.op_type} can't be computed: {' '.join(str(error).split())[:200]}"
            self.failures.update((o, why) for o in node.output if o)
            return
        self._values.update(
            (o, np.asarray(r)) for o, r in zip(node.output, results, strict=False) if o
        )

    def _blank(self, name: str) -> Values:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(self.dtype(name) or TensorProto.FLOAT)
        return np.zeros((1,), dtype)


def run_node(
    node: NodeProto, inputs: Sequence[Values | None], opsets: dict[str, int]
) -> Sequence[Values]:
    """Outputs of one node by onnx's reference operator. Raises whatever that raises."""
    version = opsets.get("", opsets.get("ai.onnx", 1))
    operator = load_op("", node.op_type, version)
    parameters = {"log": lambda *_: None, "opsets": {"": version}, "verbose": 0, "new_ops": None}
    result: Sequence[Values] = operator(node, parameters).run(*inputs)
    return result
