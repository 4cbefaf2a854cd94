"""Protobuf's wire format, as far as it takes to leave large weights in their file.

A message is a list of fields: a key, which is the number of the field times 8 plus how long it
is, and the value; with fields of length-delimited type, the length comes first
(https://protobuf.dev/programming-guides/encoding). A model's weights are

    ModelProto.graph = 7 → GraphProto.initializer = 5 → TensorProto.raw_data = 9

`skim` reads a model without them: each becomes a reference into the file itself, as external
data has it. `spliced` is the way back. So neither holds more than one chunk in memory.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, TensorProto

# Files from this size on are worth it.
LARGE_FILE = 2**20
# Weights from this size on are left where they are; to come back for a smaller one takes longer.
LARGE_TENSOR = 4096
# The most that one message may hold.
LARGEST_FILE = 2**31 - 1

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5

Fields = Iterator[tuple[int, int, int, int]]


def is_large(path: Path) -> bool:
    """Whether reading the file whole would be a waste."""
    return path.stat().st_size >= LARGE_FILE


def skim(path: Path) -> ModelProto:
    """The model in a file, its large weights replaced by references into that file.

    Raises DecodeError where it is no model, OSError where it can't be read.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        rest = bytearray()
        for number, start, value, end in _fields(data, 0, len(data)):
            if number != _GRAPH:
                rest += data[start:end]
                continue
            graph = _skimmed(data, value, end, path.name)
            # An empty graph is a graph, too; one that comes in pieces is merged.
            rest += _delimited(_GRAPH, len(graph)) + graph
        model = ModelProto()
        model.ParseFromString(bytes(rest))
    return model


def _skimmed(data: mmap.mmap, start: int, end: int, location: str) -> bytearray:
    """A graph's bytes, its large weights replaced by references; the rest is copied in runs."""
    graph, copied = bytearray(), start
    for number, first, value, last in _fields(data, start, end):
        if number == _INITIALIZER and last - value >= LARGE_TENSOR:
            left = _without_values(data, value, last, location)
            if left is not None:
                graph += data[copied:first] + _delimited(_INITIALIZER, len(left)) + left
                copied = last
    return graph + data[copied:end]


def _without_values(data: mmap.mmap, start: int, end: int, location: str) -> bytes | None:
    """A tensor's bytes with a reference in place of its values; None where they are few."""
    rest = bytearray()
    left: tuple[int, int] | None = None
    for number, first, value, last in _fields(data, start, end):
        if number == _RAW_DATA and last - value >= LARGE_TENSOR:
            left = value, last - value
        else:
            rest += data[first:last]
    if left is None:
        return None
    tensor = TensorProto()
    tensor.ParseFromString(bytes(rest))
    point(tensor, location, *left)
    return bytes(tensor.SerializeToString())


def _fields(data: mmap.mmap, start: int, end: int) -> Fields:
    """Number, start, start of the value, and end of each field of a message."""
    place = start
    while place < end:
        first = place
        key, place = _varint(data, place, end)
        number, kind = key >> 3, key & 7
        if kind == _DELIMITED:
            length, place = _varint(data, place, end)
        elif kind == _VARINT:
            _, after = _varint(data, place, end)
            length = after - place
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise DecodeError("a field of a kind that there is not")
        if place + length > end:
            raise DecodeError("a field ends behind its message")
        yield number, first, place, place + length
        place += length


def _varint(data: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while place < end and shift < 64:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
    raise DecodeError("a number that does not end")


def point(tensor: TensorProto, location: str, start: int, length: int) -> None:
    """Let the tensor's data lie in another file."""
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", start), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


# The way back: bytes, and in between the tensors whose data belongs there.


def spliced(
    model: ModelProto, lengths: dict[int, int]
) -> tuple[int, Iterable[bytes | tuple[TensorProto, int]]]:
    """The bytes of a model, with the data of tensors that lie elsewhere in their places.

    lengths  bytes of the data of each such initializer, by its place in the list

    Returns the size of the whole, and its pieces: bytes as they are, or a tensor whose data is
    to be written, and its length.
    """
    if not lengths:
        # In the usual order of fields.
        whole = model.SerializeToString()
        return len(whole), [whole]
    shell, graph = ModelProto(), GraphProto()
    _copy_but(model, shell, "graph")
    _copy_but(model.graph, graph, "initializer")
    heads = [_head(t, lengths.get(i)) for i, t in enumerate(model.graph.initializer)]
    inside = graph.SerializeToString()
    sizes = [len(h) + lengths.get(i, 0) for i, h in enumerate(heads)]
    keys = [_delimited(_INITIALIZER, s) for s in sizes]
    inner = len(inside) + sum(map(len, keys)) + sum(sizes)
    front = shell.SerializeToString() + _delimited(_GRAPH, inner) + inside

    def pieces() -> Iterator[bytes | tuple[TensorProto, int]]:
        yield front
        for i, (key, head) in enumerate(zip(keys, heads, strict=True)):
            yield key + head
            if i in lengths:
                yield model.graph.initializer[i], lengths[i]

    return len(front) - len(inside) + inner, pieces()


def _head(tensor: TensorProto, length: int | None) -> bytes:
    """A tensor up to its data."""
    if length is None:
        return bytes(tensor.SerializeToString())
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.ClearField("external_data")
    copy.ClearField("data_location")
    return bytes(copy.SerializeToString()) + _delimited(_RAW_DATA, length)


def _copy_but(
    source: ModelProto | GraphProto, target: ModelProto | GraphProto, without: str
) -> None:
    for descriptor, value in source.ListFields():
        if descriptor.name == without:
            continue
        if descriptor.is_repeated:
            getattr(target, descriptor.name).MergeFrom(value)
        elif descriptor.message_type is not None:
            getattr(target, descriptor.name).CopyFrom(value)
        else:
            setattr(target, descriptor.name, value)


def _delimited(number: int, length: int) -> bytes:
    """Key and length of a length-delimited field."""
    found = bytearray([number << 3 | _DELIMITED])
    while length > 127:
        found.append(length & 127 | 128)
        length >>= 7
    found.append(length)
    return bytes(found)
