"""Ranges of what flows between nodes, on given inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from onnxac.errors import UsageError
from onnxac.proof.running.feeds import read_inputs
from onnxac.proof.running.loader import to_bytes_with
from onnxac.proof.running.worker import runtime
from onnxac.report import ActivationRange
from onnxac.storage.disk import scratch

Array = NDArray[Any]


def activation_ranges(
    model: ModelProto, folder: Path, inputs: Sequence[Path], libraries: Sequence[Path] = ()
) -> tuple[ActivationRange, ...]:
    """The range per channel of each tensor inside that is of floating type and has channels.

    Raises UsageError where a file does not hold what the model takes.
    """
    names = [n for node in model.graph.node for n in node.output if n]
    found: dict[str, tuple[Array, Array]] = {}
    with scratch() as place:
        path = place.path / "probed.onnx"
        path.write_bytes(to_bytes_with(model, names, is_file=True))
        run = runtime(str(path), str(folder.resolve()), [str(p) for p in libraries])
        for file in inputs:
            for name, tensors in run(_feeds(model, file), None).items():
                for values in tensors:
                    _widen(found, name, values)
    return tuple(
        ActivationRange(name, *(tuple(map(float, side)) for side in found[name]))
        for name in names
        if name in found
    )


def _widen(found: dict[str, tuple[Array, Array]], name: str, values: Array) -> None:
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.ndim < 2:
        return
    axis = 1 if values.ndim > 2 else values.ndim - 1
    rest = tuple(a for a in range(values.ndim) if a != axis)
    # What is not finite has no range; a report in JSON can't hold it either.
    known = np.where(np.isfinite(values), values, 0)
    if not values.size:
        return
    low, high = known.min(axis=rest), known.max(axis=rest)
    if name in found and found[name][0].shape == low.shape:
        low, high = np.minimum(low, found[name][0]), np.maximum(high, found[name][1])
    found[name] = low, high


def _feeds(model: ModelProto, file: Path) -> dict[str, Any]:
    try:
        arrays: Mapping[str, Array] = read_inputs(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: can't be read: {error}") from error
    fixed = {t.name for t in model.graph.initializer}
    feeds = {}
    for port in (i for i in model.graph.input if i.name not in fixed):
        if port.name not in arrays:
            held = ", ".join(arrays) or "nothing"
            raise UsageError(f"{file}: there is no array {port.name!r} in it; it holds {held}")
        kind = onnx.helper.tensor_dtype_to_np_dtype(port.type.tensor_type.elem_type)
        feeds[port.name] = arrays[port.name].astype(kind)
    return feeds
