"""Activations by plain definitions, and how far they let two inputs come out apart."""

from __future__ import annotations

import numpy as np

from onnxac.proof.certificate.calls import Call, UnknownOperatorError
from onnxac.proof.certificate.cut import Array


def rectify(call: Call) -> Array:
    """Relu. It moves nothing further apart, so a bound on its input is one on its output."""
    return np.maximum(call.live(0), 0.0)


def bound(call: Call) -> Array:
    """Max and Min: of a tensor and a constant as `rectify`, which is one of them."""
    choose = np.maximum if call.op == "Max" else np.minimum
    values = [call.value(i) for i in range(len(call.args))]
    live = [i for i, v in enumerate(values) if v.live]
    if len(live) > 1:
        raise UnknownOperatorError(f"{call.op} of two tensors that depend on the input")
    # A constant with more axes would meet the axis of probes.
    if live and any(v.array.ndim >= values[live[0]].array.ndim for v in values if not v.live):
        raise UnknownOperatorError(f"{call.op} gives the tensor further axes")
    arrays = np.broadcast_arrays(*(v.array for v in values))
    if call.folds:
        return np.asarray(choose.reduce(arrays))
    return arrays[live[0]] if call.absolute else np.asarray(choose.reduce(arrays))


def clip(call: Call) -> Array:
    """Clip, and HardSwish: x·clip(x/6 + 1/2, 0, 1), whose slope is 3/2 at most."""
    x = call.live(0)
    if call.op == "HardSwish":
        return 1.5 * x if call.absolute else x * np.clip(x / 6 + 0.5, 0, 1)
    if call.absolute:
        return x
    bounds = [
        np.asarray(call.get(name, wide)) if not call.has(at) else call.constant(at)
        for at, (name, wide) in enumerate((("min", -np.inf), ("max", np.inf)), start=1)
    ]
    # Where the bounds are the wrong way round, the upper one counts.
    return np.asarray(np.minimum(np.maximum(x, bounds[0]), bounds[1]))
