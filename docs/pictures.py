"""The pictures of docs/algebra.md. Positions, taps and values in them are computed, not drawn.

    python docs/pictures.py [FOLDER]

writes them to FOLDER, by default docs/pictures. A test holds that the files there are these.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from onnxac.algebra import Axis

CELL, GAP = 30, 14
INK, FAINT, GRID = "#1f2933", "#7b8794", "#cbd2d9"
BLUE, GREEN, ORANGE, RED, GREY = "#9ecbff", "#b7e4c7", "#ffd8a8", "#ffadad", "#eef1f4"


def text(x: float, y: float, words: str, *, color: str = INK, anchor: str = "start") -> str:
    """Words at a place; `anchor` says which end of them it is."""
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{color}" text-anchor="{anchor}" '
        f'dominant-baseline="central">{escape(words)}</text>'
    )


def cell(x: float, y: float, words: str = "", fill: str = "none", *, dashed: bool = False) -> str:
    """One element of a tensor or a kernel."""
    dash = ' stroke-dasharray="3 3"' if dashed else ""
    box = (
        f'<rect x="{x:g}" y="{y:g}" width="{CELL}" height="{CELL}" fill="{fill}" '
        f'stroke="{GRID}"{dash}/>'
    )
    return box + text(x + CELL / 2, y + CELL / 2, words, anchor="middle") if words else box


def line(x1: float, y1: float, x2: float, y2: float, color: str = FAINT) -> str:
    """A connection."""
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{color}"/>'


def picture(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """The whole file, with a title for those who do not see it."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="13" role="img">'
    )
    back = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", back, *parts, "</svg>", ""])


def signed(number: int) -> str:
    """A number with a real minus sign."""
    return str(number).replace("-", "−")


def row(
    y: float, words: str, cells: Sequence[tuple[float, str, str]], left: float
) -> Iterator[str]:
    """A line of cells, each with its place, its text and its colour, and what it is called."""
    yield text(10, y + CELL / 2, words)
    for at, inside, fill in cells:
        yield cell(left + at * CELL, y, inside, fill, dashed=fill == GREY)


def window() -> str:
    """What one axis says: which cells each output reads."""
    axis, length, left = Axis(taps=3, stride=2, offset=-1, extent=0), 7, 190

    def parts() -> Iterator[str]:
        padded = range(-axis.pad_begin, length + max(axis.pad_end, 0))
        source = [
            (i, f"x{i}" if 0 <= i < length else "0", GREY if not 0 <= i < length else BLUE)
            for i in padded
        ]
        yield from row(20, "x̂: x, and zeros beyond it", source, left + CELL)
        for p in range(axis.length(length)):
            y = 74 + p * (CELL + 6)
            first = axis.stride * p + axis.offset
            taps = [(first + axis.dilation * k, f"k{k}", ORANGE) for k in range(axis.taps)]
            yield from row(y, f"y{p} reads from {signed(first)} on", taps, left + CELL)
        says = (
            f"taps {axis.taps}, stride {axis.stride}, offset {signed(axis.offset)}, "
            f"extent {axis.extent}: {axis.length(length)} outputs of {length} elements"
        )
        yield text(10, 74 + axis.length(length) * (CELL + 6) + 12, says, color=FAINT)

    return picture(560, 270, "The window of a convolution along one axis", parts())


def grid(x: float, y: float, axes: tuple[Axis, Axis], whole: tuple[Axis, Axis]) -> Iterator[str]:
    """A kernel's taps, on the lattice of another one."""
    rows, columns = (set(w.cells(a)) for w, a in zip(whole, axes, strict=True))
    for i in range(whole[0].taps):
        for j in range(whole[1].taps):
            fill = BLUE if i in rows and j in columns else "none"
            yield cell(x + j * CELL, y + i * CELL, "", fill)


def union() -> str:
    """Branches of an ACNet block without padding: the thin ones crop."""
    square = (Axis(3, extent=-2), Axis(3, extent=-2))
    wide = (Axis(1, offset=1, extent=-2), Axis(3, extent=-2))
    tall = (Axis(3, extent=-2), Axis(1, offset=1, extent=-2))
    whole = square
    for branch in (wide, tall):
        assert all(a.agrees_with(b, None) for a, b in zip(whole, branch, strict=True))
        pairs = zip(whole, branch, strict=True)
        whole = tuple(a.union(b, None) for a, b in pairs)  # type: ignore[assignment]

    def parts() -> Iterator[str]:
        shown = (("3×3", square), ("crop, then 1×3", wide), ("crop, then 3×1", tall))
        x = 20.0
        for number, (name, axes) in enumerate((*shown, ("one 3×3", whole))):
            if number:
                yield text(x - 24, 20 + 1.5 * CELL, "=" if number == len(shown) else "+")
            yield from grid(x, 20, axes, whole)
            yield text(x + 1.5 * CELL, 20 + 3 * CELL + GAP, name, anchor="middle")
            offsets = ", ".join(str(a.offset) for a in axes)
            yield text(
                x + 1.5 * CELL,
                20 + 3 * CELL + 2.5 * GAP,
                f"offset {offsets}",
                color=FAINT,
                anchor="middle",
            )
            x += 3 * CELL + 60

    return picture(600, 170, "Branches of an ACNet block on the union of their taps", parts())


def composition() -> str:
    """Taps of outer∘inner, along one axis."""
    inner, outer = Axis(taps=3, stride=2, extent=-2), Axis(taps=2, extent=-1)
    both, left = outer.after(inner), 210

    def parts() -> Iterator[str]:
        taps = [(k, f"k{k}", ORANGE) for k in range(inner.taps)]
        yield from row(20, "inner: 3 taps, stride 2", taps, left)
        for q in range(outer.taps):
            reads = [(inner.stride * q + k, f"k{k}", ORANGE) for k in range(inner.taps)]
            yield from row(70 + q * (CELL + 6), f"outer's tap {q} reads inner's y{q}", reads, left)
        merged = [(both.offset + both.dilation * k, str(k), GREEN) for k in range(both.taps)]
        yield from row(160, "outer∘inner, on x", merged, left)
        says = f"{both.taps} taps, stride {both.stride}, extent {signed(both.extent)}"
        yield text(left + (both.taps + 0.5) * CELL, 160 + CELL / 2, says, color=FAINT)

    return picture(600, 210, "Taps of two convolutions in a row", parts())


def border() -> str:
    """A pointwise map with a bias in front of a padded window: the mistake, in numbers."""
    x, scale, bias, kernel = np.array([1, 3, 2, 4, 1]), 1, 2, np.ones(3, int)
    between = scale * x + bias
    true = np.convolve(np.pad(between, 1), kernel, "valid")
    naive = np.convolve(np.pad(x, 1), scale * kernel, "valid") + bias * kernel.sum()
    left = 300

    def values(of: np.ndarray, fill: str) -> list[tuple[float, str, str]]:
        return [(i, str(v), fill) for i, v in enumerate(of)]

    def parts() -> Iterator[str]:
        yield from row(20, "x", values(x, BLUE), left)
        padded = [(-1.0, "0", GREY), *values(between, BLUE), (float(len(x)), "0", GREY)]
        yield from row(64, "x + 2, padded by zeros", padded, left)
        yield from row(108, "sums of three: what is right", values(true, GREEN), left)
        wrong = [
            (i, str(v), GREEN if v == w else RED)
            for i, (v, w) in enumerate(zip(naive, true, strict=True))
        ]
        yield from row(152, "one kernel, its bias 3 · 2 everywhere", wrong, left)
        yield text(left, 204, "at the border the padding held 0, not the bias", color=FAINT)

    return picture(600, 220, "Right inside, wrong at the border", parts())


def box(x: float, y: float, words: str, fill: str) -> str:
    """An operator of a graph."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="96" height="{CELL}" rx="4" fill="{fill}" '
        f'stroke="{GRID}"/>' + text(x + 48, y + CELL / 2, words, anchor="middle")
    )


def substitution() -> str:
    """A block before and after: definitions put into their reader."""

    def parts() -> Iterator[str]:
        names = ("Conv 3×3", "Conv 1×3", "Conv 3×1")
        for i, name in enumerate(names):
            y = 20 + i * 44
            yield line(46, 79, 76, y + 15)
            yield line(172, y + 15, 200, y + 15)
            yield line(296, y + 15, 330, 79)
            yield box(76, y, name, BLUE) + box(200, y, "BatchNorm", GREY)
        yield box(330, 64, "Add, Add", ORANGE) + text(30, 79, "x", anchor="middle")
        yield text(452, 79, "=") + line(500, 79, 520, 79) + text(488, 79, "x")
        yield box(520, 64, "Conv 3×3", GREEN)

    return picture(640, 160, "A block of three branches becomes one convolution", parts())


PICTURES: dict[str, Callable[[], str]] = {
    "substitution": substitution,
    "window": window,
    "union": union,
    "composition": composition,
    "border": border,
}


def main() -> None:
    """Write all pictures."""
    default = Path(__file__).parent / "pictures"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    folder.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (folder / f"{name}.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
