"""What is to be solved: a variable for each free factor, and the layers that it stands in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxac.equalizing.channels import Slots
from onnxac.equalizing.scaled import Weight
from onnxac.equalizing.walk import Walk
from onnxac.equalizing.weighted import Floats

Variables = NDArray[np.int64]
# What hands a tensor on as it is: a runtime quantizes its result, not what it reads.
HANDED_ON = {
    "Relu", "Clip", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity",
    "Dropout",
}  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A weight of groups, outputs and inputs, G, O and I, and the factors that it stands in.

    largest, energy  over the taps of a weight, the largest magnitude and the squares [G, O, I]
    taps             how many there are
    rows, columns    variables, [G·O] and [G·I]; -1 where the factor is 1
    squares          mean square of each input channel, [G·I]
    importance       what error of each output channel makes of the next layer's, [G·O]
    """

    largest: Floats
    energy: Floats
    taps: int
    rows: Variables
    columns: Variables
    squares: Floats
    importance: Floats


@dataclass(frozen=True)
class Activation:
    """A tensor between layers, which is to be quantized as a whole; arrays are [channels]."""

    variables: Variables
    ranges: Floats
    squares: Floats
    importance: Floats
    positive: bool


@dataclass(frozen=True)
class Block:
    """Variables that are looked at together, and all layers and activations that they are in."""

    variables: Variables
    layers: tuple[int, ...]
    activations: tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """Everything at once. `roots` has the root slot of each variable."""

    roots: tuple[int, ...]
    layers: tuple[Layer, ...]
    activations: tuple[Activation, ...]
    blocks: tuple[Block, ...]


class _Maker:
    def __init__(self, found: Walk) -> None:
        self.found = found
        self.numbers: dict[int, int] = {}
        self.importance: dict[int, float] = defaultdict(float)
        for weight in found.weights:
            if weight.columns is not None:
                energy = weight.energy.sum(axis=1).reshape(-1).tolist()
                roots = found.union.roots(weight.columns).tolist()
                for root, own in zip(roots, energy, strict=True):
                    self.importance[root] += own

    def variables(self, slots: Slots | None, count: int) -> Variables:
        union, numbers = self.found.union, self.numbers
        if slots is None:
            return np.full(count, -1)
        return np.array(
            [
                -1 if union.stop(r) else numbers.setdefault(r, len(numbers))
                for r in union.roots(slots).tolist()
            ],
            np.int64,
        )

    def important(self, slots: Slots | None, count: int) -> Floats:
        if slots is None:
            return np.ones(count)
        known = self.importance
        return np.array([known.get(r, 1.0) for r in self.found.union.roots(slots).tolist()])

    def layer(self, weight: Weight) -> Layer:
        groups, outputs, inputs = weight.largest.shape
        return Layer(
            weight.largest,
            weight.energy,
            weight.taps,
            self.variables(weight.rows, groups * outputs),
            self.variables(weight.columns, groups * inputs),
            np.broadcast_to(weight.source.square, groups * inputs),
            self.important(weight.rows, groups * outputs),
        )

    def activation(self, name: str) -> Activation:
        slots, spread = self.found.channels[name].slots, self.found.spreads[name]
        return Activation(
            self.variables(slots, slots.size),
            np.broadcast_to(spread.range, slots.size),
            np.broadcast_to(spread.square, slots.size),
            self.important(slots, slots.size),
            spread.positive,
        )


def problem_of(found: Walk) -> Problem:
    """The problem that a walk over a graph leaves."""
    maker = _Maker(found)
    layers = tuple(maker.layer(w) for w in found.weights)
    read = {n for n, ops in found.readers.items() if not ops <= HANDED_ON}
    activations = tuple(maker.activation(n) for n in found.channels if n in read)
    blocks = _blocks(layers, activations, len(maker.numbers))
    return Problem(tuple(maker.numbers), layers, activations, blocks)


def _blocks(
    layers: Sequence[Layer], activations: Sequence[Activation], count: int
) -> tuple[Block, ...]:
    """Variables that are rows, or columns, of one weight, or stand in one activation."""
    owner = np.arange(count)
    lists = [v for layer in layers for v in (layer.rows, layer.columns)]
    for variables in (*lists, *(a.variables for a in activations)):
        own = np.unique(owner[variables[variables >= 0]])
        if own.size > 1:
            owner[np.isin(owner, own)] = own[0]
    found = []
    for first in np.unique(owner).tolist():
        own = np.flatnonzero(owner == first)
        found.append(
            Block(
                own,
                tuple(
                    i
                    for i, layer in enumerate(layers)
                    if np.isin(own, layer.rows).any() or np.isin(own, layer.columns).any()
                ),
                tuple(i for i, a in enumerate(activations) if np.isin(own, a.variables).any()),
            )
        )
    return tuple(found)
