"""The documentation site: its pictures, its links, and the pages that code writes."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from places import ROOT

import onnxac
from onnxac.render.rules import RULES

DOCS = ROOT / "docs"


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"site_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pictures_are_those_that_the_script_makes() -> None:
    script = loaded(DOCS / "pictures.py")
    drawn = {f"{name}.svg": draw() for name, draw in script.PICTURES.items()}
    assert {p.name: p.read_text("utf-8") for p in (DOCS / "pictures").iterdir()} == drawn
    for picture in drawn.values():
        assert ElementTree.fromstring(picture).tag.endswith("svg")


def test_the_picture_of_a_border_shows_where_the_mistake_is() -> None:
    script = loaded(DOCS / "pictures.py")
    assert script.border().count(script.RED) == 2


def test_every_page_is_in_the_contents_and_in_the_readme() -> None:
    listed = set(re.findall(r"(?m)^([a-z-]+)$", (DOCS / "index.md").read_text("utf-8")))
    linked = set(re.findall(r"\]\(docs/([a-z-]+)\.md\)", (ROOT / "README.md").read_text("utf-8")))
    pages = {p.stem for p in DOCS.glob("*.md")} - {"index"}
    assert listed == pages
    assert linked == pages


def test_where_things_are_is_ten_lines_that_name_every_room() -> None:
    section = (ROOT / "README.md").read_text("utf-8").split("### Where things are")[1]
    rows = re.findall(r"(?m)^\| (`.*?) \|", section.split("\n## ")[0])
    assert len(rows) <= 10
    named = {name.strip("`/ ") for row in rows for name in row.split(",")}
    package = ROOT / "onnxac"
    rooms = {p.parent.name for p in package.glob("*/__init__.py")}
    modules = {p.name for p in package.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert named == rooms | modules


@pytest.mark.parametrize(
    "document",
    [*ROOT.glob("*.md"), *DOCS.glob("*.md")],
    ids=lambda p: p.relative_to(ROOT).as_posix(),
)
def test_links_lead_to_files(document: Path) -> None:
    found = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", document.read_text("utf-8"))
    missing = [link for link in found if not (document.parent / link).exists()]
    assert not missing


def test_links_to_the_repository_lead_to_where_it_is_hosted() -> None:
    hosting = loaded(DOCS / "extensions/hosting.py")
    page = "[a](../CHANGELOG.md#x) [b](other.md) `uses: OWNER/onnxac@v1`"
    assert hosting.absolute(page, "https://example.org/me/tool") == (
        "[a](https://example.org/me/tool/blob/main/CHANGELOG.md#x) [b](other.md) `uses: me/tool@v1`"
    )
    with pytest.raises(FileNotFoundError):
        hosting.absolute("[a](../nowhere.md)", "https://example.org/me/tool")


def test_columns_of_a_docstring_become_a_list() -> None:
    docstrings = loaded(DOCS / "extensions/docstrings.py")
    lines = ["Does it.", "", "a, b  what they are,", "      and more", "c     it", "", "    code"]
    assert list(docstrings.converted(lines)) == [
        "Does it.", "", "``a``, ``b``", "   what they are, and more", "", "``c``", "   it", "",
        "::", "", "       code", "",
    ]  # fmt: skip
    assert list(docstrings.converted(["Raises", "------", "AnError  when"])) == [
        "**Raises**", "", "``AnError``", "   when", "",
    ]  # fmt: skip


def test_the_site_has_each_rule_command_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sphinx", reason="Sphinx is not installed")
    monkeypatch.setattr(sys, "path", [str(DOCS / "extensions"), *sys.path])
    reference = loaded(DOCS / "extensions/reference.py")
    text = "\n".join(reference.rules())
    assert set(re.findall(r"(?m)^## (\w+)$", text)) == set(RULES)
    options = "\n".join(reference.options())
    assert "| `--format FORMAT[=FILE]` |" in options
    assert "### onnxac rule" in options
    names = set(re.findall(r"auto\w+:: onnxac\.(\w+)", "\n".join(reference.api())))
    assert names == set(onnxac.__all__)
