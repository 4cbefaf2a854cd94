"""Whatever happens while a model is written: OUT is the old one or the new one, whole.

The system is full, or the process is ended or gone, at every call that changes the disk; the
process is killed at 200 moments; eight processes write one file at once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import faults
import pytest
from cli_harness import command, environment

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


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes by /proc")
def test_kills_while_it_is_proven(tmp_path: Path) -> None:
    """Models that are made to be run go, too, and no process that runs them stays."""
    work, scratch = tmp_path / "work", tmp_path / "scratch"
    scratch.mkdir()
    extra = {"TMPDIR": str(scratch), "OPENBLAS_NUM_THREADS": "1"}
    started = time.monotonic()
    for moment in range(-1, 10):
        source, target, known = faults.stage(work, True)
        run = subprocess.Popen(
            command("optimize", source, target, "-q"),
            env=environment(extra),
            start_new_session=True,
        )
        if moment < 0:
            assert run.wait() == 0
            usual = time.monotonic() - started
            continue
        time.sleep(random.Random(moment).uniform(0.3, 1) * usual)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        waited = time.monotonic()
        while _session(run.pid):
            assert time.monotonic() - waited < 30, "a process that runs models is left"
            time.sleep(0.05)
        found = faults.seen(target)
        assert which(found) in (OLD, NEW), found
        subprocess.run(
            command("optimize", source, work / "next.onnx", "-q"),
            env=environment(extra),
            check=True,
        )
        data = {*found["data"], *faults.seen(work / "next.onnx")["data"], "next.onnx"}
        assert {p.name for p in work.iterdir()} - known - data == set(), moment
        # ONNX Runtime's own.
        assert {p.name for p in scratch.iterdir()} <= {".ses"}, moment


def _session(leader: int) -> list[int]:
    """Processes of the session that are not over."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, *fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if state != "Z" and int(fields[2]) == leader:
                found.append(int(entry.name))
    return found
