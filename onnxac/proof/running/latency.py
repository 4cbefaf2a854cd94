"""What a rewrite is worth: the latency of two models, measured side by side.

The models run by turns (before, after, before, after, ...), so that a clock that
throttles or a neighbour that wakes up meets both alike. Unlike in a verification, the
runtime's own optimizations are on: that is how models are deployed.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence

import onnx

from onnxac.errors import RuntimeFailure, UsageError, VerificationError
from onnxac.proof.running.feeds import INTEGER_RANGES, Feed, Fill, make
from onnxac.proof.running.runtimes import ONNX_RUNTIME, Runtime, Session, runtime_of
from onnxac.proof.running.signature import (
    Model,
    Signature,
    Size,
    check_shapes,
    one_line,
    read_model,
    read_signature,
    require_ranks,
    unique_shapes,
)
from onnxac.proof.running.sizes import refine
from onnxac.report import Latency

# Sizes that networks are deployed at come first; the rest is for those that need another.
EXTENTS = (224, 256, 640, 128, 64, 32, 512, 16, 8, 1)
BATCHES = (1, 2, 4, 8)


def compare_latency(  # noqa: PLR0913 - the two models, and keyword-only options with defaults
    before: Model,
    after: Model,
    *,
    runs: int = 50,
    warmup: int = 5,
    threads: int = 1,
    runtime: str = ONNX_RUNTIME,
    provider: str | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    max_seconds: float = 60.0,
) -> Latency:
    """Time one inference of each model: medians and interquartile ranges, in milliseconds.

    before, after  protobufs, or paths (for external data and models over 2 GB)
    runs           of each model; fewer (at least one) when `max_seconds` is over
    warmup         runs of each that are not counted
    threads        of one inference; 0 lets the runtime choose
    runtime        `onnxruntime` or, where that is installed, `openvino`
    provider       execution provider of ONNX Runtime, or device of OpenVINO; the CPU by default
    shapes         of inputs by name; free extents default to batch 1 and 224, or to the
                   first of the usual sizes that the original accepts

    `ratio` of the result is before / after: above 1, the new model is faster.
    The feeds are the same on each call.

    Raises
    ------
    UsageError         an option out of range, a runtime or provider that is not there, an
                       unknown input
    ModelError         a file that can't be read as ONNX
    RuntimeFailure     the original does not load or run
    VerificationError  the model after does not load or run where the original does
    """
    _check(runs, warmup, threads, max_seconds)
    chosen = runtime_of(runtime, provider)
    original = before if isinstance(before, onnx.ModelProto) else read_model(before)
    signature = read_signature(original)
    old = _session(chosen, before, threads)
    if isinstance(old, Exception):
        raise RuntimeFailure(f"the original model itself does not load: {one_line(old)}") from old
    new = _session(chosen, after, threads)
    if isinstance(new, Exception):
        raise VerificationError(f"the optimized model does not load: {one_line(new)}") from new
    feeds = _runnable(old, signature, original.graph, shapes or {})
    failure = _attempt(new, feeds)
    if failure:
        raise VerificationError(
            f"the optimized model does not run: {one_line(failure)}"
        ) from failure
    times = _interleaved((old, new), feeds, runs=runs, warmup=warmup, max_seconds=max_seconds)
    (old_ms, old_spread), (new_ms, new_spread) = (_summary(t) for t in times)
    return Latency(
        before_ms=old_ms,
        after_ms=new_ms,
        before_spread_ms=old_spread,
        after_spread_ms=new_spread,
        ratio=old_ms / new_ms,
        runs=len(times[0]),
        threads=threads,
        provider=chosen.place,
    )


def _check(runs: int, warmup: int, threads: int, max_seconds: float) -> None:
    if runs < 1:
        raise UsageError(f"runs={runs} measures nothing: give 1 or more")
    if warmup < 0 or threads < 0:
        raise UsageError(f"warmup={warmup} and threads={threads} must not be negative")
    if max_seconds <= 0:
        raise UsageError(f"max_seconds={max_seconds} leaves no time: give a positive number")


def _session(runtime: Runtime, model: Model, threads: int) -> Session | Exception:
    """A model that is loaded, or the error that the runtime gave instead."""
    # The exceptions of runtimes have no common base but Exception.
    try:
        return runtime.load(model, threads)
    except Exception as error:
        return error


def _runnable(
    session: Session,
    signature: Signature,
    graph: onnx.GraphProto,
    shapes: Mapping[str, Sequence[int]],
) -> dict[str, Feed]:
    """Feeds of the first of the usual sizes that the session runs."""
    given = check_shapes(signature, shapes)
    signature = refine(signature, graph)
    require_ranks(signature, given)
    sizes = [Size(b, (e, e)) for b, e in itertools.product(BATCHES, EXTENTS)]
    failure = Exception("it has no shapes to try")
    for candidate in unique_shapes(signature, given, sizes):
        for integers in INTEGER_RANGES:
            feeds = make(signature.specs(candidate), Fill(integers=integers))
            rejected = _attempt(session, feeds)
            if rejected is None:
                return feeds
            failure = rejected
    raise RuntimeFailure(
        f"the original model itself does not run: {one_line(failure)}; give --shape"
    ) from failure


def _attempt(session: Session, feeds: dict[str, Feed]) -> Exception | None:
    try:
        session.run(None, feeds)
    except Exception as error:
        return error
    return None


def _interleaved(
    sessions: tuple[Session, Session],
    feeds: dict[str, Feed],
    *,
    runs: int,
    warmup: int,
    max_seconds: float,
) -> tuple[list[float], list[float]]:
    """Seconds of each counted run of each session; as many of the one as of the other."""
    times: tuple[list[float], list[float]] = ([], [])
    deadline = time.perf_counter() + max_seconds
    for turn in range(-warmup, runs):
        late = time.perf_counter() > deadline
        if late and times[0]:
            break
        if late and turn < 0:
            continue
        for session, taken in zip(sessions, times, strict=True):
            started = time.perf_counter()
            session.run(None, feeds)
            if turn >= 0:
                taken.append(time.perf_counter() - started)
    return times


def _summary(seconds: list[float]) -> tuple[float, float]:
    """Median and interquartile range in milliseconds; the range of a single run is 0."""
    if len(seconds) < 2:
        return 1e3 * seconds[0], 0.0
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return 1e3 * statistics.median(seconds), 1e3 * (high - low)
