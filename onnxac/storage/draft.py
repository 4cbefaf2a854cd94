"""A model file in the making: whole and valid beside its target, before it is moved there.

First the data file goes out, under a name that nothing has had before, and last the .onnx by
one rename. Until then an old model stays as it was, and so does the data it reads: another
model, a copy under another name, may read that too.

No weights are held in memory that lie in a file: they go from there to here in chunks.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper
from onnx.external_data_helper import uses_external_data

from onnxac.errors import ModelError, OutputError
from onnxac.storage.disk import Target, Workspace, copy_range, sync, sync_folder, writing
from onnxac.storage.files import all_tensors, data_files, data_range, require_valid
from onnxac.storage.wire import LARGEST_FILE, point, spliced

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
        self._data = self._workspace.data_name(self.path.name)
        self._out: IO[bytes] | None = None
        self._files = ExitStack()

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()
        self._workspace.close()

    def restart(self) -> None:
        """Forget what was written so far."""
        self._files.close()
        self._out = None
        for name in (self.path.name, self._data):
            (self._workspace.path / name).unlink(missing_ok=True)

    def store(self, name: str, values: npt.NDArray[np.generic]) -> TensorProto:
        """A tensor whose values are on the disk from now on, and need no memory any more."""
        tensor = TensorProto(name=name, dims=values.shape)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(values.dtype)
        with writing(self._target.given):
            out = self._data_file()
            start = _align(out)
            out.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
        point(tensor, self._data, start, values.nbytes)
        return tensor

    def write(self, model: ModelProto, folder: Path | None, *, single: bool) -> bool:
        """Write the model; its external data is copied from `folder`, never loaded whole.

        single  all in one file, if it is not too large for that

        Returns whether it is one file. Raises OutputError where it can't be written,
        VerificationError where what was written is not valid ONNX.
        """
        given = self._target.given
        lengths = {
            i: self._range(t, folder)[2]
            for i, t in enumerate(model.graph.initializer)
            if uses_external_data(t)
        }
        with writing(given):
            size, pieces = spliced(model, lengths)
            single = single and size <= LARGEST_FILE
            if not single:
                model = self._with_data(model, folder)
                size, pieces = spliced(model, {})
            if size > LARGEST_FILE:
                raise OutputError(f"{given}: is larger than 2 GB, even without its weights")
            with self._workspace.create(self.path.name) as out:
                for piece in pieces:
                    if isinstance(piece, bytes):
                        out.write(piece)
                    else:
                        self._copy(piece[0], folder, out)
                sync(out)
            self._files.close()
            if single and self._out is not None:
                (self._workspace.path / self._data).unlink()
                self._out = None
        require_valid(model, str(given), self.path)
        return single

    def commit(self) -> list[Path]:
        """Put the model in its place, in one step.

        Returns the data files of the model which was there before. They stay, since another
        model may read them as well.
        """
        real = self._target.real
        before = data_files(real)
        if self._out is not None:
            data = self._workspace.path / self._data
            with writing(self._target.given):
                self._target.dress(data)
                data.replace(real.with_name(self._data))
                sync_folder(real.parent)
        self._target.replace(self.path)
        return [p for p in before if p.name != self._data]

    def _data_file(self) -> IO[bytes]:
        if self._out is None:
            self._out = self._files.enter_context(self._workspace.create(self._data))
        return self._out

    def _with_data(self, model: ModelProto, folder: Path | None) -> ModelProto:
        """The model with all large weights in the data file; the one that was given stays."""
        if self._target.moves:
            raise OutputError(
                f"{self._target.given}: is a link into another folder, where nobody would look "
                f"for the model's data; name {self._target.real} itself"
            )
        copy = ModelProto()
        copy.CopyFrom(model)
        out = self._data_file()
        for tensor in all_tensors(copy):
            if uses_external_data(tensor):
                if self._is_stored(tensor):
                    continue
                start = _align(out)
                point(tensor, self._data, start, self._copy(tensor, folder, out))
            elif len(tensor.raw_data) >= _EXTERNAL_FROM:
                start = _align(out)
                out.write(tensor.raw_data)
                point(tensor, self._data, start, len(tensor.raw_data))
        sync(out)
        return copy

    def _is_stored(self, tensor: TensorProto) -> bool:
        return any(e.key == "location" and e.value == self._data for e in tensor.external_data)

    def _range(self, tensor: TensorProto, folder: Path | None) -> tuple[Path, int, int]:
        if self._is_stored(tensor):
            self._data_file().flush()
            return data_range(tensor, self._workspace.path)
        if folder is None:
            raise ModelError("a model from memory refers to external data; give its path instead")
        return data_range(tensor, folder)

    def _copy(self, tensor: TensorProto, folder: Path | None, out: IO[bytes]) -> int:
        """Write a tensor's data; returns how long it is."""
        source, start, length = self._range(tensor, folder)
        with source.open("rb") as data:
            if copy_range(data, start, length, out) < length:
                raise ModelError(f"{source}: ends before the data of {tensor.name}")
        return length


def _align(out: IO[bytes]) -> int:
    gap = -out.tell() % _ALIGNMENT
    out.write(bytes(gap))
    return out.tell()
