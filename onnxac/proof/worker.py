"""The process that runs models: ONNX Runtime may crash or hang here, and only here.

Started by its path, so that it imports neither onnxac nor what onnxac imports: it is
up in a fifth of a second. It answers one request after another, on stdin and stdout:

    {"op": "load", "key": k, "path": p, "backend": "onnxruntime" | "reference"}
                              and "data": f where the external data is in another folder
    {"op": "run", "key": k}   with the feeds

A message is one line of JSON, and behind it the bytes of its arrays. The reply is
{"ok": ...}, with the outputs of a run, or {"error": one line, "unimplemented": bool}.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# "Non-zero status code returned while running Gemm node. Name:'fc' Status Message: ..."
NODE_FAILURE = re.compile(
    r"Non-zero status .* running (?P<op>\S+) node\. "
    r"Name:'(?P<name>[^']*)' Status Message: (?P<message>.*)"
)
Tensors = dict[str, "Array | list[Array] | None"]


def send(stream: IO[bytes], header: Mapping[str, Any], tensors: Tensors | None = None) -> None:
    """Write one message. A value of `tensors` is an array, a sequence of arrays, or None."""
    described: dict[str, Any] = {}
    blobs: list[Array] = []
    for name, value in (tensors or {}).items():
        items = value if isinstance(value, list) else [] if value is None else [value]
        described[name] = {
            "sequence": isinstance(value, list),
            "items": [_describe(item) for item in items],
        }
        blobs += [np.ascontiguousarray(item) for item in items if item.dtype != object]
    stream.write(json.dumps({**header, "tensors": described}).encode() + b"\n")
    for blob in blobs:
        stream.write(blob.reshape(-1).view(np.uint8).data)
    stream.flush()


def _describe(array: Array) -> dict[str, Any]:
    if array.dtype == object:
        return {"shape": array.shape, "strings": [str(s) for s in array.reshape(-1)]}
    return {"shape": array.shape, "dtype": array.dtype.name, "bytes": array.nbytes}


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], Tensors]:
    """Read one message: its header and its tensors. Raises EOFError when the writer is gone."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    header = json.loads(line)
    tensors: Tensors = {}
    for name, value in header.pop("tensors").items():
        items = [_read(stream, item) for item in value["items"]]
        tensors[name] = items if value["sequence"] else items[0] if items else None
    return header, tensors


def _read(stream: IO[bytes], item: Mapping[str, Any]) -> Array:
    if "strings" in item:
        strings = np.empty(len(item["strings"]), dtype=object)
        strings[:] = item["strings"]
        return strings.reshape(item["shape"])
    data = stream.read(item["bytes"])
    if len(data) < item["bytes"]:
        raise EOFError
    return np.frombuffer(bytearray(data), np.dtype(item["dtype"])).reshape(item["shape"])


class _OnnxRuntime:
    def __init__(self, path: str, data: str | None = None) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        # The graph as it is written: an optimizer's mistake must not hide, or cause, one of ours.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        # One thread: the least processor time, and the same sums in the same order each time.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Packing the weights pays off over many runs; here it costs more than it saves.
        options.add_session_config_entry("session.disable_prepacking", "1")
        # Errors arrive as exceptions; the log would say them a second time.
        options.log_severity_level = 4
        source: str | bytes = path
        if data is not None:
            # A model that comes as bytes looks for its data where this says.
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", data
            )
            source = Path(path).read_bytes()
        self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self._names = [o.name for o in self._session.get_outputs()]

    def run(self, feeds: Tensors) -> Tensors:
        return dict(zip(self._names, self._session.run(self._names, feeds), strict=True))


class _Reference:
    def __init__(self, path: str) -> None:
        from onnx.reference import ReferenceEvaluator

        self._evaluator = ReferenceEvaluator(path)

    def run(self, feeds: Tensors) -> Tensors:
        # Overflow and 0/0 are results here, to be compared like any other.
        with np.errstate(all="ignore"):
            values = self._evaluator.run(None, feeds)
        return dict(zip(self._evaluator.output_names, map(_as_tensor, values), strict=True))


def _as_tensor(value: Any) -> Any:
    return value if value is None or isinstance(value, list) else np.asarray(value)


class _Server:
    def __init__(self) -> None:
        self._models: dict[str, _OnnxRuntime | _Reference] = {}

    def answer(self, request: Mapping[str, Any], feeds: Tensors) -> tuple[dict[str, Any], Tensors]:
        if request["op"] == "load":
            backend = _Reference if request["backend"] == "reference" else _OnnxRuntime
            more = [request["data"]] if "data" in request else []
            self._models[request["key"]] = backend(request["path"], *more)
            return {"ok": True}, {}
        return {"ok": True}, self._models[request["key"]].run(feeds)


def _failure(error: Exception) -> dict[str, Any]:
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as Unimplemented

    text = " ".join(str(error).split()) or type(error).__name__
    # "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find ..." -> "Could not find ..."
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    found = NODE_FAILURE.match(text)
    if found:
        text = f"{found['op']} node {found['name']!r}: {found['message']}"
    return {"error": text[:500], "unimplemented": isinstance(error, Unimplemented)}


def _limit_memory(limit: int | None) -> None:
    # Elsewhere the system does not hold a limit on address space (macOS), or has none
    # (Windows); the parent refuses an explicit limit there.
    if not sys.platform.startswith("linux"):
        return
    import resource

    # If memory runs out all the same, the kernel shall end this process, not its parent.
    # Some containers refuse this: then the limit below is what there is.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    page = os.sysconf("SC_PAGE_SIZE")
    # The interpreter and the libraries are mapped already; the limit is for the models.
    base = int(Path("/proc/self/statm").read_text().split()[0]) * page
    wanted = base + (limit if limit is not None else os.sysconf("SC_PHYS_PAGES") * page)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def main() -> None:
    """Serve requests until stdin ends. The argument is the memory limit in bytes, or `none`."""
    requests = sys.stdin.buffer
    # Whatever else prints to stdout must not get between the replies.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import onnxruntime

    _limit_memory(None if sys.argv[1] == "none" else int(sys.argv[1]))
    send(replies, {"ok": True, "version": onnxruntime.__version__})
    server = _Server()
    while True:
        try:
            request, feeds = receive(requests)
        except EOFError:
            return
        try:
            header, outputs = server.answer(request, feeds)
        except Exception as error:
            header, outputs = _failure(error), {}
        send(replies, header, outputs)


if __name__ == "__main__":
    main()
