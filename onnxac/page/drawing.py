"""One fused operator as a drawing: its branches on the left, the one kernel on the right.

All kernels are drawn on the fused kernel's lattice, so that each branch's taps stand where
they land. A cell that several branches feed has one band of colour for each.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby

from onnxac.render import numbers
from onnxac.render.lattice import Cell, Lattice
from onnxac.render.words import own_branches, steps
from onnxac.report import Branch, FusedOperator

from .html import Markup, join, tag

WIDTH = 320
# Where the labels end and the wires begin.
WIRES = 152
COLOURS = 8
# A branch may hold hundreds of nodes: as many of their types are named as fit.
OPS_WIDTH = 19
BRANCHES_SHOWN = 12


def colour(branch: int) -> str:
    """The class that paints things of one branch."""
    return f"b{branch % COLOURS + 1}"


@dataclass(frozen=True)
class Drawing:
    """What goes into an `<svg>` of `WIDTH` by `height`."""

    height: float
    content: Markup


def draw(operator: FusedOperator) -> Drawing | None:
    """The drawing of an operator; None for a kernel that can't be drawn."""
    lattice = Lattice.of(operator.taps)
    if lattice is None or not operator.branches:
        return None
    shown = own_branches(operator)[:BRANCHES_SHOWN]
    step = max(27.0, min(36.0, 180 / len(shown)))
    height = max(step * len(shown), 84) + 8
    kernel = _Grid(lattice, x=274, y=height / 2, room=(84, 78))
    first = (height - step * (len(shown) - 1)) / 2
    parts: list[Markup] = []
    for i, branch in enumerate(shown):
        parts += _branch(lattice, branch, i, first + i * step)
        parts.append(_wire(i, first + i * step, kernel))
    parts.append(_kernel(kernel, operator.branches))
    more = len(operator.branches) - len(shown)
    if more > 0:
        parts.append(_text(50, height - 1, f"and {more} more", "dim"))
    return Drawing(height, join(parts))


def _branch(lattice: Lattice, branch: Branch, i: int, y: float) -> list[Markup]:
    grid = _Grid(lattice, x=21, y=y, room=(40, 23))
    own = {cell: [i] for cell in lattice.cells(branch)}
    return [
        grid.base(),
        grid.bands(colour(i), [(c, n, 0, 1) for c, n, _ in _runs(lattice, own)]),
        grid.lines(),
        _text(50, y - 1.5, numbers.extent(branch.taps) + _dilated(branch), "strong"),
        _text(50, y + 9.5, steps(branch, OPS_WIDTH), "dim"),
    ]


def _wire(i: int, y: float, kernel: _Grid) -> Markup:
    end = kernel.x - 5
    middle, target = (WIRES + end) / 2, kernel.middle
    d = f"M{WIRES} {_n(y)}C{_n(middle)} {_n(y)} {_n(middle)} {_n(target)} {_n(end)} {_n(target)}"
    return tag("path", d=d, class_=f"wire {colour(i)}")


def _dilated(branch: Branch) -> str:
    spread = any(d > 1 for d, t in zip(branch.dilation, branch.taps, strict=False) if t > 1)
    return " dilated" if spread else ""


def _kernel(grid: _Grid, branches: tuple[Branch, ...]) -> Markup:
    lattice = grid.lattice
    feeds: dict[Cell, list[int]] = defaultdict(list)
    for i, branch in enumerate(branches):
        for cell in lattice.cells(branch):
            feeds[cell].append(i)
    bands: dict[str, list[tuple[Cell, int, float, float]]] = defaultdict(list)
    for cell, length, owners in _runs(lattice, feeds):
        for k, owner in enumerate(owners):
            share = 1 / len(owners)
            bands[colour(owner)].append((cell, length, k * share, share))
    return tag("g", grid.base(), *(grid.bands(kind, b) for kind, b in bands.items()), grid.lines())


def _runs(
    lattice: Lattice, feeds: dict[Cell, list[int]]
) -> list[tuple[Cell, int, tuple[int, ...]]]:
    """Neighbouring cells of a row that the same branches feed, as one run."""
    runs: list[tuple[Cell, int, tuple[int, ...]]] = []
    fed = (cell for cell in lattice.all_cells() if cell in feeds)
    # Constant along a run: the row, the owners, and the column less the rank.
    ranked = groupby(enumerate(fed), lambda e: (e[1][0], tuple(feeds[e[1]]), e[1][1] - e[0]))
    for (_, owners, _), group in ranked:
        cells = [cell for _, cell in group]
        runs.append((cells[0], len(cells), owners))
    return runs


class _Grid:
    """A lattice, scaled to fit its room and centred at a point."""

    def __init__(self, lattice: Lattice, x: float, y: float, room: tuple[float, float]) -> None:
        self.lattice = lattice
        self.pitch = min(room[0] / lattice.width, room[1] / lattice.rows, 0.46 * room[1])
        self.x = x - self.pitch * lattice.width / 2
        self.y = y - self.pitch * lattice.rows / 2
        self.middle = y

    def base(self) -> Markup:
        """All cells, empty."""
        p, n = self.pitch, self.lattice
        slices = "".join(
            _box(self.x + s * (n.columns + 1) * p, self.y, n.columns * p, n.rows * p)
            for s in range(n.slices)
        )
        return tag("path", d=slices, class_="cells")

    def bands(self, kind: str, bands: list[tuple[Cell, int, float, float]]) -> Markup:
        """Horizontal bands of one colour: part of a run of cells."""
        p = self.pitch
        boxes = (
            _box(self.x + c * p, self.y + (r + start) * p, length * p, share * p)
            for (r, c), length, start, share in bands
        )
        return tag("path", d="".join(boxes), class_=kind)

    def lines(self) -> Markup:
        """The borders between cells, over what was filled."""
        p, n = self.pitch, self.lattice
        width, height = n.width * p, n.rows * p
        d = "".join(f"M{_n(self.x)} {_n(self.y + r * p)}h{_n(width)}" for r in range(n.rows + 1))
        d += "".join(f"M{_n(self.x + c * p)} {_n(self.y)}v{_n(height)}" for c in range(n.width + 1))
        return tag(
            "path", d=d, class_="lines", stroke_width=_n(min(2.0, p * (0.14 if p > 4 else 0.08)))
        )


def _box(x: float, y: float, width: float, height: float) -> str:
    return f"M{_n(x)} {_n(y)}h{_n(width)}v{_n(height)}h{_n(-width)}z"


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _text(x: float, y: float, content: str, kind: str) -> Markup:
    return tag("text", content, x=_n(x), y=_n(y), class_=kind)
