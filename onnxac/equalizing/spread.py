"""What channels are likely to hold, told from the weights alone.

The inputs of a model are taken as normal values of mean 0 and variance 1. A sum of many products
is normal; a Relu cuts it; all taps and channels count as independent. That is far from exact, but
what is asked of it is only which channels of a tensor are much wider than others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxac.equalizing.channels import Slots, Values
from onnxac.equalizing.weighted import Floats

# How many standard deviations are in a range.
_WIDE = 3.0
_ERF = np.vectorize(math.erf, otypes=[np.float64])


@dataclass(frozen=True)
class Spread:
    """Mean and variance of each channel, [channels] or [1]; `least` is below nothing it holds."""

    mean: Floats
    variance: Floats
    positive: bool = False

    @property
    def range(self) -> Floats:
        """The largest magnitude that is to be expected of each channel."""
        reach = _WIDE * np.sqrt(self.variance)
        low = np.where(self.positive, 0.0, np.abs(self.mean - reach))
        return np.maximum(np.abs(self.mean + reach), low)

    @property
    def square(self) -> Floats:
        """Mean square of each channel."""
        return self.variance + self.mean**2

    def weighted(self, blocks: Values, bias: Values) -> Spread:
        """Of what a weight [groups, outputs, inputs, taps] and a bias [outputs] make of it."""
        groups, _, inputs, _ = blocks.shape
        mean, variance = (
            np.broadcast_to(m, groups * inputs).reshape(groups, inputs)
            for m in (self.mean, self.variance)
        )
        sums = blocks.sum(axis=3, dtype=np.float64)
        squares = np.square(blocks, dtype=np.float64).sum(axis=3)
        return Spread(
            np.einsum("goi,gi->go", sums, mean).reshape(-1) + bias.reshape(-1),
            np.einsum("goi,gi->go", squares, variance).reshape(-1),
        )

    def through(self, op: str, channels: Slots) -> Spread:
        """Of what an operator without weights makes of it, channel by channel; -1 is of zeros."""
        count = max(self.mean.size, int(channels.max(initial=-1)) + 1)
        mean, variance = (
            np.append(np.broadcast_to(m, count), 0.0)[channels] for m in (self.mean, self.variance)
        )
        moved = Spread(mean, variance, self.positive)
        return moved.rectified() if op in ("Relu", "Clip") else moved

    def rectified(self) -> Spread:
        """Of max(x, 0), for a normal x."""
        if self.positive:
            return self
        deviation = np.sqrt(np.maximum(self.variance, np.finfo(float).tiny))
        at = self.mean / deviation
        below = 0.5 * (1 + _ERF(at / math.sqrt(2)))
        density = np.exp(-at * at / 2) / math.sqrt(2 * math.pi)
        mean = self.mean * below + deviation * density
        square = (self.mean**2 + self.variance) * below + self.mean * deviation * density
        return Spread(mean, np.maximum(square - mean**2, 0.0), positive=True)


UNKNOWN = Spread(np.zeros(1), np.ones(1))


def total(parts: Sequence[Spread]) -> Spread:
    """Of a sum."""
    return Spread(
        np.asarray(sum(p.mean for p in parts)),
        np.asarray(sum(p.variance for p in parts)),
        all(p.positive for p in parts),
    )


def beside(parts: Sequence[tuple[Spread, int]]) -> Spread:
    """Of channels one after the other, so many of each."""
    return Spread(
        np.concatenate([np.broadcast_to(p.mean, n) for p, n in parts]),
        np.concatenate([np.broadcast_to(p.variance, n) for p, n in parts]),
        all(p.positive for p, _ in parts),
    )
