"""Proof by running: two models, the same feeds, ONNX Runtime, and how far the results are apart.

The oracle is independent: it shares no code with the optimizer, and reads from the two
models no more than their signatures. Models run as they are written (graph optimizations
off), in a process of their own, so that a crash, a hang or a huge allocation is an error
message here.

**Feeds.** For each seed, normal values of both signs; all zeros (biases and borders);
sparse spikes (single taps). Free extents take several sizes, batch and odd and even
heights and widths; the same arrays on each call. A size that the original itself rejects
is skipped, with a sentence.

**Distance.** max |after − before| / max |before|, over one output of one run, and again over
each of its channels (slices along axis 1 or the last, of 64 values or more), so that an error
in scores is seen beside coordinates in the hundreds. NaN and the two infinities must be at
the same places. Integers, booleans and strings must be equal.

**Tolerance**, of each output, channel and run:

    max(m·ε, min(8·noise, ∛ε'))

ε is the spacing of the output's type (2⁻²³ for float32); m is 8, and 2 for the half
precisions, whose sums are formed in single. A fused block is under 5 ε off, so that is
all a healthy network gets: 9.5e-7 in float32, where one weight ×1.001 makes 3e-5. Only
an output further off has its noise measured: how far the *original* moves, on this very
feed, when its weights and inputs are off by one rounding (the larger of two draws). In
over 3,000 runs of exports, fused against original was up to 4 times that noise, half of
the time less than 1.6 times. ε' is the largest ε of the output and the weights: where
rounding eats more than two thirds of the digits, an output is rejected, and a channel is
judged with the whole only. A feed on which a last bit decides whether the original
overflows says nothing about this output, and is left out with a sentence. A tolerance
that the user gives is for the whole, and is not widened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from onnxac.disk import scratch
from onnxac.errors import RuntimeFailure, UsageError, VerificationError
from onnxac.proof.compare import epsilon
from onnxac.proof.feeds import (
    Model,
    Port,
    Signature,
    check_shapes,
    read_model,
    read_signature,
    to_bytes,
)
from onnxac.proof.noise import coarsest_epsilon, remove_noisy, write_noisy
from onnxac.proof.process import Worker
from onnxac.proof.trial import AFTER, BEFORE, Trial
from onnxac.report import Verification
from onnxac.wire import is_large

__all__ = ["raise_if_failed", "verify"]

ONNX_RUNTIME, REFERENCE = "onnxruntime", "reference"


def verify(
    before: Model,
    after: Model,
    *,
    seeds: int = 3,
    shapes: Mapping[str, Sequence[int]] | None = None,
    tolerance: float | None = None,
    timeout: float = 600,
    memory_limit: int | None = None,
) -> Verification:
    """Run two models on the same feeds and measure how far their outputs are apart.

    before, after  protobufs, or paths (for external data and models over 2 GB)
    seeds          how many random feeds there are at the first size
    shapes         inputs that are run at this shape only, by name
    tolerance      largest relative difference, in place of the one derived; 0 is equality
    timeout        seconds for all of it
    memory_limit   bytes for both models and their tensors (Linux; default: physical memory)

    The result says whether it passed; `raise_if_failed` turns it into an error. Its
    `skipped` also holds a sentence for whatever could not be compared, or differs in a
    way that is no number.

    Raises
    ------
    UsageError         an option out of range, an unknown input, a model that needs its path
    ModelError         a file that can't be read as ONNX
    RuntimeFailure     the original does not run, or the process crashed or ran out of
                       its time or memory
    VerificationError  inputs or outputs differ in name or type, or the optimized model
                       does not run where the original does
    """
    if seeds < 1:
        raise UsageError(f"seeds={seeds} compares nothing: give 1 or more")
    if tolerance is not None and not 0 <= tolerance < 1:
        raise UsageError(f"tolerance={tolerance} must be at least 0 and less than 1")
    with scratch() as workspace:
        folder = workspace.path
        original, source = _at_path(before, folder / "before.onnx")
        optimized, target = _at_path(after, folder / "after.onnx")
        signature = _common_signature(original, optimized)
        given = check_shapes(signature, shapes or {})
        with Worker(timeout, memory_limit) as worker:
            mapped = None
            if is_large(source):
                mapped = folder / "mapped.onnx"
                mapped.write_bytes(original.SerializeToString())
            backend = _load_both(worker, signature, source, target, mapped)

            def load_noisy(key: str, seed: int) -> bool:
                path = folder / f"{key}.onnx"
                written = write_noisy(original, source, path, seed)
                loaded = written and worker.load(key, path, backend) is None
                # It is in memory now, or mapped: the disk need not hold two of them.
                remove_noisy(path)
                return loaded

            coarsest = coarsest_epsilon(original)
            caps = {
                p.name: max(epsilon(p.dtype) or 0.0, coarsest) ** (1 / 3) for p in signature.outputs
            }
            trial = Trial(worker, signature, load_noisy, caps, tolerance)
            trial.compare(given, seeds)
            return Verification(
                outputs=tuple(
                    trial.worst[p.name] for p in signature.outputs if p.name in trial.worst
                ),
                runs=trial.runs,
                shapes=tuple(trial.shapes),
                runtime=_runtime(worker, backend),
                skipped=tuple(trial.notes),
            )


def raise_if_failed(verification: Verification) -> None:
    """Raise VerificationError, in one line, unless the models were compared and are equal."""
    worst = verification.worst
    if worst is None:
        why = "; ".join(verification.skipped) or "the model has no outputs"
        raise VerificationError(f"nothing could be compared: {why}")
    if verification.passed:
        return
    for sentence in verification.skipped:
        # A difference that is no number (a shape, a NaN) was put down in words.
        if sentence.startswith(f"output {worst.name!r} "):
            raise VerificationError(sentence)
    raise VerificationError(
        f"output {worst.name!r} is off by {worst.max_abs:.3g}, {worst.relative:.2g} of its "
        f"largest magnitude; the tolerance is {worst.tolerance:.2g}"
    )


def _at_path(model: Model, spare: Path) -> tuple[onnx.ModelProto, Path]:
    """The protobuf without its external data, and a file with it: its own, or `spare`."""
    if not isinstance(model, onnx.ModelProto):
        proto, path = read_model(model), Path(model)
        # What is left in a large file is named by the file's own name.
        return proto, path.resolve() if is_large(path) else path
    spare.write_bytes(to_bytes(model))
    return model, spare


def _common_signature(original: onnx.ModelProto, optimized: onnx.ModelProto) -> Signature:
    before, after = read_signature(original), read_signature(optimized)
    _require_same("inputs", before.inputs, after.inputs)
    _require_same("outputs", before.outputs, after.outputs)
    return before


def _require_same(what: str, before: Sequence[Port], after: Sequence[Port]) -> None:
    old, new = ([f"{p.name} ({p.type})" for p in ports] for ports in (before, after))
    if old != new:
        raise VerificationError(
            f"the {what} of the optimized model are {', '.join(new) or 'none'}; "
            f"those of the original are {', '.join(old) or 'none'}"
        )


def _load_both(
    worker: Worker, signature: Signature, source: Path, target: Path, mapped: Path | None
) -> str:
    """Load both models into the runtime that has the original's operators; its name.

    mapped  the original, its weights left in `source`: so that they need no memory. The other
            one is loaded as it is on the disk, since that is what is to be proven
    """
    # NumPy's own types only: ONNX Runtime neither takes nor gives bfloat16 and float8 arrays.
    foreign = any(p.dtype.kind == "V" for p in (*signature.inputs, *signature.outputs))
    backend = REFERENCE if foreign else ONNX_RUNTIME
    if mapped is not None and backend == ONNX_RUNTIME:
        rejected = worker.load(BEFORE, mapped, backend, data=source.parent)
    else:
        rejected = worker.load(BEFORE, source, backend)
    if rejected and rejected.unimplemented:
        backend = REFERENCE
        rejected = worker.load(BEFORE, source, backend)
    if rejected:
        raise RuntimeFailure(f"the original model itself does not run: {rejected.reason}")
    rejected = worker.load(AFTER, target, backend)
    if rejected:
        raise VerificationError(f"the optimized model does not load: {rejected.reason}")
    return backend


def _runtime(worker: Worker, backend: str) -> str:
    if backend == ONNX_RUNTIME:
        return f"onnxruntime {worker.version}, CPU, optimizations off"
    return (
        f"onnx {onnx.__version__} reference evaluator "
        f"(onnxruntime {worker.version} lacks an operator or a type of the model)"
    )
