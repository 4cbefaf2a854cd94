"""Who may import whom: each module only from the rows above it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import onnxac

PACKAGE = Path(onnxac.__file__).parent

# From the bottom up: a room imports only from rows above its own, and rooms of one row don't
# import each other. The report stands near the top because it is data that every stage speaks.
ROWS: list[set[str]] = [
    {"errors", "kinds", "report", "algebra"},
    {"options", "forms"},
    {"graph"},
    {"storage"},
    {"inference"},
    {"simplifying"},
    {"lowering"},
    {"recipes"},
    {"reordering"},
    {"planning"},
    {"rewriting", "equalizing"},
    {"proof"},
    {"quantizing"},
    {"scopes"},
    {"stages", "tuned"},
    {"rounds"},
    {"job"},
    {"pipeline"},
    {"gate"},
    {"fleet"},
    {"render"},
    {"page"},
    {"api"},
    {"integrations"},
    {"cli"},
    {"__main__"},
]
ALGEBRA = [
    {"lazy", "layout", "axis"},
    {"kernel"},
    {"term"},
    {"add", "frames"},
    {"products"},
    {"compose"},
    {"__init__"},
]


# A report prints itself: this module loads the rooms that know how, when it is asked to.
SHOWN = "report.shown"


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Modules of onnxac that a module imports, as dotted names without the package."""
    package = ["onnxac", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        else:
            continue
        yield from (n.removeprefix("onnxac.") for n in names if n.startswith("onnxac."))


def outside(path: Path) -> set[str]:
    """Top-level packages that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[0] for a in node.names}
    return found


def row_of(name: str, rows: Sequence[set[str]] = ROWS) -> int:
    return next(i for i, row in enumerate(rows) if name in row)


KNOWN = set[str]().union(*ROWS)


def test_every_module_has_its_row() -> None:
    assert {dotted(p).split(".")[0] for p in modules()} == KNOWN


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_imports_point_up(path: Path) -> None:
    own = dotted(path).split(".")[0]
    for name in imports(path):
        other = name.split(".")[0]
        if dotted(path) == SHOWN:
            continue
        if other in KNOWN and other != own:
            assert row_of(other) < row_of(own), f"{own} imports {other}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "algebra").glob("*.py")), ids=lambda p: p.stem)
def test_imports_inside_the_algebra(path: Path) -> None:
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "algebra":
            inner = parts[1] if (PACKAGE / "algebra" / f"{parts[1]}.py").exists() else "__init__"
            assert row_of(inner, ALGEBRA) < row_of(path.stem, ALGEBRA), inner


def test_the_algebra_knows_nothing_of_onnx() -> None:
    for path in (PACKAGE / "algebra").glob("*.py"):
        assert outside(path).isdisjoint({"onnx", "onnx_graphsurgeon", "onnxruntime"})


def test_the_oracle_is_independent() -> None:
    """What proves the result shares nothing with what made it."""
    for path in (PACKAGE / "proof").rglob("*.py"):
        used = [n for n in imports(path) if n.split(".")[0] in KNOWN]
        others = [n for n in used if n.split(".")[0] not in ("errors", "report", "proof")]
        assert all(n.startswith(("storage.disk.", "storage.wire.")) for n in others), path
    for module in ("disk", "wire"):
        assert set(imports(PACKAGE / "storage" / f"{module}.py")) <= {"errors.OutputError"}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*/__init__.py")), ids=lambda p: p.parent.name)
def test_each_room_says_what_it_takes_and_gives(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    for part in ("\nIn   ", "\nOut  ", "Requires ", "Ensures "):
        assert part in said, f"{path.parent.name} lacks {part.strip()!r}"


def loaded_by(statement: str) -> set[str]:
    """What is in sys.modules after a statement, in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint(*sorted(m for m in sys.modules if '.' not in m))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(run.stdout.split())


def test_importing_onnxac_loads_neither_onnx_nor_a_runtime() -> None:
    heavy = {"onnx", "onnxruntime", "onnx_graphsurgeon", "numpy"}
    assert loaded_by("import onnxac").isdisjoint(heavy)


def test_the_pipeline_loads_no_runtime() -> None:
    assert "onnxruntime" not in loaded_by("import onnxac.pipeline")


def test_every_exported_name_is_there() -> None:
    for name in onnxac.__all__:
        assert getattr(onnxac, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        onnxac.nothing  # type: ignore[attr-defined]  # noqa: B018
