"""Every command that the documentation shows is run, and shows what it is said to show.

The commands of a document run in the order they stand in, in one scratch copy of the repository, so
that a later one can use what an earlier one wrote. `documents.py` has the rules.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from documents import NOT_RUN, RUN, Block, Command, blocks, matches, patch, session, shows
from places import ROOT

DOCUMENTS = sorted(p for p in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
LEFT_OUT = shutil.ignore_patterns(
    ".*cache*", ".hypothesis", "__pycache__", ".venv*", ".git", "build", "dist"
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_commands_of(document: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    folder = tmp_path / "onnxac"
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    for block in blocks(document):
        if block.file is not None:
            (folder / block.file).write_text(block.body, encoding="utf-8")
        elif block.language == "diff":
            patch(block.body, folder)
        for command in block.commands:
            run(command, f"{document.name}:{block.line}", folder, environment)


def run(command: Command, place: str, folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.text],
        cwd=folder,
        env=environment,
        check=False,
        timeout=300,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    what = f"{place}: $ {command.text}\n{done.stdout}"
    assert done.returncode == command.code, f"exit code {done.returncode}, {what}"
    assert shows(done.stdout, command.output), f"does not show {command.output}, {what}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_command_of_a_document_slips_through(document: Path) -> None:
    """A block that looks like commands says so, and one that is not run says why."""
    for block in blocks(document):
        place = f"{document.name}:{block.line}"
        assert block.language, f"{place}: name the language of the block"
        assert block.language not in ("bash", "shell", "zsh", "sh-session"), (
            f"{place}: write `console` for a session, `sh` for a script"
        )
        if block.note.startswith("not run"):
            assert NOT_RUN.fullmatch(block.note), f"{place}: why is it not run?"
        elif block.language in RUN:
            assert block.commands or block.file, f"{place}: has no command"


def test_blocks_are_found_with_their_notes(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text(
        "Text\n\n```console\n$ one\nout\n```\n\n<!-- not run: no network -->\n```sh\ntwo\n```\n"
        "- item\n\n  <!-- exits 1 -->\n\n  ```sh\n  three\n    four\n  ```\n\n```yaml\na: b\n```\n"
    )
    assert blocks(document) == [
        Block(3, "console", "$ one\nout\n", ""),
        Block(9, "sh", "two\n", "not run: no network"),
        Block(16, "sh", "three\n  four\n", "exits 1"),
        Block(21, "yaml", "a: b\n", ""),
    ]
    runs = [block.commands for block in blocks(document)]
    assert runs == [[Command("one", ("out",))], [], [Command("three\n  four\n", code=1)], []]


def test_a_session_is_split_into_commands_and_outputs() -> None:
    body = "$ one \\\n> --more\nfirst\n\nsecond\n$ two\n"
    assert session(body) == [Command("one \\\n--more", ("first", "second")), Command("two")]


def test_python_is_a_script_or_a_file(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("```python\nprint(1)\n```\n\n```python\n# a/b.py\nx = 1\n```\n")
    script, file = blocks(document)
    assert (script.file, file.file) == (None, "a/b.py")
    assert [c.text for c in script.commands] == ["python - <<'END'\nprint(1)\nEND\n"]
    assert not file.commands


def test_a_diff_is_applied_where_it_fits(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("one\n\ntwo\nthree\n")
    hunks = (
        "--- a/a\n+++ b/a\n@@\n one\n\n-two\n@@\n three\n+four\n--- a/b\n+++ b/b\n@@\n-one\n+1\n"
    )
    patch(hunks, tmp_path)
    assert (tmp_path / "a").read_text() == "one\n\nthree\nfour\n"
    assert (tmp_path / "b").read_text() == "1\n\ntwo\nthree\n"
    with pytest.raises(ValueError, match="0 places hold"):
        patch("--- a/a\n+++ b/a\n@@\n five\n+six\n", tmp_path)


@pytest.mark.parametrize(
    ("line", "wanted", "same"),
    [
        ("nodes 23 -> 11", "nodes   23 -> 11", True),
        ("took 1.25 ms", "took ... ms", True),
        ("took 1.25 ms", "took … s", False),
        ("a.onnx", "a?onnx", False),
    ],
)
def test_a_line_may_leave_something_out(line: str, wanted: str, same: bool) -> None:
    assert matches(line, wanted) is same


def test_lines_are_shown_in_their_order() -> None:
    assert shows("a\nb\nc\n", ("a", "c"))
    assert shows("a\n", ("a", "..."))
    assert not shows("a\nb\nc\n", ("c", "a"))


def test_a_wrong_command_is_found(tmp_path: Path, environment: dict[str, str]) -> None:
    for command in (Command("false"), Command("echo b", ("a",)), Command("true", code=1)):
        with pytest.raises(AssertionError, match=re.escape(f"a.md:1: $ {command.text}")):
            run(command, "a.md:1", tmp_path, environment)
