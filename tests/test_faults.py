"""Whatever happens while a model is written: OUT is the old one or the new one, whole.

The system is full, or the process is ended or gone, at every call that changes the disk; the
process is killed at 200 moments; eight processes write one file at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import faults
import pytest
from cli_harness import environment

OLD, NEW = {"nodes": 5, "factor": 5.0}, {"nodes": 3, "factor": 1.0}


def ran(tmp_path: Path, what: str, *arguments: object) -> list[dict[str, Any]]:
    done = subprocess.run(
        [
            sys.executable,
            faults.__file__,
            what,
            str(tmp_path / "work"),
            *map(json.dumps, arguments),
        ],
        capture_output=True,
        check=False,
        env=environment({"OPENBLAS_NUM_THREADS": "1"}),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def which(run: dict[str, Any]) -> dict[str, Any]:
    return {"nodes": run["nodes"], "factor": run["factor"]}


@pytest.mark.parametrize("external", [False, True], ids=["single", "external"])
@pytest.mark.parametrize("kind", ["full", "told", "gone"])
def test_a_fault_at_every_write(tmp_path: Path, kind: str, external: bool) -> None:
    found = ran(tmp_path, "faults", kind, external)
    moments = {run["moment"] for run in found}
    assert moments >= {"mkdir", "open", "write", "fsync", "replace", "chmod", "rmdir"}
    for run in found:
        assert which(run) in (OLD, NEW), run
        assert run["report"] in ("old", "new"), run
        assert run["left"] == [], run
        if kind != "gone":
            assert run["litter"] == [], run
        if kind == "full":
            # Who is told of a failure finds the old file; who is not, the new one.
            told = run["code"] != faults.DONE
            assert told or which(run) == NEW, run
            assert (run["report"] == "old") == told, run
    assert {which(run)["nodes"] for run in found} == {OLD["nodes"], NEW["nodes"]}


def test_kills_at_200_moments(tmp_path: Path) -> None:
    found = ran(tmp_path, "kills", 200)
    assert len(found) == 200
    assert sum(run["code"] == -9 for run in found) > 50
    for run in found:
        assert which(run) in (OLD, NEW), run
        assert run["left"] == [], run


@pytest.mark.parametrize("external", [False, True], ids=["single", "external"])
def test_eight_at_once(tmp_path: Path, external: bool) -> None:
    """Each succeeds; one of them is what is there. Data of those replaced may be read by others."""
    for run in ran(tmp_path, "crowds", 30, external):
        assert run["codes"] == [0] * 8
        assert run["nodes"] == 3
        assert 10 <= run["factor"] < 18
        data = [name for name in run["left"] if name.endswith(".data")]
        assert run["left"] == data
        assert len(data) == (7 if external else 0)
