"""Where the taps of branches land on the kernel that they became."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from onnxac.report import Branch

# A row and a column.
Cell = tuple[int, int]
LARGEST = 99


@dataclass(frozen=True)
class Lattice:
    """A kernel's cells in two dimensions: a third axis becomes slices side by side."""

    rows: int
    columns: int
    slices: int = 1

    @staticmethod
    def of(taps: tuple[int, ...]) -> Lattice | None:
        """The lattice of a kernel; None for a shape that can't be drawn."""
        if not 1 <= len(taps) <= 3 or min(taps) < 1 or max(taps) > LARGEST:
            return None
        depth, rows, columns = (1, 1, 1, *taps)[-3:]
        return Lattice(rows, columns, depth)

    @property
    def width(self) -> int:
        """Columns of all slices, and a gap between every two."""
        return self.slices * (self.columns + 1) - 1

    def cells(self, branch: Branch) -> frozenset[Cell]:
        """Where a branch's taps land. What a report puts outside of the kernel does not."""
        # Axes that the kernel does not have, or that a report leaves out, have one tap.
        padded = [
            *[(1, 1, 0)] * 3,
            *zip(branch.taps, branch.dilation, branch.origin, strict=False),
        ][-3:]
        extents = (self.slices, self.rows, self.columns)
        axes = [
            [n for n in range(extent) if _lands(n - origin, taps, step)]
            for extent, (taps, step, origin) in zip(extents, padded, strict=True)
        ]
        return frozenset(self._place(position) for position in product(*axes))

    def all_cells(self) -> list[Cell]:
        """Every cell, row by row."""
        every = product(range(self.slices), range(self.rows), range(self.columns))
        return sorted(self._place(position) for position in every)

    def _place(self, position: tuple[int, ...]) -> Cell:
        depth, row, column = position
        return row, depth * (self.columns + 1) + column


def _lands(distance: int, taps: int, step: int) -> bool:
    return step > 0 and distance >= 0 and distance % step == 0 and distance // step < taps
