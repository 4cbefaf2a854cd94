"""Kernels as pictures for the terminal: the branches, and the one kernel they became."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from rich.text import Text

from onnxac.report import Branch, FusedOperator, Fusion

# Branches in the colours of every terminal; the kernel they became is drawn bold.
COLOURS = ("cyan", "magenta", "yellow", "blue", "green", "red")
LARGEST, MOST_BRANCHES, PICTURES = 7, 6, 3
FULL, EMPTY = "■ ", "· "

# Rows and columns that a branch has weights in.
Cells = frozenset[tuple[int, int]]


def pictures(fusions: Iterable[Fusion]) -> Iterator[Text]:
    """A picture for each of the most common kinds of merged kernels, with how many there are."""
    operators = (o for fusion in fusions for o in fusion.operators)
    kinds = Counter((_size(o), _parts(o)) for o in operators if _is_drawable(o))
    for (size, parts), number in kinds.most_common(PICTURES):
        yield _picture(size, parts, number)


def _is_drawable(operator: FusedOperator) -> bool:
    taps = operator.taps
    return (
        len(taps) in (1, 2)
        and 1 < max(taps) <= LARGEST
        and 1 < len(operator.branches) <= MOST_BRANCHES
    )


def _size(operator: FusedOperator) -> tuple[int, int]:
    height, width = (1, *operator.taps)[-2:]
    return height, width


def _parts(operator: FusedOperator) -> tuple[Cells, ...]:
    """The cells of each branch, the largest branch first."""
    return tuple(sorted(map(_cells, operator.branches), key=lambda c: (-len(c), sorted(c))))


def _cells(branch: Branch) -> Cells:
    axes = zip(branch.taps, branch.dilation, branch.origin, strict=True)
    ranges = [range(0, 1), *(range(o, o + t * d, d) for t, d, o in axes)]
    return frozenset((y, x) for y, x in product(*ranges[-2:]))


def _picture(size: tuple[int, int], parts: Sequence[Cells], number: int) -> Text:
    height, width = size
    whole = Cells().union(*parts)
    lines = []
    for y in range(height):
        middle = y == height // 2
        line = Text("  ")
        for i, part in enumerate(parts):
            if i:
                line.append("+ " if middle else "  ")
            line.append_text(_row(part, y, width, COLOURS[i % len(COLOURS)]))
        line.append("= " if middle else "  ").append_text(_row(whole, y, width, "bold"))
        if number > 1 and middle:
            line.append(f" {number} times", "dim")
        line.rstrip()
        lines.append(line)
    return Text("\n").join(lines)


def _row(part: Cells, y: int, width: int, style: str) -> Text:
    row = Text()
    for x in range(width):
        full = (y, x) in part
        row.append(FULL if full else EMPTY, style if full else "dim")
    return row.append(" ")
