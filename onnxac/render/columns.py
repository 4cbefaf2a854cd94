"""Tables and entries that hold at any width, and that a file gets whole.

rich folds what is too wide, so that a name goes on at the start of the next line. Here names
are cut in the middle, then columns move below their row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions
from rich.text import Text

from onnxac.render.safe import cut, labels

# What a file gets instead of a width: nothing is ever folded or cut there.
UNLIMITED = 1_000_000
GAP, NARROW = 2, 40
# A name is cut to this before a column goes, and to the other when none is left to go.
SHORT_NAME, SHORTEST_NAME = 20, 8


@dataclass(frozen=True)
class Column:
    """One column.

    right  set its cells to the right
    style  of its cells
    names  whether its cells are names, which may be cut in the middle
    rank   a line that is too narrow does without the columns of the highest rank; 0 stays
    minor  whether it is left out then, instead of going below its row
    """

    heading: str
    right: bool = False
    style: str = ""
    names: bool = False
    rank: int = 0
    minor: bool = False


@dataclass
class Columns:
    """A table. Each row has a cell for each column, and may have a note below it."""

    columns: Sequence[Column]
    rows: list[tuple[Sequence[str | Text], Text | None]] = field(default_factory=list)

    def add(self, *cells: str | Text, note: Text | None = None) -> None:
        """Add a row."""
        self.rows.append((cells, note))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """The lines, for rich."""
        width = options.max_width
        shown, widths = self._fit(width)
        named = {i: self._labels(i, widths[i]) for i in shown if self.columns[i].names}
        if any(self.columns[i].heading for i in shown):
            headings = [Text(self.columns[i].heading, "dim") for i in shown]
            yield self._line(headings, shown, widths)
        below = [i for i, c in enumerate(self.columns) if i not in shown and not c.minor]
        for cells, note in self.rows:
            texts = [
                Text(named[i].get(str(cells[i]), ""), self.columns[i].style)
                if i in named
                else _text(cells[i], self.columns[i].style)
                for i in shown
            ]
            yield self._line(texts, shown, widths)
            rest = [t for i in below if (t := str(cells[i]))]
            if rest:
                yield from Entry(Text("    "), Text(", ".join(rest), "dim")).lines(console, width)
            if note is not None:
                yield from Entry(Text("    "), note).lines(console, width)

    def _fit(self, width: int) -> tuple[list[int], dict[int, int]]:
        """The columns that stand side by side, and how wide each is."""
        shown = list(range(len(self.columns)))
        while True:
            lowest = max(shown, key=lambda i: self.columns[i].rank)
            is_last = self.columns[lowest].rank == 0
            widths, over = self._squeezed(shown, width, SHORTEST_NAME if is_last else SHORT_NAME)
            if over <= 0 or is_last:
                return shown, widths
            shown.remove(lowest)

    def _squeezed(self, shown: list[int], width: int, least: int) -> tuple[dict[int, int], int]:
        """How wide the columns are when names give way, and by how much it is too much still."""
        widths = {i: self._natural(i) for i in shown}
        over = sum(widths.values()) + GAP * (len(shown) - 1) - width
        # From the widest, so that no name is cut while a longer one is whole.
        for i in sorted(shown, key=lambda i: -widths[i]):
            if over > 0 and self.columns[i].names:
                given = min(over, max(0, widths[i] - least))
                widths[i], over = widths[i] - given, over - given
        return widths, over

    def _natural(self, i: int) -> int:
        cells = (_text(row[i], "").cell_len for row, _ in self.rows)
        return max(Text(self.columns[i].heading).cell_len, *cells, 0)

    def _labels(self, i: int, width: int) -> dict[str, str]:
        names = [str(row[i]) for row, _ in self.rows]
        return {name: cut(label, width) for name, label in labels(names, width).items()}

    def _line(self, cells: Sequence[Text], shown: list[int], widths: dict[int, int]) -> Text:
        line = Text(no_wrap=True, overflow="ellipsis")
        for k, (i, cell) in enumerate(zip(shown, cells, strict=True)):
            space = " " * max(0, widths[i] - cell.cell_len)
            line.append(" " * GAP if k else "")
            parts = (space, cell) if self.columns[i].right else (cell, space)
            for part in parts:
                line.append(part)
        line.rstrip()
        return line


def _text(cell: str | Text, style: str) -> Text:
    return cell.copy() if isinstance(cell, Text) else Text(cell, style)


@dataclass(frozen=True)
class Entry:
    """A label, and a text beside it whose lines stay to the right of the label."""

    label: Text
    body: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """The lines, for rich."""
        yield from self.lines(console, options.max_width)

    def lines(self, console: Console, width: int) -> Iterator[Text]:
        """The lines at a width; below `NARROW` the text starts on a line of its own."""
        room = width - self.label.cell_len
        if width >= UNLIMITED:
            yield Text.assemble(self.label, self.body)
            return
        first, indent = self.label, " " * self.label.cell_len
        if room < NARROW // 2:
            if self.label.plain.strip():
                yield self.label
            first, indent = Text("  "), "  "
        for line in self.body.wrap(console, max(1, width - len(indent)), overflow="fold"):
            line.rstrip()
            yield Text.assemble(first, line, no_wrap=True)
            first = Text(indent)


def item(text: str, style: str = "") -> Entry:
    """A line under a heading."""
    return Entry(Text("  "), Text(text, style))
