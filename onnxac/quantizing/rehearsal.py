"""Candidates of factors, tried: what 8 bits would leave of a network, run on made-up inputs.

Each weight is rounded to 8 bits with one scale, and each tensor between operators to one of 255
steps of its range, as a runtime would with those factors. Factors and their inverses are put
around that, so nothing else changes, and all candidates are compared with one float result. Ranges
are those of the same inputs: normal values from a fixed seed, or the real ones that were given.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxac.equalizing import HANDED_ON, Candidate
from onnxac.errors import OnnxacError
from onnxac.inference.stored import read
from onnxac.options import Options
from onnxac.proof.running.feeds import MAGNITUDES, Fill, Shape
from onnxac.proof.running.loader import to_bytes_with
from onnxac.proof.running.process import Rejection, Worker
from onnxac.proof.running.signature import Signature, check_shapes, read_signature, require_ranks
from onnxac.proof.running.sizes import refine
from onnxac.proof.schedule import Run, first_runs
from onnxac.storage.disk import scratch

Array = NDArray[Any]

_FLOAT = "float"
# Inputs that candidates are tried on at most, and at least; in between it is so many bytes of
# weights and elements of inputs in all. By time it would be others on a busy machine.
_FEEDS, _LEAST, _WORK = 16, 2, 1 << 28
# What an element of an input costs beside a byte of the weights.
_PER_ELEMENT = 64
# Seconds of looking for a size that the model runs at.
_SEARCH = 10.0
# A model whose weights take more is not tried: each candidate is a model of its own.
_MOST_BYTES = 1 << 28
# Factors are taken that leave at most so much of the noise on so many of the inputs. Less tells
# nothing: calibrated on other inputs, the noise of the same network differs by as much.
_LEFT, _SHARE = 0.9, 0.8
_WEIGHT_STEPS, _TENSOR_STEPS = 127, 255


def rehearse(
    model: ModelProto, folder: Path | None, options: Options, candidates: Sequence[Candidate]
) -> int | None:
    """The candidate that leaves the least noise, of those that leave less than the first does.

    That has to hold on four inputs of five. Where it does for none, it is the first.

    folder  where external data of the model lies

    None where the model can't be run on made-up inputs, or is too large to be run so often.
    """
    if model.ByteSize() > _MOST_BYTES or _has_data(model):
        return None
    try:
        noise = _Rehearsal(model, folder or Path(), options).noise(candidates)
    except OnnxacError:
        # What is wrong with the model is said by the proof, which runs it as well.
        return None
    if noise is None:
        return None
    quieter = np.mean(noise <= _LEFT * noise[:, :1], axis=0) >= _SHARE
    # Beside the first, whose noise all others are measured by, there may be none.
    quieter[0] = not np.any(quieter[1:]) or not np.any(noise[:, 0])
    return int(np.argmin(np.where(quieter, noise.sum(axis=0), np.inf)))


def _has_data(model: ModelProto) -> bool:
    return any(t.data_location == TensorProto.EXTERNAL for t in model.graph.initializer)


class _Rehearsal:
    def __init__(self, model: ModelProto, folder: Path, options: Options) -> None:
        self._model, self._folder, self._options = model, folder, options
        graph = model.graph
        stored = {t.name for t in graph.initializer}
        self._stored = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
        made = [i.name for i in graph.input] + [o for n in graph.node for o in n.output]
        seen = {name for n in graph.node if n.op_type not in HANDED_ON for name in n.input}
        self._between = [name for name in made if name in seen and name not in stored]

    def noise(self, candidates: Sequence[Candidate]) -> Array | None:
        """Noise that each candidate leaves, in parts of the outputs; None where none runs.

        [inputs, candidates]
        """
        options = self._options
        signature = refine(read_signature(self._model), self._model.graph)
        given = check_shapes(signature, options.shapes)
        require_ranks(signature, given)
        with scratch() as place, Worker(options.timeout, None) as worker:

            def load(key: str, model: ModelProto, extra: Sequence[str]) -> bool:
                path = place.path / f"{key}.onnx"
                path.write_bytes(to_bytes_with(model, extra, is_file=True))
                libraries = options.custom_ops
                made = worker.load(key, path, "onnxruntime", libraries=libraries)
                path.unlink()
                return made is None

            if not load(_FLOAT, self._model, self._between):
                return None
            runs = list(_runs(worker, signature, given, options.inputs, self._model.ByteSize()))
            ranges = self._ranges(worker, signature, runs, candidates[0])
            keys = [str(i) for i in range(len(candidates))]
            for key, candidate in zip(keys, candidates, strict=True):
                if not load(key, self._in_bits(candidate, ranges), ()):
                    return None
            found = [
                _noise(worker, keys, [p.name for p in signature.outputs])
                for run in runs
                if _feed(worker, signature, run)
            ]
        known = [f for f in found if f is not None]
        return np.array(known) if known else None

    def _ranges(
        self, worker: Worker, signature: Signature, runs: Sequence[Run], candidate: Candidate
    ) -> dict[str, Array]:
        """Least and largest values over all runs, [2, channels] or [2]."""
        axes = {n: t[0] if (t := candidate.tensors.get(n)) else None for n in self._between}
        found: dict[str, Array] = {}
        for run in runs:
            if not _feed(worker, signature, run):
                continue
            for name, own in worker.ranges(_FLOAT, axes).items():
                # Channels are as many in each run: weights read them.
                low, high = found.get(name, own)
                found[name] = np.stack([np.minimum(low, own[0]), np.maximum(high, own[1])])
        return {n: r for n, r in found.items() if np.all(np.isfinite(r)) and np.any(r)}

    def _in_bits(self, candidate: Candidate, ranges: Mapping[str, Array]) -> ModelProto:
        """The model, weights and tensors rounded to what 8 bits hold under a candidate."""
        made = ModelProto()
        made.CopyFrom(self._model)
        for tensor in made.graph.initializer:
            if tensor.name in candidate.weights and tensor.name in self._stored:
                values = _rounded(read(tensor, self._folder), candidate.weights[tensor.name])
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        nodes: list[NodeProto] = []
        for name in (i.name for i in made.graph.input):
            nodes += self._pair(name, candidate, ranges, made)
        for node in made.graph.node:
            if node.op_type not in HANDED_ON:
                node.input[:] = [_behind(n) if n in ranges else n for n in node.input]
            nodes.append(node)
            for name in node.output:
                nodes += self._pair(name, candidate, ranges, made)
        copies = [NodeProto.FromString(n.SerializeToString()) for n in nodes]
        del made.graph.node[:]
        made.graph.node.extend(copies)
        if all(o.domain != "com.microsoft" for o in made.opset_import):
            made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        return made

    def _pair(
        self, name: str, candidate: Candidate, ranges: Mapping[str, Array], model: ModelProto
    ) -> list[NodeProto]:
        """What rounds a tensor, and the constants of it put into the model."""
        if name not in ranges:
            return []
        low, high = ranges[name]
        axis, factors = candidate.tensors.get(name, (-1, np.ones(1)))
        least, largest = min(float((low / factors).min()), 0.0), float((high / factors).max())
        step = (max(largest, 0.0) - least) / _TENSOR_STEPS
        per_channel = low.ndim > 0
        scales = np.asarray(step * factors if per_channel else step, np.float32)
        zeros = np.full(scales.shape, np.rint(-least / step), np.uint8)
        operands = []
        for what, values in (("scale", scales), ("zero", zeros)):
            operands.append(f"{_behind(name)}/{what}")
            model.graph.initializer.append(numpy_helper.from_array(values, operands[-1]))
        small = f"{_behind(name)}/small"
        more: dict[str, Any] = {"axis": axis} if per_channel else {}
        # The runtime's own operators are in every operator set, with a scale per channel.
        return [
            helper.make_node(op, [source, *operands], [target], domain="com.microsoft", **more)
            for op, source, target in (
                ("QuantizeLinear", name, small),
                ("DequantizeLinear", small, _behind(name)),
            )
        ]


def _behind(name: str) -> str:
    return f"{name}/in 8 bits"


def _rounded(values: Array, factors: Array) -> Array:
    """A weight as it is under factors, in 8 bits; without the factors again."""
    scaled = values * factors
    step = float(np.abs(scaled).max(initial=0.0)) / _WEIGHT_STEPS
    if not step:
        return values
    return np.asarray(np.rint(scaled / step) * step / factors).astype(values.dtype)


def _runs(
    worker: Worker,
    signature: Signature,
    given: Mapping[str, Shape],
    files: Sequence[Path],
    weights: int,
) -> Iterator[Run]:
    """What a candidate with so many bytes of weights is tried on; nothing where none runs."""
    if files:
        yield from (Run({}, Fill(), file=f) for f in files[:_FEEDS])
        return
    deadline = time.monotonic() + _SEARCH
    for run in first_runs(signature, given):
        if _feed(worker, signature, run):
            elements = sum(math.prod(shape) for shape in run.shapes.values())
            count = _WORK // (weights + _PER_ELEMENT * elements + 1)
            # Of one magnitude, that of an input which was normalized.
            for index in range(min(max(count, _LEAST), _FEEDS)):
                fill = Fill(seed=index * len(MAGNITUDES), integers=run.fill.integers)
                yield Run(run.shapes, fill)
            return
        if time.monotonic() > deadline:
            return


def _feed(worker: Worker, signature: Signature, run: Run) -> bool:
    """Run the float model; whether it does."""
    shapes = run.shapes or {p.name: () for p in signature.inputs}
    made = worker.feed(signature.specs(shapes), run.fill, run.file)
    return not isinstance(made, Rejection) and worker.run(_FLOAT) is None


def _noise(worker: Worker, keys: Sequence[str], outputs: Sequence[str]) -> list[float] | None:
    """Noise of each candidate on the feed that stands."""
    found = []
    for key in keys:
        noise = worker.noise(_FLOAT, key, outputs) if worker.run(key) is None else None
        if noise is None:
            return None
        found.append(noise)
    return found
