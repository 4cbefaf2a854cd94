"""Kernels as pictures for the terminal: the branches, and the one kernel they became."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions
from rich.text import Text

from onnxac.render.lattice import Cell, Lattice
from onnxac.report import FusedOperator, Fusion

# Branches in the colours of every terminal; the kernel they became is drawn bold.
COLOURS = ("cyan", "magenta", "yellow", "blue", "green", "red")
LARGEST, MOST_BRANCHES, PICTURES = 7, 6, 3
FULL, EMPTY = "■ ", "· "


def pictures(fusions: Iterable[Fusion]) -> Iterator[Picture]:
    """A picture for each of the most common kinds of merged kernels, with how many there are."""
    operators = (o for fusion in fusions for o in fusion.operators if _is_drawable(o))
    for (lattice, parts), number in Counter(map(_kind, operators)).most_common(PICTURES):
        yield Picture(lattice, parts, number)


def _is_drawable(operator: FusedOperator) -> bool:
    taps = operator.taps
    return (
        len(taps) in (1, 2)
        and 1 < max(taps) <= LARGEST
        and min(taps) > 0
        and 1 < len(operator.branches) <= MOST_BRANCHES
    )


def _kind(operator: FusedOperator) -> tuple[Lattice, tuple[frozenset[Cell], ...]]:
    """The lattice, and the cells of each branch, the largest branch first."""
    rows, columns = (1, *operator.taps)[-2:]
    lattice = Lattice(rows, columns)
    parts = map(lattice.cells, operator.branches)
    return lattice, tuple(sorted(parts, key=lambda c: (-len(c), sorted(c))))


@dataclass(frozen=True)
class Picture:
    """A sum of kernels: side by side where there is room, else on several bands."""

    lattice: Lattice
    parts: tuple[frozenset[Cell], ...]
    number: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """The lines, for rich."""
        whole = frozenset[Cell]().union(*self.parts)
        kernels = [(part, COLOURS[i % len(COLOURS)]) for i, part in enumerate(self.parts)]
        kernels.append((whole, "bold"))
        # Each takes its cells, a blank, and the sign before it.
        room = max(1, options.max_width // (2 * self.lattice.columns + 3))
        lines: list[Text] = []
        for start in range(0, len(kernels), room):
            lines += [Text()] if lines else []
            lines += self._band(kernels, start, start + room)
        if self.number > 1:
            beside = lines[self.lattice.rows // 2 - self.lattice.rows]
            times = Text(f"   {self.number} times", "dim")
            if beside.cell_len + times.cell_len <= options.max_width:
                beside.append_text(times)
            else:
                lines.append(times)
        yield from lines

    def _band(
        self, kernels: list[tuple[frozenset[Cell], str]], start: int, end: int
    ) -> Iterator[Text]:
        last = len(kernels) - 1
        for y in range(self.lattice.rows):
            line = Text("", no_wrap=True)
            for i, (part, style) in list(enumerate(kernels))[start:end]:
                sign = "  " if i == 0 else "= " if i == last else "+ "
                line.append(sign if y == self.lattice.rows // 2 else "  ")
                for x in range(self.lattice.columns):
                    full = (y, x) in part
                    line.append(FULL if full else EMPTY, style if full else "dim")
                line.append(" ")
            line.rstrip()
            yield line
