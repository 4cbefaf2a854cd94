"""Which channels have to share one factor, and which have to keep the factor 1.

Every channel of every tensor is a number, a slot. Where an operator hands channels on, its output
has the slots of its input, in whatever order; where channels meet in a sum, their slots become
one. A slot is pinned, with a reason, where a factor can't pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

Slots = NDArray[np.int64]
Values = NDArray[Any]


@dataclass(frozen=True)
class Channels:
    """The channels of one tensor.

    axis   the axis that they are on, counted from the front
    slots  the slot of each, [extent of the axis]
    """

    axis: int
    slots: Slots


@dataclass(frozen=True)
class Stop:
    """Why factors of a tensor have to be 1.

    node    where they stop
    reason  a sentence
    """

    node: gs.Node
    reason: str


class Union:
    """All slots, those that have to be equal joined, and the stops."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._stops: dict[int, Stop] = {}

    def __len__(self) -> int:
        return len(self._parents)

    def new(self, count: int) -> Slots:
        """That many slots, free of each other."""
        first = len(self._parents)
        self._parents += range(first, first + count)
        return np.arange(first, first + count)

    def root(self, slot: int) -> int:
        """The slot that stands for all that are equal to this one."""
        parents = self._parents
        while parents[slot] != slot:
            parents[slot] = parents[parents[slot]]
            slot = parents[slot]
        return slot

    def join(self, first: Slots, second: Slots) -> None:
        """Let slots be equal, one by one."""
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            one, other = sorted((self.root(a), self.root(b)))
            if one != other:
                self._parents[other] = one
                stop = self._stops.pop(other, None)
                if stop is not None:
                    self._stops.setdefault(one, stop)

    def pin(self, slots: Slots, stop: Stop) -> None:
        """Let the factors of slots be 1. The first reason is kept."""
        for slot in slots.tolist():
            self._stops.setdefault(self.root(slot), stop)

    def stop(self, slot: int) -> Stop | None:
        """Why the factor of a slot has to be 1; None where it is free."""
        return self._stops.get(self.root(slot))

    def roots(self, slots: Slots) -> Slots:
        """The root of each slot."""
        return np.array([self.root(s) for s in slots.tolist()], np.int64)
