"""The code blocks of a Markdown document, and what a comment before one says about it.

    <!-- not run: it needs a network -->     the block is not run, for that reason
    <!-- exits 1 -->                         its last command exits so, on purpose

A `console` block is a session: a command follows `$ `, is continued by lines that follow `> `, and
what stands below it is output. A `sh` block is a script, and so is a `python` block, unless its
first line is a comment with the path of a file: then it is that file. A `diff` block changes files.
Any other block is not run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

# A block may be indented, as it is in a list.
BLOCK = re.compile(
    r"(?:^[ \t]*<!--[ ]*(?P<note>.*?)[ ]*-->[ \t]*\n(?:[ \t]*\n)?)?"
    r"^(?P<indent>[ \t]*)(?P<fence>```+)(?P<language>[\w{}-]*)[^\n]*\n"
    r"(?P<body>.*?)"
    r"^[ \t]*(?P=fence)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
NOT_RUN, EXITS = re.compile(r"not run: (.+)"), re.compile(r"exits (\d+)")
RUN = ("console", "sh", "python")
FILE = re.compile(r"# (\S+\.\w+)\n")


@dataclass(frozen=True)
class Command:
    """One command, what the document shows of its output, and how it is to exit."""

    text: str
    output: tuple[str, ...] = ()
    code: int = 0


@dataclass(frozen=True)
class Block:
    """A code block and the number of the line it begins at."""

    line: int
    language: str
    body: str
    note: str

    @property
    def reason(self) -> str | None:
        """Why it is not run; None where it is."""
        found = NOT_RUN.fullmatch(self.note)
        return found[1] if found else None

    @property
    def file(self) -> str | None:
        """The file that it is, as its first line says."""
        found = FILE.match(self.body) if self.language == "python" else None
        return found[1] if found else None

    @property
    def commands(self) -> list[Command]:
        """The commands to run, in order."""
        if self.language not in RUN or self.reason is not None or self.file is not None:
            return []
        if self.language == "console":
            found = session(self.body)
        else:
            script = (
                f"python - <<'END'\n{self.body}END\n" if self.language == "python" else self.body
            )
            found = [Command(script)]
        if exits := EXITS.fullmatch(self.note):
            found[-1] = replace(found[-1], code=int(exits[1]))
        return found


def blocks(document: Path) -> list[Block]:
    """All code blocks of a document, without their indentation."""
    text = document.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        body = re.sub(rf"(?m)^{match['indent']}", "", match["body"])
        line = text.count("\n", 0, match.start("fence")) + 1
        found.append(Block(line, match["language"], body, match["note"] or ""))
    return found


def patch(body: str, folder: Path) -> None:
    """Change the files that a diff names. Its hunks are found by what they hold, not by numbers.

    Raises ValueError where what a hunk replaces does not stand there exactly once.
    """
    text, path = "", Path()
    for line in [*body.splitlines(), "@@"]:
        if line.startswith("@@") or line.startswith("--- a/"):
            if text:
                _replace(path, text)
            text = ""
        if line.startswith("--- a/"):
            path = folder / line.removeprefix("--- a/")
        elif not line.startswith(("+++ b/", "@@")):
            text += f"{line or ' '}\n"


def _replace(path: Path, hunk: str) -> None:
    old, new = (
        "".join(f"{line[1:]}\n" for line in hunk.splitlines() if line[0] in f" {sign}")
        for sign in "-+"
    )
    content = path.read_text(encoding="utf-8")
    if content.count(old) != 1:
        raise ValueError(f"{path.name}: {content.count(old)} places hold\n{old}")
    path.write_text(content.replace(old, new), encoding="utf-8")


def session(body: str) -> list[Command]:
    """The commands of a console session with the output that is shown for each."""
    found: list[Command] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        elif line.startswith("> ") and found and not found[-1].output:
            found[-1] = replace(found[-1], text=f"{found[-1].text}\n{line[2:]}")
        elif line.strip():
            if not found:
                raise ValueError(f"output without a command: {line}")
            found[-1] = replace(found[-1], output=(*found[-1].output, line.strip()))
    return found


def shows(output: str, expected: tuple[str, ...]) -> bool:
    """Whether the lines that a document shows are in the output, in their order.

    A line may leave something out (`...` or `…`), lines may be left out, which a line of dots tells
    the reader, and runs of blanks are one blank: numbers that differ from machine to machine, and
    tables as wide as the terminal.
    """
    lines = iter([" ".join(line.split()) for line in output.splitlines()])
    told = (wanted for wanted in expected if wanted not in ("...", "…"))
    return all(any(matches(line, wanted) for line in lines) for wanted in told)


def matches(line: str, wanted: str) -> bool:
    """Whether one line of output is the one that is wanted."""
    pieces = re.split(r"\.\.\.|…", " ".join(wanted.split()))
    return re.fullmatch(".*".join(map(re.escape, pieces)), line) is not None
