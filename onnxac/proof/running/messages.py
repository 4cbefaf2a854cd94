"""How the process that runs models is talked to: a line of JSON, and the bytes of arrays.

JSON, not pickle: what a hostile model can do to that process must end there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def send(
    stream: IO[bytes], header: Mapping[str, Any], arrays: Mapping[str, Array] | None = None
) -> None:
    """Write one message. Arrays are of numbers."""
    known = {k: np.ascontiguousarray(a) for k, a in (arrays or {}).items()}
    shapes = {k: [a.dtype.str, list(a.shape)] for k, a in known.items()}
    stream.write(json.dumps({**header, "arrays": shapes}).encode() + b"\n")
    for array in known.values():
        stream.write(array.tobytes())
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read one message: its header and its arrays. Raises EOFError when the writer is gone."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    header: dict[str, Any] = json.loads(line)
    arrays: dict[str, Array] = {}
    for name, (dtype, shape) in header.pop("arrays").items():
        wanted = np.dtype(dtype)
        size = wanted.itemsize * int(np.prod(shape, dtype=np.int64))
        data = stream.read(size)
        if len(data) < size:
            raise EOFError
        arrays[name] = np.frombuffer(data, wanted).reshape(shape)
    return header, arrays
