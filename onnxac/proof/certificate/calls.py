"""One node as the evaluator hands it to an operator."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from onnxac.proof.certificate.cut import Array
from onnxac.proof.certificate.windowed import Impulses, impulses


class UnknownOperatorError(Exception):
    """What a node does is not known here, or is not affine in the sources. Says what."""


@dataclass(frozen=True)
class Value:
    """An array, and whether it depends on a source (and has the axis of probes)."""

    array: Array
    live: bool

    @cached_property
    def impulses(self) -> Impulses | None:
        """Where it is not zero, if that is at few places; found once for all its readers."""
        return impulses(self.array.reshape(-1, *self.array.shape[2:]))


@dataclass(frozen=True)
class Call:
    """One node with what it is given."""

    op: str
    attributes: dict[str, Any]
    args: tuple[Value | None, ...]
    opset: int
    shift: bool = True
    absolute: bool = False
    outputs: int = 1

    def has(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self.args) and self.args[index] is not None

    def value(self, index: int) -> Value:
        """An input that has to be there."""
        if not self.has(index):
            raise UnknownOperatorError(f"{self.op} lacks its input {index}")
        return self.args[index]  # type: ignore[return-value]

    def live(self, index: int) -> Array:
        """An input that depends on a source."""
        value = self.value(index)
        if not value.live:
            raise UnknownOperatorError(f"{self.op} takes a constant where a tensor is expected")
        return value.array

    def constant(self, index: int) -> Array:
        """An input that does not."""
        value = self.value(index)
        if value.live:
            raise UnknownOperatorError(f"{self.op} takes weights that depend on the input")
        return value.array

    def factor(self, index: int) -> Array:
        """A constant to multiply by."""
        array = self.constant(index)
        return np.abs(array) if self.absolute else array

    def addend(self, index: int) -> Array:
        """A constant to add."""
        return self.added(self.constant(index))

    def added(self, array: Array) -> Array:
        """A constant that is added, as far as it counts."""
        if not self.shift:
            return np.zeros_like(array)
        return np.abs(array) if self.absolute else array

    def ints(self, name: str, index: int | None, default: Any = None) -> Any:
        """A list of integers, from an attribute or, in newer opsets, from an input."""
        if name in self.attributes:
            return list(self.attributes[name])
        if index is not None and self.has(index):
            return [int(v) for v in self.constant(index).reshape(-1)]
        return default

    def get(self, name: str, default: Any) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    @property
    def folds(self) -> bool:
        """Whether no input depends on a source: plain arithmetic."""
        return not any(a is not None and a.live for a in self.args)
