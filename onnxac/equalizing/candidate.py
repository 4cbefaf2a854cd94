"""Factors that are thought of, as whoever tries them needs them: for a graph that has none yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxac.equalizing.scaling import Scaler
from onnxac.equalizing.walk import Walk
from onnxac.equalizing.weighted import Floats


@dataclass(frozen=True)
class Candidate:
    """What factors come to in a graph that is not scaled.

    weights  weight → what its elements would be multiplied by, in a shape that fits it
    tensors  tensor → the axis of its channels, counted from the end, and what each of these
             would be divided by
    """

    weights: Mapping[str, Floats]
    tensors: Mapping[str, tuple[int, Floats]]


# Which of several candidates leaves the least noise in 8 bits; None where that can't be tried.
Judge = Callable[[Sequence[Candidate]], int | None]


def candidate(found: Walk, factors: Mapping[int, float]) -> Candidate:
    """The candidate that has these factors, logarithms (base 2) by their root slots."""
    scaler = Scaler(found, factors)
    weights = {}
    for weight in found.weights:
        groups, outputs, inputs = weight.largest.shape
        columns = scaler.factors(weight.columns, groups * inputs)
        rows = 1 / scaler.factors(weight.rows, groups * outputs)
        sides = (groups * inputs, outputs) if weight.form.columns else (groups * outputs, inputs)
        ones = np.ones((*sides, *[1] * (weight.rank - 2)))
        weights[weight.node.inputs[1].name] = weight.form.scaled(ones, columns, rows)
    tensors = {}
    for name, channels in found.channels.items():
        shape = found.scene.shape(name)
        if shape is not None:
            tensors[name] = (channels.axis - len(shape), scaler.factors(channels.slots))
    return Candidate(weights, tensors)
