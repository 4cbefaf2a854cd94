"""The process that runs models: ONNX Runtime may crash or hang here, and only here.

It makes the feeds, runs both models on them and compares the results, so that no tensor is
ever held elsewhere. Of onnxac it imports only what needs no onnx: it is up in a fifth of a
second. It answers one request after another, on stdin and stdout, the first of them when its
libraries are loaded:

    {"memory_limit": bytes or null}
    {"op": "load", "key": k, "path": p, "backend": b, "folder": f, "libraries": [], "renamed": {}}
    {"op": "drop", "key": k}
    {"op": "feed", "specs": [...], "fill": {...}, "file": path or null}
    {"op": "run", "key": k, "moved": seed or null, "least": ε of the move, at least,
     "names": [outputs to keep] or null}
    {"op": "gaps", "first": [k, seed or null], "second": [...], "pairs": [[name, name, floor]],
     "elementwise": [rtol, atol] or null, "wide": bool}
    {"op": "ranges", "key": k, "axes": {name: axis or null}}
    {"op": "noise", "first": k, "second": k, "names": [...]}

A feed stands until the next one, and so do the outputs of the runs on it. The reply is
{"ok": true, ...}, with the gaps' arrays, or {"error": one line, ...}.
"""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxac.proof.judging.compare import Gap, Measures, gap
from onnxac.proof.running.feeds import (
    Array,
    Feed,
    Fill,
    Spec,
    dtype_named,
    make,
    perturb,
    read_inputs,
)
from onnxac.proof.running.limits import limit_memory
from onnxac.proof.running.messages import receive, send

# "Non-zero status code returned while running Gemm node. Name:'fc' Status Message: ..."
NODE_FAILURE = re.compile(
    r"Non-zero status .* running (?P<op>\S+) node\. "
    r"Name:'(?P<name>[^']*)' Status Message: (?P<message>.*)"
)
# What ONNX Runtime says of an operator that nobody told it of.
UNKNOWN = re.compile(r"is not a registered function/op|No Op registered for|No opset import for")
EXHAUSTED = re.compile(r"bad_alloc|[Ff]ailed to allocate|[Uu]nable to allocate|out of memory")

Outputs = dict[str, list[Array]]
# Takes feeds, and the outputs to compute; all where none are named.
Runner = Callable[[dict[str, Feed], Sequence[str] | None], Outputs]
Run = tuple[str, int | None]


def runtime(path: str, folder: str | None, libraries: list[str]) -> Runner:
    """A model in ONNX Runtime, as it is written.

    folder  where the external data of the model lies, if not beside it
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    # The graph as it is written: an optimizer's mistake must not hide, or cause, one of ours.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # What a run took is given back behind it: several models are loaded side by side.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # One thread: the least processor time, and the same sums in the same order each time.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Packing the weights pays off over many runs; here it costs more than it saves.
    options.add_session_config_entry("session.disable_prepacking", "1")
    # Errors arrive as exceptions; the log would say them a second time.
    options.log_severity_level = 4
    for library in libraries:
        options.register_custom_ops_library(library)
    source: str | bytes = path
    if folder is not None:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", folder
        )
        source = Path(path).read_bytes()
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]

    def run(feeds: dict[str, Feed], wanted: Sequence[str] | None) -> Outputs:
        made = list(wanted or names)
        return _as_lists(made, session.run(made, feeds))

    return run


def reference(path: str, folder: str | None, wide: bool) -> Runner:
    """A model in onnx's reference evaluator; `wide`: all of its floats are float64."""
    from onnxac.proof.running.reference import evaluate, read_evaluator

    evaluator = read_evaluator(path, folder, wide)
    names = list(evaluator.output_names)

    def run(feeds: dict[str, Feed], wanted: Sequence[str] | None) -> Outputs:
        made = list(wanted or names)
        if wide:
            feeds = {name: _widened(feed) for name, feed in feeds.items()}
        # Overflow and 0/0 are results here, to be compared like any other.
        with np.errstate(all="ignore"):
            return _as_lists(made, evaluate(evaluator, feeds, made))

    return run


def _as_lists(names: list[str], values: list[Any]) -> Outputs:
    """Each output as its tensors: one, or those of a sequence, or none."""
    return {
        name: [np.asarray(v) for v in value]
        if isinstance(value, list)
        else []
        if value is None
        else [np.asarray(value)]
        for name, value in zip(names, values, strict=True)
    }


def _widened(feed: Feed) -> Feed:
    if isinstance(feed, list):
        return [_wide(v) for v in feed]
    return _wide(feed)


def _wide(array: Array) -> Array:
    narrow = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    return array.astype(np.float64) if narrow else array


class _Server:
    def __init__(self) -> None:
        self._models: dict[str, Runner] = {}
        self._renamed: dict[str, dict[str, str]] = {}
        self._feeds: dict[str, Feed] = {}
        self._outputs: dict[Run, Outputs] = {}
        # Of the first tensor of a comparison, until that is made anew.
        self._measured: dict[tuple[Run, str], dict[int, Measures]] = {}

    def answer(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
        operation = {
            "load": self._load,
            "drop": self._drop,
            "feed": self._feed,
            "run": self._run,
            "gaps": self._gaps,
            "ranges": self._ranges,
            "noise": self._noise,
        }[request["op"]]
        return operation(request)

    def _load(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
        path, folder, backend = request["path"], request["folder"], request["backend"]
        if backend == "onnxruntime":
            runner = runtime(path, folder, request["libraries"])
        else:
            runner = reference(path, folder, backend == "float64")
        self._models[request["key"]] = runner
        self._renamed[request["key"]] = request["renamed"]
        return {"ok": True}, {}

    def _drop(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
        key = request["key"]
        del self._models[key]
        self._outputs = {r: made for r, made in self._outputs.items() if r[0] != key}
        return {"ok": True}, {}

    def _feed(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
        # The old ones are given up first: two sets need not fit.
        self._outputs.clear()
        self._measured.clear()
        self._feeds = {}
        specs = [_spec(s) for s in request["specs"]]
        if request["file"] is not None:
            self._feeds = _given(Path(request["file"]), specs)
        else:
            fill = request["fill"]
            low, high = fill["integers"]
            self._feeds = make(specs, Fill(fill["kind"], fill["seed"], (low, high)))
        shapes = {
            name: list((feed[0] if isinstance(feed, list) else feed).shape)
            for name, feed in self._feeds.items()
        }
        return {"ok": True, "shapes": shapes}, {}

    def _run(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
        key, moved = request["key"], request["moved"]
        # Negative is the feed itself, another time.
        feeds = self._feeds
        if moved is not None and moved >= 0:
            feeds = perturb(feeds, moved, request["least"])
        names = self._renamed[key]
        feeds = {names.get(name, name): feed for name, feed in feeds.items()}
        for old in [k for k in self._measured if k[0] == (key, moved)]:
            del self._measured[old]
        # What was made before is given up first, and of moved feeds one is held at a time.
        for other in [r for r in self._outputs if r == (key, moved) or r[1] is not None]:
            del self._outputs[other]
        self._outputs[key, moved] = self._models[key](feeds, request["names"])
        return {"ok": True}, {}

    def _gaps(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
        runs: list[Run] = [(k, m) for k, m in (request["first"], request["second"])]
        first, second = (self._outputs[r] for r in runs)
        headers, arrays = [], {}
        for index, (before, after, floor) in enumerate(request["pairs"]):
            found = gap(
                first[before],
                second[after],
                floor=floor,
                elementwise=request["elementwise"],
                wide=request["wide"],
                measured=self._measured.setdefault((runs[0], before), {}),
            )
            headers.append(_described(found))
            arrays[f"{index}.distances"] = found.distances
            arrays[f"{index}.scales"] = found.scales
        return {"ok": True, "gaps": headers}, arrays

    def _ranges(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
        """The least and the largest value of tensors of float32, of each channel on its axis."""
        arrays = {}
        for name, axis in request["axes"].items():
            values = self._outputs[request["key"], None].get(name, [])
            if len(values) == 1 and values[0].dtype == np.float32 and values[0].size:
                (own,) = values
                rest = None if axis is None else _all_but(axis, own.ndim)
                arrays[name] = np.stack([own.min(axis=rest), own.max(axis=rest)])
        return {"ok": True}, arrays

    def _noise(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
        """Mean over tensors of the energy of their difference, in parts of the first's."""
        first, second = (self._outputs[request[w], None] for w in ("first", "second"))
        shares = []
        for a, b in (
            (a, b) for n in request["names"] for a, b in zip(first[n], second[n], strict=True)
        ):
            if a.dtype.kind == "f" and a.shape == b.shape and np.any(a):
                wide = a.astype(np.float64)
                shares.append(float(np.sum((wide - b) ** 2) / np.sum(wide**2)))
        return {"ok": True, "noise": float(np.mean(shares)) if shares else None}, {}


def _all_but(axis: int, rank: int) -> tuple[int, ...]:
    return tuple(a for a in range(rank) if a != axis % rank)


def _spec(data: Mapping[str, Any]) -> Spec:
    integers = data["integers"]
    return Spec(
        data["name"],
        data["dtype"],
        tuple(data["shape"]),
        data["container"],
        None if integers is None else (integers[0], integers[1]),
    )


def _given(path: Path, specs: list[Spec]) -> dict[str, Feed]:
    arrays = read_inputs(path)
    feeds: dict[str, Feed] = {}
    for spec in specs:
        if spec.name not in arrays:
            held = ", ".join(arrays) or "nothing"
            raise ValueError(f"{path}: there is no array {spec.name!r} in it; it holds {held}")
        array, wanted = arrays[spec.name], dtype_named(spec.dtype)
        # NumPy makes float64 and int64 of Python's numbers; their kind is what counts.
        if array.dtype.kind != wanted.kind and not (
            array.dtype.kind in "iu" and wanted.kind in "iuf"
        ):
            raise ValueError(
                f"{path}: {spec.name!r} is {array.dtype.name}, the model takes {wanted.name}"
            )
        feeds[spec.name] = array.astype(wanted)
    return feeds


def _described(found: Gap) -> dict[str, Any]:
    return {
        "floor": found.floor,
        "axes": [[a.axis, a.length, a.values] for a in found.axes],
        "reason": found.reason,
        "epsilon": found.epsilon,
        # JSON has no infinity: nothing finite is told by nothing.
        "range": [found.low, found.high] if found.is_finite else None,
        "size": found.size,
    }


def _failure(error: Exception) -> dict[str, Any]:
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as Unimplemented

    text = " ".join(str(error).split()) or type(error).__name__
    # "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find ..." -> "Could not find ..."
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    found = NODE_FAILURE.match(text)
    if found:
        text = f"{found['op']} node {found['name']!r}: {found['message']}"
    exhausted = isinstance(error, MemoryError) or EXHAUSTED.search(text) is not None
    if exhausted:
        text = f"out of memory: {text}" if text != "MemoryError" else "out of memory"
    return {
        "error": text[:500],
        "unimplemented": isinstance(error, Unimplemented),
        "unknown": UNKNOWN.search(text) is not None,
    }


def main() -> None:
    """Serve requests until stdin ends."""
    requests = sys.stdin.buffer
    # Whatever else prints to stdout must not get between the replies.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import onnxruntime

    gc.enable()
    try:
        wanted, _ = receive(requests)
    except EOFError:
        return
    limit_memory(wanted["memory_limit"])
    send(replies, {"ok": True, "version": onnxruntime.__version__})
    server = _Server()
    while True:
        try:
            request, _ = receive(requests)
        except EOFError:
            return
        try:
            header, arrays = server.answer(request)
        except Exception as error:
            header, arrays = _failure(error), {}
        send(replies, header, arrays)


if __name__ == "__main__":
    main()
