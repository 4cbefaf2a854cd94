"""Model files: reading and checking them, and writing them in one step.

This is the one module that touches the disk. What is written appears whole or not at all:
first the data file, under a name that nothing uses yet, then a temporary .onnx beside the
target, and last one rename. Until then an old file stays as it was.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, TensorProto
from onnx.external_data_helper import uses_external_data

from onnxac.errors import ModelError, OutputError, UnsupportedError

_CHUNK = 2**20
# Weights start on a page, so that a runtime can map them.
_ALIGNMENT = 4096
# Fused weights go into the data file from this size on, where there is a data file.
_EXTERNAL_FROM = 1024
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
    if not proto.HasField("graph") or not proto.ir_version:
        raise ModelError(f"{where}: not an ONNX model: it holds no graph")
    return proto


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
        if opset.domain in ("", "ai.onnx") and opset.version > newest:
            raise UnsupportedError(
                f"{where}: opset {opset.version} is newer than onnx {onnx.__version__} knows "
                f"({newest}); upgrade onnx, or export at opset {newest}"
            )
    try:
        onnx.checker.check_model(proto if path is None else str(path))
    except onnx.checker.ValidationError as error:
        text = " ".join(str(error).split())
        # The checker wants a shape on every output; runtimes do without.
        if "Field 'shape' of 'type' is required but missing" not in text:
            raise ModelError(f"{where}: not valid ONNX: {_first_sentence(text)}") from error
    except (EncodeError, ValueError) as error:
        raise ModelError(f"{where}: larger than 2 GB in memory; give its path instead") from error


def _first_sentence(text: str, limit: int = 300) -> str:
    text = text.split(" ==> Context:", maxsplit=1)[0]
    return text if len(text) <= limit else text[: limit - 1] + "…"


# Writing.


class Draft:
    """A model on disk beside its target, not yet in its place.

    `path` can be read, and verified, like any model. `commit` puts it in place; leaving the
    `with` block without that removes it. Raises OutputError where the folder can't be
    written, before anything expensive has happened.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        folder = target.parent
        if not folder.is_dir():
            raise OutputError(f"{target}: its folder {folder} does not exist; create it first")
        if target.is_dir():
            raise OutputError(f"{target}: is a folder; name a file in it")
        if target.exists() and not target.is_file():
            # A device or a pipe would be replaced by the file.
            raise OutputError(f"{target}: is no regular file; name one, or - for standard output")
        try:
            handle, name = tempfile.mkstemp(".onnx", f".{target.name}.", folder)
        except OSError as error:
            raise OutputError(f"{folder}: can't be written: {error.strerror}") from error
        os.close(handle)
        self.path = Path(name)
        self._data: Path | None = None

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)
        if self._data is not None:
            self._data.unlink(missing_ok=True)

    def write(self, model: ModelProto, folder: Path | None) -> None:
        """Write the model; its external data is copied from `folder`, never loaded whole."""
        try:
            if any(True for _ in external_tensors(model.graph)):
                model = self._with_data(model, folder)
            with self.path.open("wb") as out:
                out.write(model.SerializeToString())
                _sync(out)
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(self.path, 0o666 & ~mask)
        except (EncodeError, ValueError) as error:
            raise OutputError(
                f"{self.target}: the model is larger than 2 GB without external data"
            ) from error
        except OSError as error:
            raise OutputError(f"{self.target}: can't be written: {error.strerror}") from error

    def commit(self) -> None:
        """Put the model in its place, in one step."""
        old = _own_data(self.target)
        try:
            os.replace(self.path, self.target)
        except OSError as error:
            raise OutputError(f"{self.target}: can't be written: {error.strerror}") from error
        kept, self._data = self._data, None
        _sync_folder(self.target.parent)
        for path in old:
            if path != kept:
                path.unlink(missing_ok=True)

    def _with_data(self, model: ModelProto, folder: Path | None) -> ModelProto:
        if folder is None:
            raise ModelError("a model from memory refers to external data; give its path instead")
        self._data = _fresh(self.target)
        copy = ModelProto()
        copy.CopyFrom(model)
        with self._data.open("xb") as out:
            for tensor in all_tensors(copy.graph):
                if uses_external_data(tensor):
                    _copy_range(tensor, folder, out, self._data.name)
                elif len(tensor.raw_data) >= _EXTERNAL_FROM:
                    start = _align(out)
                    out.write(tensor.raw_data)
                    _point(tensor, self._data.name, start, len(tensor.raw_data))
            _sync(out)
        return copy


def all_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor that is stored in a graph or in its subgraphs."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                if inner.ByteSize():
                    yield from all_tensors(inner)


def external_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Tensors whose data lies in another file."""
    return (t for t in all_tensors(graph) if uses_external_data(t))


def _copy_range(tensor: TensorProto, folder: Path, out: IO[bytes], location: str) -> None:
    source, start, length = data_range(tensor, folder)
    place = _align(out)
    with source.open("rb") as data:
        data.seek(start)
        left = length
        while left:
            chunk = data.read(min(left, _CHUNK))
            if not chunk:
                raise ModelError(f"{source}: ends before the data of {tensor.name}")
            out.write(chunk)
            left -= len(chunk)
    _point(tensor, location, place, length)


def data_range(tensor: TensorProto, folder: Path) -> tuple[Path, int, int]:
    """File, offset and length in bytes of an external tensor. Raises ModelError where they lie."""
    entries = {e.key: e.value for e in tensor.external_data}
    source = folder / entries.get("location", "")
    if not source.resolve().is_relative_to(folder.resolve()):
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


def _point(tensor: TensorProto, location: str, start: int, length: int) -> None:
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", start), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def _align(out: IO[bytes]) -> int:
    gap = -out.tell() % _ALIGNMENT
    out.write(bytes(gap))
    return out.tell()


def _fresh(target: Path) -> Path:
    path, count = target.with_name(f"{target.name}.data"), 0
    while path.exists():
        count += 1
        path = target.with_name(f"{target.name}.{count}.data")
    return path


def _own_data(target: Path) -> list[Path]:
    """Data files of the model that is in the target's place now, if we named them."""
    if not target.is_file():
        return []
    try:
        old = ModelProto()
        old.ParseFromString(target.read_bytes())
    except (DecodeError, OSError):
        return []
    pattern = re.compile(re.escape(target.name) + r"(\.\d+)?\.data")
    names = {
        e.value for t in external_tensors(old.graph) for e in t.external_data if e.key == "location"
    }
    return [target.with_name(n) for n in names if pattern.fullmatch(n)]


def _sync(out: IO[bytes]) -> None:
    out.flush()
    os.fsync(out.fileno())


def _sync_folder(folder: Path) -> None:
    # Not every file system lets a folder be opened; the rename itself has happened.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
