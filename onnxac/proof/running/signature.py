"""What a model takes and gives, and which shapes its inputs may be given.

The verifier and the benchmark feed models that they know nothing about. A model's
signature tells the types and which extents are free; free extents that share a name
(`dim_param`) get one value, unnamed ones are independent of each other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]

from onnxac.errors import ModelError, UsageError
from onnxac.proof.running.feeds import Container, Shape, Spec
from onnxac.storage.wire import is_large, skim

Symbol = str | tuple[str, int]
Model = onnx.ModelProto | str | os.PathLike[str]

# Values of one made-up input with free extents, at most: 4 Mi of them are 16 MB of float32.
# Whoever needs more gives the shape.
LARGEST_INPUT = 1 << 22


@dataclass(frozen=True)
class Port:
    """An input or output of a model. `dims` is None where even the rank is unknown.

    `integers` is the half-open range of an integer input, where the model's operators tell it.
    """

    name: str
    dtype: np.dtype[Any]
    dims: tuple[int | str | None, ...] | None
    container: Container = "tensor"
    integers: tuple[int, int] | None = None

    @property
    def type(self) -> str:
        """The type as a user reads it, e.g. `float32` or `sequence of float32`."""
        element = "string" if self.dtype.kind == "O" else self.dtype.name
        return element if self.container == "tensor" else f"{self.container} of {element}"


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives; an initializer that is also an input needs no feed."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def specs(self, shapes: Mapping[str, Shape]) -> list[Spec]:
        """What to make for each input, at these shapes."""
        return [
            Spec(p.name, p.dtype.name, shapes[p.name], p.container, p.integers) for p in self.inputs
        ]


class Size(NamedTuple):
    """Values for free extents: the batch, and the others by turns (height, width, ...)."""

    batch: int
    extents: tuple[int, int]


def read_model(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """The model in a file, without its external data. Raises ModelError if it can't be read."""
    try:
        if is_large(Path(path)):
            return skim(Path(path).resolve())
        return onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise ModelError(f"{path} can't be read as an ONNX model: {one_line(error)}") from error


def to_bytes(model: onnx.ModelProto) -> bytes:
    """A model as the bytes of a file. Raises UsageError where only a path can stand for it."""
    require_data(model)
    try:
        return bytes(model.SerializeToString())
    except (EncodeError, ValueError) as error:
        raise UsageError(f"save the model and give its path: {one_line(error)}") from error


def require_data(model: onnx.ModelProto) -> None:
    """Raise UsageError where external data of a model that has no path would be needed."""
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise UsageError("a model with external data must be given by its path, to find the data")


def one_line(error: BaseException) -> str:
    """The message of an error without its line breaks, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def read_signature(model: onnx.ModelProto) -> Signature:
    """The signature of a model. Raises ModelError for a type that cannot be fed or compared."""
    fixed = {t.name for t in model.graph.initializer}
    fixed |= {t.values.name for t in model.graph.sparse_initializer}
    return Signature(
        tuple(_port(v) for v in model.graph.input if v.name not in fixed),
        tuple(_port(v) for v in model.graph.output),
    )


def _port(value: onnx.ValueInfoProto) -> Port:
    container: Container = "tensor"
    kind = value.type
    if kind.HasField("optional_type"):
        container, kind = "optional", kind.optional_type.elem_type
    elif kind.HasField("sequence_type"):
        container, kind = "sequence", kind.sequence_type.elem_type
    if not kind.HasField("tensor_type") or not kind.tensor_type.elem_type:
        raise ModelError(f"{value.name!r} of the graph is no tensor: it cannot be run here")
    tensor = kind.tensor_type
    dims = tuple(_dim(d) for d in tensor.shape.dim) if tensor.HasField("shape") else None
    return Port(value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type), dims, container)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    # Some exporters write -1 for an extent that is free.
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value >= 0 else None
    return dim.dim_param or None


def check_shapes(signature: Signature, shapes: Mapping[str, Sequence[int]]) -> dict[str, Shape]:
    """The shapes that a user asked for, as tuples. Raises UsageError where they can't be used."""
    ports = {p.name: p for p in signature.inputs}
    values: dict[str, int] = {}
    for name, shape in shapes.items():
        if name not in ports:
            known = ", ".join(ports) or "none"
            raise UsageError(f"no input {name!r} to give a shape to; the inputs are: {known}")
        dims = ports[name].dims
        wanted = [None] * len(shape) if dims is None else list(dims)
        fits = len(wanted) == len(shape) and all(
            n >= 0 and (d in (n, None) or (isinstance(d, str) and values.setdefault(d, n) == n))
            for d, n in zip(wanted, shape, strict=True)
        )
        if not fits:
            raise UsageError(f"shape {list(shape)} does not fit input {name!r} of shape {wanted}")
    return {name: tuple(shape) for name, shape in shapes.items()}


def require_ranks(signature: Signature, given: Mapping[str, Shape]) -> None:
    """Raise UsageError where an input's rank is neither known nor given."""
    for port in signature.inputs:
        if port.dims is None and port.name not in given:
            raise UsageError(
                f"the shape of input {port.name!r} is unknown: give --shape {port.name}:1,3,224,224"
            )


def shapes_at(signature: Signature, given: Mapping[str, Shape], size: Size) -> dict[str, Shape]:
    """A shape for every input: as `given`, as the model fixes it, and else by `size`."""
    values = _bound(signature, given)
    turn = 0
    for symbol, axis, rank in _symbols(signature, given):
        if symbol in values:
            continue
        if axis == 0 and rank > 1:
            values[symbol] = size.batch
        else:
            values[symbol] = size.extents[turn % 2]
            turn += 1
    return {
        p.name: given[p.name]
        if p.name in given
        else tuple(
            d if isinstance(d, int) else values[d or (p.name, axis)]
            for axis, d in enumerate(p.dims or ())
        )
        for p in signature.inputs
    }


def _bound(signature: Signature, given: Mapping[str, Shape]) -> dict[Symbol, int]:
    return {
        d: n
        for p in signature.inputs
        if p.name in given
        for d, n in zip(p.dims or (), given[p.name], strict=False)
        if isinstance(d, str)
    }


def _symbols(signature: Signature, given: Mapping[str, Shape]) -> Iterator[tuple[Symbol, int, int]]:
    for p in signature.inputs:
        for axis, d in enumerate(p.dims or ()):
            if p.name not in given and not isinstance(d, int):
                yield d or (p.name, axis), axis, len(p.dims or ())


def unique_shapes(
    signature: Signature, given: Mapping[str, Shape], sizes: Sequence[Size]
) -> list[dict[str, Shape]]:
    """The distinct sets of shapes that `sizes` lead to, in their order.

    Without those where extents that were made up lead to more than `LARGEST_INPUT` values.
    """
    most = {
        p.name: max(LARGEST_INPUT, math.prod(d for d in p.dims or () if isinstance(d, int)))
        for p in signature.inputs
        if p.name not in given
    }
    found: list[dict[str, Shape]] = []
    for size in sizes:
        shapes = shapes_at(signature, given, size)
        fits = all(math.prod(shapes[name]) <= limit for name, limit in most.items())
        if fits and shapes not in found:
            found.append(shapes)
    return found


def has_integers(signature: Signature) -> bool:
    """Whether the choice among `INTEGER_RANGES` matters for this model."""
    return any(p.dtype.kind in "iu" for p in signature.inputs)
