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

Cells = set[tuple[int, ...]]


def pictures(fusions: Iterable[Fusion]) -> Iterator[Text]:
    """A picture for each of the most common kinds of merged kernels, with how many there are."""
    kinds: Counter[tuple[tuple[int, ...], tuple[frozenset[tuple[int, ...]], ...]]] = Counter()
    for operator in (o for fusion in fusions for o in fusion.operators):
        if _is_drawable(operator):
            cells = sorted((_cells(b) for b in operator.branches), key=lambda c: (-len(c), sorted(c)))
            kinds[operator.taps, tuple(map(frozenset, cells))] += 1
    for (taps, parts), number in kinds.most_common(PICTURES):
        yield _picture(taps, parts, number)


def _is_drawable(operator: FusedOperator) -> bool:
    taps = operator.taps
    return (
        len(taps) in (1, 2)
        and 1 < max(taps) <= LARGEST
        and 1 < len(operator.branches) <= MOST_BRANCHES
    )


def _cells(branch: Branch) -> Cells:
    axes = zip(branch.taps, branch.dilation, branch.origin, strict=True)
    return set(product(*(range(o, o + t * d, d) for t, d, o in axes)))


def _picture(
    taps: Sequence[int], parts: Sequence[frozenset[tuple[int, ...]]], number: int
) -> Text:
    height, width = (1, *taps)[-2:]
    whole = frozenset[tuple[int, ...]]().union(*parts)
    lines = []
    for y in range(height):
        signs = ("+", "=") if y == height // 2 else (" ", " ")
        line = Text("  ")
        for i, part in enumerate(parts):
            line.append(f"{signs[0]} " if i else "")
            _row(line, part, y, width, len(taps), COLOURS[i % len(COLOURS)])
        line.append(f"{signs[1]} ")
        _row(line, whole, y, width, len(taps), "bold")
        if number > 1 and y == height // 2:
            line.append(f" {number} times", "dim")
        lines.append(line)
    return Text("\n").join(lines)


def _row(
    line: Text, part: frozenset[tuple[int, ...]], y: int, width: int, rank: int, style: str
) -> None:
    for x in range(width):
        full = ((y, x) if rank == 2 else (x,)) in part
        line.append(FULL if full else EMPTY, style if full else "dim")
    line.append(" ")
