"""Element types and shapes of tensors, by name.

onnx describes a dynamic extent by a name only. Here every extent has one: two that are not
known to be equal never compare equal, and those that a window made are formulas.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import onnx
from onnx import NodeProto, TensorProto, TensorShapeProto, TypeProto

from onnxac.inference.dims import UNKNOWN, Dim, Extent, Shape

# What names of extents begin with that a file does not have: formulas, unknown ones, quotes.
_OWN = ("(", UNKNOWN, "[")
# Element types that have a size; there are files that name others.
_SIZED = frozenset(onnx.helper.get_all_tensor_dtypes()) - {TensorProto.STRING}


class TensorTypes:
    """The types that are known so far."""

    def __init__(self) -> None:
        self._dtypes: dict[str, int] = {}
        self._shapes: dict[str, Shape] = {}
        self._extents: dict[str, Extent] = {}

    def shape(self, name: str) -> Shape | None:
        """The tensor's shape; None where even its rank is unknown."""
        return self._shapes.get(name)

    def dtype(self, name: str) -> int | None:
        """The tensor's element type, a TensorProto.DataType; None where unknown."""
        return self._dtypes.get(name)

    def count(self, name: str) -> float:
        """Number of elements; infinite where it is not known."""
        dims = self.shape(name)
        if dims is None:
            return math.inf
        numbers = [d for d in dims if not isinstance(d, Extent)]
        return math.prod(numbers) if len(numbers) == len(dims) else math.inf

    def nbytes(self, name: str) -> int | None:
        """Size of the tensor's data; None where it is not known."""
        count, dtype = self.count(name), self.dtype(name)
        if math.isinf(count) or dtype is None or dtype not in _SIZED:
            return None
        return int(count) * int(onnx.helper.tensor_dtype_to_np_dtype(dtype).itemsize)

    def type_of(self, dtype: int, dims: Sequence[Dim | None]) -> TypeProto:
        """A tensor type; an extent of None is one that nothing is known of."""
        self._extents.update((str(d), d) for d in dims if isinstance(d, Extent))
        return onnx.helper.make_tensor_type_proto(
            dtype, [d if isinstance(d, int) or d is None else str(d) for d in dims]
        )

    def believe(self, kind: TypeProto, source: str = "") -> TypeProto:
        """A type as the file tells it: equal names of extents in such types are equal extents.

        source  the input whose type it is; its first extent is the batch. Names that only other
                tensors have are marked: what they name may be 0.
        """
        copy = TypeProto()
        copy.CopyFrom(kind)
        for place, d in enumerate(copy.tensor_type.shape.dim):
            batch = bool(source) and place == 0
            if batch and not d.dim_param and (d.dim_value < 0 or not d.HasField("dim_value")):
                d.dim_param = f"{UNKNOWN}{source}.0"
            elif d.dim_param.startswith(_OWN):
                d.dim_param = f"[{d.dim_param}]"
            if d.dim_param and not source and d.dim_param not in self._extents:
                d.dim_param = f"{UNKNOWN}({d.dim_param})"
            if d.dim_param and d.dim_param not in self._extents:
                self._extents[d.dim_param] = Extent(d.dim_param, batch=batch)
        return copy

    def define(self, name: str, kind: TypeProto) -> TypeProto:
        """Set the type of a tensor; returns it with a name for every unknown extent.

        An extent whose name nobody has told, such as one from inside of a body, is unknown.
        """
        kind = self._named(name, kind)
        tensor = kind.tensor_type
        self._dtypes.pop(name, None)
        self._shapes.pop(name, None)
        if tensor.elem_type:
            self._dtypes[name] = tensor.elem_type
        if tensor.HasField("shape"):
            self._shapes[name] = tuple(
                d.dim_value if d.HasField("dim_value") else self._extents[d.dim_param]
                for d in tensor.shape.dim
            )
        return kind

    def define_like(self, name: str, other: str, channels: int | None = None) -> None:
        """Give a new tensor the type of another one, but for the number of channels."""
        dtype, shape = self.dtype(other), self.shape(other)
        if dtype is not None:
            self._dtypes[name] = dtype
        if shape is not None:
            self._shapes[name] = shape if channels is None else (shape[0], channels, *shape[2:])

    def _named(self, name: str, kind: TypeProto) -> TypeProto:
        """Give every unknown extent a name of its own, so that it equals only itself.

        A negative extent is an unknown one: old exporters write -1, and onnx's own inference
        ends the process over it.
        """
        unknown = [i for i, d in enumerate(kind.tensor_type.shape.dim) if not self._is_told(d)]
        if not unknown:
            return kind
        copy = TypeProto()
        copy.CopyFrom(kind)
        for i in unknown:
            own = f"{UNKNOWN}{name}.{i}"
            copy.tensor_type.shape.dim[i].dim_param = own
            self._extents[own] = Extent(own)
        return copy

    def _is_told(self, dim: TensorShapeProto.Dimension) -> bool:
        if dim.dim_param:
            return dim.dim_param in self._extents
        return dim.HasField("dim_value") and dim.dim_value >= 0


def digestible(node: NodeProto) -> NodeProto:
    """The node as onnx's own inference takes it: inside of it, negative extents are unknown ones.

    Raises ValueError where that inference would end the process.
    """
    _require_parts(node)
    if not any(d.dim_value < 0 for d in _inner_dims(node)):
        return node
    copy = NodeProto()
    copy.CopyFrom(node)
    for d in _inner_dims(copy):
        if d.dim_value < 0:
            d.ClearField("dim_value")
    return copy


def _require_parts(node: NodeProto) -> None:
    for attribute in node.attribute:
        parts = attribute.i if attribute.name == "num_outputs" else len(node.output)
        if node.op_type == "Split" and parts != len(node.output):
            raise ValueError(f"num_outputs is {parts}, it has {len(node.output)}")
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                _require_parts(inner)


def _inner_dims(node: NodeProto) -> Iterator[TensorShapeProto.Dimension]:
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for value in (*graph.input, *graph.output, *graph.value_info):
                yield from value.type.tensor_type.shape.dim
            for inner in graph.node:
                yield from _inner_dims(inner)
