"""A model file in the making: whole and valid beside its target, before it is moved there.

First the data file goes out, under a name that nothing has had before, and last the .onnx by
one rename. Until then an old model stays as it was, and so does the data it reads: another
model, a copy under another name, may read that too.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnx import ModelProto, TensorProto
from onnx.external_data_helper import uses_external_data

from onnxac.disk import Target, Workspace, sync, sync_folder, writing
from onnxac.errors import ModelError, OutputError
from onnxac.graph.files import all_tensors, data_range, external_tensors, require_valid

_CHUNK = 2**20
# Weights start on a page, so that a runtime can map them.
_ALIGNMENT = 4096
# Fused weights go into the data file from this size on, where there is a data file.
_EXTERNAL_FROM = 1024


class Draft:
    """A model on disk beside its target, not yet in its place.

    `path` can be read, and verified, like any model. `commit` puts it in place; leaving the
    `with` block without that removes it. Raises OutputError where the folder can't be
    written, before anything expensive has happened.
    """

    def __init__(self, target: Path) -> None:
        self._target = Target.of(target)
        with writing(target):
            self._workspace = Workspace(self._target.real.parent)
        self.path = self._workspace.path / self._target.real.name
        self._data: str | None = None

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        self._workspace.close()

    def write(self, model: ModelProto, folder: Path | None) -> None:
        """Write the model; its external data is copied from `folder`, never loaded whole.

        Raises OutputError where that fails, VerificationError where what was written is not
        valid ONNX.
        """
        given = self._target.given
        with writing(given):
            if any(True for _ in external_tensors(model)):
                model = self._with_data(model, folder)
            try:
                data = model.SerializeToString()
            except (EncodeError, ValueError) as error:
                raise OutputError(
                    f"{given}: the model is larger than 2 GB without external data"
                ) from error
            with self._workspace.create(self.path.name) as out:
                out.write(data)
                sync(out)
        del data
        require_valid(model, str(given), self.path)

    def commit(self) -> list[Path]:
        """Put the model in its place, in one step.

        Returns the data files that the model which was there before had for itself alone, as
        far as we can see. They stay, since another model may read them as well.
        """
        real = self._target.real
        before = _data_files(real)
        if self._data is not None:
            data = self._workspace.path / self._data
            with writing(self._target.given):
                self._target.dress(data)
                data.replace(real.with_name(self._data))
                sync_folder(real.parent)
        self._target.replace(self.path)
        return [p for p in before if p.name != self._data]

    def _with_data(self, model: ModelProto, folder: Path | None) -> ModelProto:
        if folder is None:
            raise ModelError("a model from memory refers to external data; give its path instead")
        if self._target.moves:
            raise OutputError(
                f"{self._target.given}: is a link into another folder, where nobody would look "
                f"for the model's data; name {self._target.real} itself"
            )
        self._data = self._workspace.data_name(self.path.name)
        copy = ModelProto()
        copy.CopyFrom(model)
        with self._workspace.create(self._data) as out:
            for tensor in all_tensors(copy):
                if uses_external_data(tensor):
                    _copy_range(tensor, folder, out, self._data)
                elif len(tensor.raw_data) >= _EXTERNAL_FROM:
                    start = _align(out)
                    out.write(tensor.raw_data)
                    _point(tensor, self._data, start, len(tensor.raw_data))
            sync(out)
        return copy


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


def _data_files(path: Path) -> list[Path]:
    """Data files that the model at `path` reads; none where there is no model."""
    if not path.is_file():
        return []
    old = ModelProto()
    try:
        old.ParseFromString(path.read_bytes())
    except (DecodeError, OSError):
        return []
    names = {e.value for t in external_tensors(old) for e in t.external_data if e.key == "location"}
    return sorted(p for p in (path.with_name(n) for n in names) if p.is_file())
