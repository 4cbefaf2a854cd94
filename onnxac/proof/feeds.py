"""Inputs for a model: which shapes to try, and reproducible arrays of these shapes.

The verifier and the benchmark feed models that they know nothing about. A model's
signature tells the types and which extents are free; free extents that share a name
(`dim_param`) get one value, unnamed ones are independent of each other.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from onnxac.errors import ModelError, UsageError
from onnxac.wire import is_large, skim

Shape = tuple[int, ...]
Array = NDArray[Any]
Feed = Array | list[Array]
Kind = Literal["normal", "zeros", "sparse"]
Symbol = str | tuple[str, int]
Model = onnx.ModelProto | str | os.PathLike[str]

# Indices, token ids and lengths must suit a model that is not understood: from the
# richest range to the tamest. 8-bit integers are pixels or codes: all values, first.
INTEGER_RANGES = ((0, 8), (0, 2), (1, 2), (0, 1))
WORDS = ("", "a", "onnx", "two words", "42")
SEQUENCE_LENGTH = 2
# A magnitude for each seed: the knees of Clip, HardSwish and Sigmoid are met on both sides.
MAGNITUDES = (1.0, 8.0, 0.25)


@dataclass(frozen=True)
class Port:
    """An input or output of a model. `dims` is None where even the rank is unknown."""

    name: str
    dtype: np.dtype[Any]
    dims: tuple[int | str | None, ...] | None
    container: Literal["tensor", "optional", "sequence"] = "tensor"

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


@dataclass(frozen=True)
class Fill:
    """What feeds are filled with.

    normal  both signs, at a magnitude that goes with the seed
    zeros   what is left is the biases, at the border as well as inside
    sparse  one value in fifty is +16 or -16: single taps of the kernels show

    `integers` is the half-open range of integer inputs.
    """

    kind: Kind = "normal"
    seed: int = 0
    integers: tuple[int, int] = INTEGER_RANGES[0]


NORMAL = Fill()


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
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise UsageError("a model with external data must be given by its path, to find the data")
    try:
        return bytes(model.SerializeToString())
    except (EncodeError, ValueError) as error:
        raise UsageError(f"save the model and give its path: {one_line(error)}") from error


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
    container: Literal["tensor", "optional", "sequence"] = "tensor"
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
    for port in signature.inputs:
        if port.dims is None and port.name not in shapes:
            raise UsageError(f"the shape of input {port.name!r} is unknown: give one by `shapes`")
    return {name: tuple(shape) for name, shape in shapes.items()}


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
    """The distinct sets of shapes that `sizes` lead to, in their order."""
    found: list[dict[str, Shape]] = []
    for size in sizes:
        shapes = shapes_at(signature, given, size)
        if shapes not in found:
            found.append(shapes)
    return found


def has_integers(signature: Signature) -> bool:
    """Whether the choice among `INTEGER_RANGES` matters for this model."""
    return any(p.dtype.kind in "iu" for p in signature.inputs)


def make_feeds(
    signature: Signature, shapes: Mapping[str, Shape], fill: Fill = NORMAL
) -> dict[str, Feed]:
    """An array for every input; equal arguments give equal arrays."""
    return {p.name: _feed(p, shapes[p.name], fill) for p in signature.inputs}


def _feed(port: Port, shape: Shape, fill: Fill) -> Feed:
    # By the name, not by the position: a model's feeds don't depend on its input order.
    rng = np.random.default_rng([fill.seed, zlib.crc32(port.name.encode())])
    if port.container == "sequence":
        return [_array(port.dtype, shape, fill, rng) for _ in range(SEQUENCE_LENGTH)]
    return _array(port.dtype, shape, fill, rng)


def _array(dtype: np.dtype[Any], shape: Shape, fill: Fill, rng: np.random.Generator) -> Array:
    if dtype.kind == "O":
        return rng.choice(np.array(WORDS, dtype=object), size=shape)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool) & (fill.kind != "zeros")
    if dtype.kind in "iu" or "int" in dtype.name:
        low, high = _integer_range(dtype, fill)
        return rng.integers(low, high, shape).astype(dtype)
    values = rng.standard_normal(shape) * MAGNITUDES[fill.seed % len(MAGNITUDES)]
    if fill.kind == "zeros":
        values = np.zeros(shape)
    elif fill.kind == "sparse":
        values = np.where(rng.random(shape) < 0.02, np.copysign(16.0, values), 0.0)
    return values.astype(dtype)


def _integer_range(dtype: np.dtype[Any], fill: Fill) -> tuple[int, int]:
    low, high = fill.integers
    if fill.kind == "zeros":
        return low, low + 1
    if dtype.kind in "iu" and dtype.itemsize == 1 and fill.integers == INTEGER_RANGES[0]:
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max) + 1
    return low, high
