"""What other programs read is valid to them: schemas, linters, and the examples in the docs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documents import Block, blocks
from places import ROOT, Tool

# The first line of a YAML block in a document names its file: that says what it is.
SCHEMAS = {
    ".github/workflows/": "vendor.github-workflows",
    ".gitlab-ci.yml": "vendor.gitlab-ci",
    ".pre-commit-config.yaml": None,
}
DOCUMENTS = (p for p in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if p.exists())
EXAMPLES = [(p.name, b) for p in DOCUMENTS for b in blocks(p) if b.language in ("yaml", "yml")]


def passes(*command: str | Path) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_action_is_valid(tool: Tool) -> None:
    passes(
        tool("check-jsonschema"), "--builtin-schema", "vendor.github-actions", ROOT / "action.yml"
    )


def test_the_action_has_no_known_weakness(tool: Tool) -> None:
    passes(tool("zizmor"), "--offline", "--persona=pedantic", "--quiet", ROOT / "action.yml")


def test_the_lines_of_the_action_have_no_shell_mistakes(tool: Tool, tmp_path: Path) -> None:
    lines = re.findall(r"(?m)^ +run: '(.*)'$", (ROOT / "action.yml").read_text())
    assert len(lines) == 2
    script = tmp_path / "steps.sh"
    script.write_text("\n".join(lines))
    passes(tool("shellcheck"), "--shell=bash", "--exclude=SC2154", script)


def test_the_script_of_the_action_needs_nothing_but_python() -> None:
    tree = ast.parse((ROOT / "ci" / "action.py").read_text())
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names


def test_the_hooks_are_valid(tool: Tool) -> None:
    passes(tool("pre-commit"), "validate-manifest", ROOT / ".pre-commit-hooks.yaml")


def test_the_dockerfile_is_clean(tool: Tool) -> None:
    passes(tool("hadolint"), ROOT / "Dockerfile")


def test_the_image_runs_as_somebody_else_than_root() -> None:
    last = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    (user,) = re.findall(r"(?m)^USER (\d+):\d+$", last)
    assert int(user) > 0


def test_the_image_copies_files_that_exist() -> None:
    copied = re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text())
    names = {name for names in copied for name in names.split()}
    # The readme and the licence are part of the package, and checked with it.
    assert {n for n in names if not (ROOT / n).exists()} <= {"README.md", "LICENSE"}


@pytest.mark.parametrize(("document", "block"), EXAMPLES, ids=lambda v: str(getattr(v, "line", v)))
def test_an_example_of_the_documentation_is_valid(
    document: str, block: Block, tool: Tool, tmp_path: Path
) -> None:
    name = block.body.partition("\n")[0].removeprefix("# ")
    known = [schema for prefix, schema in SCHEMAS.items() if name.startswith(prefix)]
    assert known, f"{document}:{block.line}: begin the block with the name of its file"
    path = tmp_path / Path(name).name
    path.write_text(block.body)
    if known[0] is None:
        passes(tool("pre-commit"), "validate-config", path)
    else:
        passes(tool("check-jsonschema"), "--builtin-schema", known[0], path)
    if name.startswith(".github/workflows/"):
        passes(tool("actionlint"), path)
