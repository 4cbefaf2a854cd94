"""How strict the tests are: single changes to the code that nothing may survive. `make mutants`.

    python benchmarks/mutants.py [ROOM ...] [--sample N] [--seed N]

cosmic-ray knows the changes (another operator, another number, no loop, no `not`, …); this script
draws N of them from the rooms that decide whether a model comes out right, makes each in a copy of
the tree, and runs the room's tests until one fails. Printed are the survivors, each as a diff, and
the score of each room. Changes to annotations are left out: nothing evaluates them.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("onnxac", "tests", "pyproject.toml", "README.md", "docs", "benchmarks")
# The quickest first: a change that is noticed is noticed early.
ALWAYS = ("borders", "known_mistakes", "reference")
TESTS = {
    "algebra": ("axis", "algebra", "exact", "layouts", "sabotage"),
    "lowering": ("odd_models", "bad_models", "layouts", "exporters", "strictness", "exact"),
    "planning": ("concat", "left_alone", "layouts", "costs", "fusible", "exact"),
    "rewriting": ("preservation", "left_alone", "isolation", "layouts", "exact"),
    "proof": ("strictness", "certificate_operators", "hidden", "isolation", "real_inputs",
              "certificate_borders", "certificate_faults", "verify", "certificate"),
}  # fmt: skip
# Seconds for the tests of one change. What takes longer hangs, and counts as noticed.
LONGEST = 900


def annotated(path: Path) -> set[int]:
    """Lines of a module that hold an annotation, an import or a type alias."""
    lines = set[int]()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        kinds: list[ast.expr | ast.stmt | None] = []
        if isinstance(node, ast.FunctionDef):
            kinds = [node.returns, *(a.annotation for a in ast.walk(node.args) if _is_arg(a))]
        elif isinstance(node, ast.AnnAssign):
            kinds = [node.annotation]
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp):
            kinds = [node.value] if _is_alias(node.targets[0]) else []
        lines |= {n for k in kinds if k for n in range(k.lineno, (k.end_lineno or 0) + 1)}
    return lines


def _is_arg(node: ast.AST) -> bool:
    return isinstance(node, ast.arg)


def _is_alias(node: ast.expr) -> bool:
    """Whether a name is one of a type: Feeds, not FEEDS."""
    return isinstance(node, ast.Name) and node.id[0].isupper() and not node.id.isupper()


def changes(room: str) -> Iterator[MutationSpec]:
    """Every single change to a room, of the tree in the working folder."""
    modules = sorted(Path("onnxac", room).rglob("*.py"))
    with use_db(":memory:", WorkDB.Mode.create) as database:
        init(modules, database, {})
        skipped = {m: annotated(m) for m in modules}
        for item in database.work_items:
            (made,) = item.mutations
            if made.start_pos[0] not in skipped[Path(made.module_path)]:
                yield made


def judged(change: MutationSpec, room: str) -> tuple[bool, str]:
    """Whether a test fails with the change, and the change."""
    names = (*ALWAYS, *TESTS[room])
    files = " ".join(f"tests/test_{name}.py" for name in dict.fromkeys(names))
    options = "-x -q -p no:cacheprovider -W ignore::pytest.PytestUnknownMarkWarning"
    found = mutate_and_test([change], f"{sys.executable} -m pytest {options} {files}", LONGEST)
    return found.test_outcome != TestOutcome.SURVIVED, found.diff or ""


def main() -> None:
    """Draw, run, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rooms", nargs="*", choices=[*TESTS, []], metavar="ROOM")
    parser.add_argument("--sample", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    killed, total = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, Path(folder) / name)
        (Path(folder) / "models").symlink_to(ROOT / "models")
        os.chdir(folder)
        # Before the place where the package is installed.
        os.environ["PYTHONPATH"] = folder
        pool = [(c, room) for room in asked.rooms or TESTS for c in changes(room)]
        print(f"{len(pool):,} changes, {min(asked.sample, len(pool))} of them drawn", flush=True)
        for change, room in random.Random(asked.seed).sample(pool, min(asked.sample, len(pool))):
            began = time.perf_counter()
            noticed, told = judged(change, room)
            total[room] += 1
            killed[room] += noticed
            seconds = time.perf_counter() - began
            place = f"{change.module_path}:{change.start_pos[0]} {change.operator_name}"
            print(f"{'noticed ' if noticed else 'SURVIVED'} {seconds:5.0f} s  {place}", flush=True)
            if not noticed:
                print(told, flush=True)
    for room in total:
        print(f"{room:10} {killed[room]:4} of {total[room]:4} noticed")
    every, seen = sum(total.values()), sum(killed.values())
    print(f"{'all':10} {seen:4} of {every:4} noticed, {100 * seen / max(every, 1):.0f} %")


if __name__ == "__main__":
    main()
