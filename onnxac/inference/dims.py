"""Shapes: numbers where they are static, formulas over a root where they are dynamic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnxac.algebra import Axis


@dataclass(frozen=True, slots=True)
class Extent:
    """A dynamic extent: ⌊(up·(root − 1) + extent) / stride⌋ + 1, as a window makes it."""

    root: str
    up: int = 1
    stride: int = 1
    extent: int = 0

    def through(self, axis: Axis) -> Extent | None:
        """The number of outputs of `axis` over a source of this extent."""
        if axis.up != 1 and self.stride != 1:
            return None
        return Extent(
            self.root,
            self.up * axis.up,
            self.stride * axis.stride,
            self.extent * axis.up + axis.extent * self.stride,
        )

    def at(self, root: int) -> int:
        """Its value where the root has the value `root`."""
        return (self.up * (root - 1) + self.extent) // self.stride + 1

    def __str__(self) -> str:
        if (self.up, self.stride, self.extent) == (1, 1, 0):
            return self.root
        return f"({self.up}*({self.root}-1)+{self.extent})//{self.stride}+1"


Dim = int | Extent
Shape = tuple[Dim, ...]


def static(dims: Sequence[Dim]) -> list[int | None]:
    """The dims that are numbers; None for those that are dynamic."""
    return [d if isinstance(d, int) else None for d in dims]


def joined(shapes: Sequence[Shape | None], axis: int) -> list[Dim | None] | None:
    """Shape of a concatenation of which one operand at most is dynamic along `axis`."""
    known = [s for s in shapes if s is not None]
    if len(known) < len(shapes):
        return None
    dims: list[Dim | None] = list(known[0])
    moving = [d for s in known if isinstance(d := s[axis], Extent)]
    fixed = sum(d for s in known if isinstance(d := s[axis], int))
    if len(moving) == 1:
        dims[axis] = replace(moving[0], extent=moving[0].extent + fixed * moving[0].stride)
    else:
        dims[axis] = None if moving else fixed
    return dims
