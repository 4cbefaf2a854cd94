"""Time inferences of several models by turns, in the environment of the peers.

Reads {"models": {label: path}, "engine": "onnxruntime" or "openvino", "threads": n, 0 for all,
"runs": n, "seconds": n} from stdin, and writes {label: {"median", "low", "high", "runs"}} in
milliseconds (the quartiles), and "error": the largest difference from the first model's outputs,
relative to their largest value. A model that does not run has {"failure": …} instead.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Run = Callable[[], list[Any]]


def feeds(session: Any) -> dict[str, Any]:
    rng, found = np.random.default_rng(0), {}
    for one in session.get_inputs():
        shape = [d if isinstance(d, int) else 1 for d in one.shape]
        whole = "int" in one.type
        found[one.name] = (
            rng.integers(0, 1000, shape) if whole else rng.standard_normal(shape).astype(np.float32)
        )
    return found


def in_onnxruntime(path: str, threads: int, given: dict[str, Any]) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    if not given:
        given.update(feeds(session))
    return lambda: session.run(None, given)


def in_openvino(path: str, threads: int, given: dict[str, Any]) -> Run:
    import openvino as ov

    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = str(threads)
    compiled = ov.Core().compile_model(path, "CPU", settings)
    if not given:
        import onnxruntime as ort

        given.update(feeds(ort.InferenceSession(path, providers=["CPUExecutionProvider"])))
    request = compiled.create_infer_request()
    return lambda: list(request.infer(list(given.values())).values())


def apart(first: list[Any], other: list[Any]) -> float:
    worst = 0.0
    for a, b in zip(first, other, strict=True):
        scale = float(np.abs(a).max()) or 1.0
        worst = max(worst, float(np.abs(np.float64(a) - b).max()) / scale)
    return worst


def main() -> None:
    asked = json.load(sys.stdin)
    load = in_onnxruntime if asked["engine"] == "onnxruntime" else in_openvino
    given: dict[str, Any] = {}
    runs: dict[str, Run] = {}
    results: dict[str, dict[str, Any]] = {}
    first: list[Any] | None = None
    for label, path in asked["models"].items():
        try:
            run = load(path, asked["threads"], given)
            made = [np.array(v) for v in run()]
            first = made if first is None else first
            results[label] = {"error": apart(first, made)}
            runs[label] = run
        except Exception as error:
            results[label] = {"failure": " ".join(str(error).split())[:200]}
    times: dict[str, list[float]] = {label: [] for label in runs}
    deadline = time.perf_counter() + asked["seconds"]
    for turn in range(asked["runs"] + 1):
        if turn > 3 and time.perf_counter() > deadline:
            break
        for label, run in runs.items():
            started = time.perf_counter()
            run()
            if turn:
                times[label].append(1e3 * (time.perf_counter() - started))
    for label, taken in times.items():
        low, middle, high = statistics.quantiles(taken, n=4, method="inclusive")
        results[label] |= {"median": middle, "low": low, "high": high, "runs": len(taken)}
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
