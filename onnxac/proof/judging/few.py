"""Channels of too few values for one run to tell.

The largest error of a hundred values is a measure; that of the one value which a class has among
1,000 logits says as much about that value's luck in this run. So the extremes of such channels
are gathered over all runs, each in terms of the whole tensor's magnitude in its run, and
judged once, with a tolerance of half the digits: it is a lost column that is looked for, a
score beside coordinates, not a rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from onnxac.proof.judging.compare import CHANNEL_SIZE, LARGEST, Array, Gap

Key = tuple[int, int]


@dataclass
class Channels:
    """What all runs showed of the channels along one axis, in terms of the whole tensor.

    distances, scales  an array of a number per channel for each run
    runs               which runs these are
    wholes             the whole tensor's magnitude in each
    """

    distances: list[Array] = field(default_factory=list)
    scales: list[Array] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    wholes: list[float] = field(default_factory=list)

    def usual(self) -> Array:
        """The usual magnitude of each channel, [runs, channels]: in a run, and over all of them.

        The median: in a run of zeros a channel may be all that there is.
        """
        scales = np.stack(self.scales)
        return np.asarray(np.maximum(scales, np.median(scales, axis=0)))


@dataclass
class FewValues:
    """What is known of one tensor's small channels, by axis and number of channels."""

    known: dict[Key, Channels] = field(default_factory=dict)

    def gather(self, gap: Gap, run: int) -> None:
        """Add what one run showed."""
        for key, start, stop in slices(gap):
            distances, scales = shares(gap, start, stop)
            channels = self.known.setdefault(key, Channels())
            channels.distances.append(distances)
            channels.scales.append(scales)
            channels.runs.append(run)
            channels.wholes.append(float(gap.scales[0]))

    def suspects(self, epsilon: float) -> dict[Key, Array]:
        """Where channels are off by more than half of a type's digits, [runs, channels] each."""
        tolerance = few_tolerance(epsilon)
        found = {k: np.stack(c.distances) > tolerance * c.usual() for k, c in self.known.items()}
        return {k: which for k, which in found.items() if which.any()}


def few_tolerance(epsilon: float) -> float:
    """What such a channel may be off, in terms of its own magnitude over all runs."""
    return math.sqrt(epsilon)


def slices(gap: Gap) -> list[tuple[Key, int, int]]:
    """Axis and length of each axis of small channels, and where its entries are in the arrays."""
    found: list[tuple[Key, int, int]] = []
    if not gap.scales[0]:
        # Zeros have no channels that are larger than others.
        return found
    start = 1
    for axis in gap.axes if len(gap.distances) > 1 else ():
        if axis.values < CHANNEL_SIZE:
            found.append(((axis.axis, axis.length), start, start + axis.length))
        start += axis.length
    return found


def shares(gap: Gap, start: int, stop: int) -> tuple[Array, Array]:
    """Distances and magnitudes of some channels, in terms of the whole tensor's magnitude."""
    whole = max(float(gap.scales[0]), gap.floor)
    scales = np.maximum(gap.scales[start:stop], gap.floor)
    with np.errstate(over="ignore"):
        distances = np.minimum(gap.distances[start:stop] / whole, LARGEST)
    return distances, scales / whole
