"""Model files: reading and checking them, and where their external data lies."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto
from onnx.external_data_helper import uses_external_data

from onnxac.errors import ModelError, UnsupportedError, VerificationError
from onnxac.graph.operators import PLAIN, is_standard
from onnxac.storage.wire import is_large, skim

# Types of less than a byte; which of them there are depends on the version of onnx.
_PACKED_NAMES = ("INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2")
_PACKED = {value for name, value in TensorProto.DataType.items() if name in _PACKED_NAMES}


def read(path: Path) -> ModelProto:
    """The checked protobuf of a model file, without its external data.

    Raises ModelError where it can't be read or is not valid ONNX, UnsupportedError where
    its IR version or opset is newer than the installed onnx knows.
    """
    # The bytes are gone before the checker reads the file for itself.
    proto = parse(_bytes(path), str(path))
    check(proto, str(path), path)
    return proto


def read_lazily(path: Path) -> ModelProto:
    """As `read`; but a large file's weights are left in it, as if they were external data."""
    if not path.is_file() or not is_large(path):
        return read(path)
    try:
        proto = skim(path.resolve())
    except OSError as error:
        raise ModelError(f"{path}: can't be read: {error.strerror}") from error
    except DecodeError:
        raise ModelError(f"{path}: not an ONNX model, or cut short") from None
    _require_graph(proto, str(path))
    check(proto, str(path), path.resolve())
    return proto


def is_single(proto: ModelProto, path: Path) -> bool:
    """Whether a model, read lazily or not, has all of its data in its own file."""
    return all(
        e.value == path.name
        for t in external_tensors(proto)
        for e in t.external_data
        if e.key == "location"
    )


def data_files(path: Path) -> list[Path]:
    """Data files that the model at `path` reads; none where there is no model."""
    if not path.is_file():
        return []
    old = ModelProto()
    try:
        if is_large(path):
            old = skim(path)
        else:
            old.ParseFromString(path.read_bytes())
    except (DecodeError, OSError):
        return []
    names = {e.value for t in external_tensors(old) for e in t.external_data if e.key == "location"}
    found = (path.parent / name for name in names - {path.name})
    return sorted(p for p in found if p.is_file())


def _bytes(path: Path) -> bytes:
    if path.is_dir():
        raise ModelError(f"{path}: is a folder; name the .onnx file in it")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: can't be read: {error.strerror}") from error


def parse(data: bytes, where: str) -> ModelProto:
    """The protobuf in `data`, not yet checked. Raises ModelError where there is none."""
    if not data:
        raise ModelError(f"{where}: is empty, not an ONNX model")
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        raise ModelError(f"{where}: not an ONNX model, or cut short") from None
    _require_graph(proto, where)
    return proto


def _require_graph(proto: ModelProto, where: str) -> None:
    if not proto.HasField("graph") or not proto.ir_version:
        raise ModelError(f"{where}: not an ONNX model: it holds no graph")


def check(proto: ModelProto, where: str, path: Path | None = None) -> None:
    """Raise ModelError or UnsupportedError where `proto` is not a valid model.

    path  the file it came from: needed to check external data, and past 2 GB
    """
    if proto.ir_version > onnx.IR_VERSION:
        raise UnsupportedError(
            f"{where}: IR version {proto.ir_version} is newer than onnx {onnx.__version__} knows "
            f"({onnx.IR_VERSION}); upgrade onnx"
        )
    newest = onnx.defs.onnx_opset_version()
    for opset in proto.opset_import:
        if is_standard(opset.domain) and opset.version > newest:
            raise UnsupportedError(
                f"{where}: opset {opset.version} is newer than onnx {onnx.__version__} knows "
                f"({newest}); upgrade onnx, or export at opset {newest}"
            )
    try:
        if path is not None and is_large(path) and is_single(proto, path):
            # By its path, the checker would hold the file twice.
            for tensor in external_tensors(proto):
                data_range(tensor, path.parent)
            complaint = _complaint(_without_data(proto))
        else:
            complaint = _complaint(proto if path is None else str(path))
        if complaint and "Field 'shape' of 'type' is required but missing" in complaint:
            # The checker wants a shape on every output; runtimes do without. It stops there,
            # so that the rest has still to be looked at.
            complaint = _complaint(_with_shapes(_without_data(proto)))
    except (EncodeError, ValueError) as error:
        raise ModelError(f"{where}: larger than 2 GB in memory; give its path instead") from error
    if complaint:
        raise ModelError(f"{where}: not valid ONNX: {_first_sentence(complaint)}")
    # What is no UTF-8 comes as bytes, and the checker does not mind.
    if not all(isinstance(text, str) for text in (*_model_texts(proto), *_texts(proto.graph))):
        raise ModelError(f"{where}: not valid ONNX: a name in it is not UTF-8 text")


def require_valid(result: ModelProto, where: str, path: Path | None = None) -> None:
    """Raise VerificationError where a model that we made is not valid: a promise of ours broke."""
    try:
        if path is not None and is_large(path):
            result = skim(path)
        check(result, where, path)
    except ModelError as error:
        raise VerificationError(f"{error}: this is a bug in onnxac, nothing was written") from error


def _complaint(model: ModelProto | str) -> str | None:
    """What onnx's checker has against a model, on one line; None where that is nothing."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        return " ".join(str(error).split())
    return None


def _with_shapes(proto: ModelProto) -> ModelProto:
    """The model, each of its inputs and outputs with a shape."""
    for value in (*proto.graph.input, *proto.graph.output):
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.shape.SetInParent()
    return proto


def _without_data(proto: ModelProto) -> ModelProto:
    """A copy in which tensors whose data lies elsewhere are empty."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    for tensor in list(external_tensors(copy)):
        del tensor.external_data[:], tensor.dims[:]
        tensor.ClearField("data_location")
        tensor.dims.append(0)
    return copy


def _model_texts(proto: ModelProto) -> Iterator[object]:
    yield from (proto.producer_name, proto.producer_version, proto.domain, proto.doc_string)
    yield from (proto.graph.name, proto.graph.doc_string)
    yield from (entry.domain for entry in proto.opset_import)


def _texts(graph: GraphProto) -> Iterator[object]:
    """Every name that is read of a graph and its subgraphs."""
    for node in graph.node:
        yield from (node.op_type, node.name, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name
            if attribute.type not in PLAIN:
                for inner in (attribute.g, *attribute.graphs):
                    yield from _texts(inner)
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name
        yield from (d.dim_param for d in value.type.tensor_type.shape.dim)
    for tensor in graph_tensors(graph):
        yield tensor.name
        yield from (text for e in tensor.external_data for text in (e.key, e.value))


def _first_sentence(text: str, limit: int = 300) -> str:
    text = text.split(" ==> Context:", maxsplit=1)[0]
    return text if len(text) <= limit else text[: limit - 1] + "…"


def all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor that is stored in a model: in subgraphs, functions and training, too."""
    yield from graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)
    for training in model.training_info:
        yield from graph_tensors(training.initialization)
        yield from graph_tensors(training.algorithm)


def graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor that is stored in a graph or in its subgraphs."""
    yield from graph.initializer
    yield from _sparse_tensors(graph.sparse_initializer)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type in PLAIN:
                continue
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield from _sparse_tensors([attribute.sparse_tensor])
            yield from _sparse_tensors(attribute.sparse_tensors)
            if attribute.HasField("g"):
                yield from graph_tensors(attribute.g)
            for inner in attribute.graphs:
                yield from graph_tensors(inner)


def _sparse_tensors(tensors: Iterable[SparseTensorProto]) -> Iterator[TensorProto]:
    for tensor in tensors:
        yield tensor.values
        yield tensor.indices


def external_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Tensors whose data lies in another file."""
    return (t for t in all_tensors(model) if uses_external_data(t))


def data_range(tensor: TensorProto, folder: Path) -> tuple[Path, int, int]:
    """File, offset and length in bytes of an external tensor. Raises ModelError where they lie."""
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    source = folder / location
    # Whatever is named, and isn't a link, is there where it is named.
    plain = location not in ("", ".", "..") and os.path.basename(location) == location
    if not (plain and not source.is_symlink()) and not source.resolve().is_relative_to(
        folder.resolve()
    ):
        raise ModelError(f"{source}: external data lies outside of the model's folder")
    if not source.is_file():
        raise ModelError(f"{source}: external data of {tensor.name} is missing")
    size, start = source.stat().st_size, int(entries.get("offset", 0))
    length = int(entries.get("length", size - start))
    if start < 0 or length < _least_bytes(tensor) or start + length > size:
        raise ModelError(f"{source}: too short for the data of {tensor.name}")
    return source, start, length


def _least_bytes(tensor: TensorProto) -> int:
    """What the tensor's data takes at least; elements of less than a byte are packed."""
    width = int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    packed = tensor.data_type in _PACKED
    return 0 if packed else math.prod(tensor.dims) * width
