"""One fused operator as a drawing: its branches on the left, the one kernel on the right.

All kernels are drawn on the fused kernel's lattice, so that each branch's taps stand where
they land. A cell that several branches feed has one band of colour for each.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import groupby, product

from onnxac.render import numbers
from onnxac.report import Branch, FusedOperator, NodeRef

from .html import Markup, join, tag

WIDTH = 320
# Where the labels end and the wires begin.
WIRES = 152
COLOURS = 8
# A branch may hold hundreds of nodes: as many of their types are named as fit.
OPS_WIDTH = 19
SEPARATOR = " · "
BRANCHES_SHOWN = 12

_ABBREVIATED = {
    "BatchNormalization": "BN",
    "AveragePool": "AvgPool",
    "GlobalAveragePool": "GAP",
    "ConvTranspose": "ConvT",
}

_WEIGHTY = ("Conv", "BN", "MatMul", "Gemm", "AvgPool", "ConvT")

Cell = tuple[int, int]


@dataclass(frozen=True)
class Lattice:
    """A kernel's cells in two dimensions: a third axis becomes slices side by side."""

    rows: int
    columns: int
    slices: int

    @staticmethod
    def of(taps: tuple[int, ...]) -> Lattice | None:
        """The lattice of a kernel; None for a shape that can't be drawn."""
        if not 1 <= len(taps) <= 3 or min(taps) < 1 or max(taps) > 99:
            return None
        depth, rows, columns = (1, 1, 1, *taps)[-3:]
        return Lattice(rows, columns, depth)

    @property
    def width(self) -> int:
        """Columns of all slices, and a gap between every two."""
        return self.slices * (self.columns + 1) - 1

    def cells(self, branch: Branch) -> set[Cell]:
        """Where a branch's taps land."""
        axes = [
            [origin + step * tap for tap in range(taps)]
            for taps, step, origin in zip(branch.taps, branch.dilation, branch.origin, strict=False)
        ]
        return {self._place(position) for position in product(*axes)}

    def all_cells(self) -> list[Cell]:
        """Every cell, row by row."""
        every = product(range(self.slices), range(self.rows), range(self.columns))
        return sorted(self._place(position) for position in every)

    def _place(self, position: tuple[int, ...]) -> Cell:
        depth, row, column = (0, 0, 0, *position)[-3:]
        return row, depth * (self.columns + 1) + column


def colour(branch: int) -> str:
    """The class that paints things of one branch."""
    return f"b{branch % COLOURS + 1}"


def shared_nodes(operator: FusedOperator) -> tuple[NodeRef, ...]:
    """Nodes that several branches pass through: mostly what adds them up."""
    uses = Counter(n for branch in operator.branches for n in dict.fromkeys(branch.nodes))
    return tuple(n for n, times in uses.items() if times > 1)


def own_branches(operator: FusedOperator) -> tuple[Branch, ...]:
    """The branches, each with the nodes that are its alone."""
    shared = frozenset(shared_nodes(operator))
    return tuple(_without(branch, shared) for branch in operator.branches)


def _without(branch: Branch, shared: frozenset[NodeRef]) -> Branch:
    own = tuple(n for n in branch.nodes if n not in shared)
    # Where nodes have one name for all, none can be told to be shared.
    is_plausible = own or max(branch.taps, default=1) == 1
    return dataclasses.replace(branch, nodes=own) if is_plausible else branch


def branch_title(branch: Branch) -> str:
    """What a branch is, in a few characters: its taps, then its operators."""
    return f"{numbers.extent(branch.taps)} {branch_ops(branch)}".strip()


def branch_ops(branch: Branch) -> str:
    """The types of the nodes along a branch, each once, shortened."""
    kinds = list(dict.fromkeys(_ABBREVIATED.get(n.op, n.op)[:OPS_WIDTH] for n in branch.nodes))
    if len(SEPARATOR.join(kinds)) <= OPS_WIDTH:
        return SEPARATOR.join(kinds) or "identity"
    # The operators with weights say most about a branch; keep them when there are many.
    shown = [k for k in kinds if k in _WEIGHTY] or kinds
    while len(SEPARATOR.join((*shown, "…"))) > OPS_WIDTH and len(shown) > 1:
        shown.pop()
    return SEPARATOR.join((*shown, "…"))


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
        _text(50, y + 9.5, branch_ops(branch), "dim"),
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
