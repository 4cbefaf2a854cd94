"""Many models: the tree kept, one report, what is done is not done again, on every engine."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from cli_harness import ACNET, ACNET_FUSED, REPVGG, ROOT, command, environment, on_terminal, onnxac

from onnxac.cli import run
from onnxac.errors import MissingExtraError
from onnxac.fleet import engines
from onnxac.fleet.ledger import NAME
from onnxac.fleet.places import Place, find_models, targets
from onnxac.report.fleet import FleetReport
from onnxac.report.schema import fleet_schema

Capture = pytest.CaptureFixture[str]
MODELS = {"a.onnx": ACNET, "deep/er/r.onnx": REPVGG, "deep/f.onnx": ACNET_FUSED}
ENGINES = {"ray": "ray", "dask": "distributed"}


@pytest.fixture(autouse=True)
def tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    for name, model in MODELS.items():
        path = Path("nets", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(model, path)


def optimize(*arguments: str) -> int:
    return run(["optimize", *arguments])


def results(folder: str) -> dict[str, bytes]:
    # What is unfinished lies in a hidden folder.
    found = (p for p in Path(folder).rglob("*.onnx") if not p.parent.name.startswith("."))
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def report(path: str = "r.json") -> FleetReport:
    return FleetReport.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))


def states(path: str = "r.json") -> list[str]:
    return [o.state for o in report(path).outcomes]


# What comes out.


def test_the_tree_is_kept_and_each_result_is_that_of_a_run_of_its_own(capsys: Capture) -> None:
    shutil.copy(REPVGG, "top.onnx")
    arguments = ("top.onnx", "nets", "--out-dir", "out", "--jobs", "2", "--report", "r.json")
    assert optimize(*arguments) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert sorted(results("out")) == ["a.onnx", "deep/er/r.onnx", "deep/f.onnx", "top.onnx"]
    assert "4 models: 3 optimized, 1 unchanged, in" in said.out
    assert re.search(r"✓ +nets/deep/er/r\.onnx +23 → 11 +−52 %", said.out)
    assert optimize("top.onnx", "alone.onnx", "-q") == 0
    assert Path("alone.onnx").read_bytes() == results("out")["top.onnx"]
    found = report()
    assert [o.source for o in found.outcomes][:2] == ["top.onnx", "nets/a.onnx"]
    first = found.outcomes[0].report
    assert first is not None
    assert (first.before.path, first.after.path) == ("top.onnx", "out/top.onnx")
    assert first.verification is not None


def test_one_bad_model_stops_no_other_and_gives_its_exit_code(capsys: Capture) -> None:
    Path("nets/bad.onnx").write_text("no model")
    assert optimize("nets", "missing", "no*.onnx", "--out-dir", "out", "--report", "r.json") == 2
    said = capsys.readouterr().out
    assert "✗ nets/bad.onnx: not an ONNX model, or cut short\n" in said
    assert "✗ missing: no such file" in said
    assert "✗ no*.onnx: no file has a name like that\n" in said
    assert "3 failed" in said
    assert sorted(results("out")) == sorted(MODELS)
    assert report().exit_code == 2


def test_a_demand_that_one_model_does_not_meet(capsys: Capture) -> None:
    assert optimize("nets", "--out-dir", "out", "--fail-if-unfused") == 1
    assert "✗ nets/deep/f.onnx: nothing was merged" in capsys.readouterr().out
    # It is written all the same.
    assert sorted(results("out")) == sorted(MODELS)


def test_the_report_fits_its_schema() -> None:
    held = files("onnxac.report").joinpath("fleet.schema.json").read_text(encoding="utf-8")
    assert json.loads(held) == fleet_schema(), "run `make schema`"
    Path("nets/bad.onnx").touch()
    optimize("nets", "--out-dir", "out", "--report", "r.json", "--no-verify", "-q")
    data = json.loads(Path("r.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(fleet_schema())
    validator.check_schema(fleet_schema())
    validator.validate(data)
    assert FleetReport.from_dict(data).to_dict() == data
    assert not validator.is_valid(data | {"outcomes": [{}]})


def test_a_summary_of_all(capsys: Capture) -> None:
    Path("nets/bad.onnx").touch()
    optimize("nets", "--out-dir", "out", "--no-verify", "--summary", "s.md")
    rows = Path("s.md").read_text(encoding="utf-8").splitlines()
    assert rows[0].startswith("### onnxac: 4 models: 2 optimized, 1 unchanged, 1 failed")
    assert {row.count("|") for row in rows if row.startswith("|")} == {7}


def test_in_place_and_dry_runs() -> None:
    before = results("nets")
    assert optimize("nets", "--dry-run", "--report", "r.json", "-q") == 0
    assert results("nets") == before
    assert states() == ["optimized", "optimized", "unchanged"]
    assert optimize("nets", "--in-place", "--jobs", "2", "-q") == 0
    assert run(["check", "nets", "-q"]) == 0


# What is not done again.


def test_what_holds_is_not_done_again() -> None:
    arguments = ("nets", "--out-dir", "out", "--no-verify", "--report", "r.json", "-q")
    assert optimize(*arguments) == 0
    first, told = results("out"), report()
    assert optimize(*arguments) == 0
    assert states() == ["skipped"] * 3
    assert [o.report and o.report.after for o in report().outcomes] == [
        o.report and o.report.after for o in told.outcomes
    ]
    assert results("out") == first


@pytest.mark.parametrize("changed", ["model", "options", "result", "gone", "ledger"])
def test_what_does_not_hold_is_done_again(changed: str) -> None:
    arguments = ["nets", "--out-dir", "out", "--no-verify", "--report", "r.json", "-q"]
    assert optimize(*arguments) == 0
    again = ["optimized", "skipped", "skipped"]
    if changed == "model":
        shutil.copy(REPVGG, "nets/a.onnx")
    elif changed == "options":
        arguments += ["--keep", "/nowhere"]
        again = ["optimized", "optimized", "unchanged"]
    elif changed == "result":
        Path("out/a.onnx").write_bytes(b"")
    elif changed == "gone":
        Path("out/a.onnx").unlink()
    else:
        path = Path("out", NAME)
        path.write_text("no JSON\n" + "".join(path.read_text().splitlines(True)[1:]))
    assert optimize(*arguments) == 0
    assert states() == again
    assert optimize(*arguments) == 0
    assert states() == ["skipped"] * 3


def test_results_are_no_models_to_be_optimized() -> None:
    for _ in range(2):
        assert optimize("nets", "--out-dir", "nets/out", "--no-verify", "-q") == 0
    assert sorted(results("nets/out")) == sorted(MODELS)


# Where things go.


def test_places_and_targets() -> None:
    found = find_models(["nets/a.onnx", "nets", "nets/deep/*/*.onnx", "nowhere"])
    assert found == [
        Place("nets/a.onnx", "a.onnx"),
        Place("nets/deep/er/r.onnx", "deep/er/r.onnx"),
        Place("nets/deep/f.onnx", "deep/f.onnx"),
        Place("nowhere", "nowhere"),
    ]
    assert targets(found, Path("out"))[found[1]] == Path("out/deep/er/r.onnx")
    assert find_models(["nets/deep/*/r.onnx"]) == [Place("nets/deep/er/r.onnx", "er/r.onnx")]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nets"], "nets: is many; say where the results go: --out-dir DIR, or --in-place"),
        (["a", "b", "c"], "c: is a third one; say where the results go: --out-dir DIR, or"),
        (["nets", "--out-dir", "o", "--in-place"], "contradict each other"),
        (["-", "--out-dir", "o"], "standard input holds one model"),
        (["nets", "--out-dir", "o", "--diff", "d.html"], "--diff shows one model"),
        (["nets", "--out-dir", "o", "--bench", "--jobs", "2"], "--bench times one model"),
        (["nets", "--out-dir", "o", "--engine", "ray", "--jobs", "2"], "about this machine"),
        (["nets/a.onnx", "b/a.onnx", "--out-dir", "o"], "would both become o/a.onnx"),
        (["nets/a.onnx", "o.onnx", "--engine", "ray"], "--engine and --jobs are of many models"),
        (["nets/a.onnx", "o.onnx", "--jobs", "2"], "--engine and --jobs are of many models"),
    ],
)
def test_what_can_not_be_had(arguments: list[str], why: str, capsys: Capture) -> None:
    Path("b").mkdir()
    shutil.copy(ACNET, "b/a.onnx")
    assert optimize(*arguments) == 2
    assert why in capsys.readouterr().err
    assert not Path("o").exists()


def test_progress_names_models_and_tells_the_time() -> None:
    sent = on_terminal("optimize", "nets", "--out-dir", "out", env={"NO_COLOR": "1"})
    assert re.search(r"optimized nets/\S+.* [123] of 3", sent)
    assert re.search(r"\d\d:\d\d", sent)


# Engines.


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_same_bytes(engine: str) -> None:
    if importlib.util.find_spec(ENGINES[engine]) is None:
        pytest.skip(f"{ENGINES[engine]} is not installed")
    Path("nets/bad.onnx").touch()
    ran = onnxac("optimize", "nets", "--out-dir", "out", "--engine", engine, "--report", "r.json")
    assert ran.code == 2, ran.stderr
    assert "4 models: 2 optimized, 1 unchanged, 1 failed" in ran.out
    assert report().engine == engine
    assert optimize("nets", "--out-dir", "here", "--jobs", "2", "-q") == 2
    assert results("out") == results("here")


@pytest.mark.parametrize("engine", ["jobs", *ENGINES])
def test_a_worker_that_dies_is_replaced(engine: str, tmp_path: Path) -> None:
    if engine in ENGINES and importlib.util.find_spec(ENGINES[engine]) is None:
        pytest.skip(f"{ENGINES[engine]} is not installed")
    support = ROOT / "tests/support"
    path = f"{support}{os.pathsep}{ROOT}"
    done = subprocess.run(
        [sys.executable, support / "fleet_tasks.py", engine, tmp_path / "nets", *MODELS],
        capture_output=True,
        text=True,
        env=environment({"PYTHONPATH": path}),
        timeout=300,
        check=False,
    )
    assert done.stdout.split() == ["optimized", "optimized", "unchanged", "lost"], done.stderr
    assert sorted(results("nets/out")) == sorted(MODELS)


def test_an_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert optimize("nets", "--out-dir", "out", "--engine", "ray") == 2
    assert 'ray is not installed; pip install "onnxac[ray]"' in capsys.readouterr().err
    with pytest.raises(MissingExtraError):
        engines.Ray()


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_whole_results_and_no_process(number: int) -> None:
    for i in range(30):
        shutil.copy(REPVGG, f"nets/{i}.onnx")
    line = command("optimize", "nets", "--out-dir", "out", "--jobs", "2")
    process = subprocess.Popen(line, env=environment(), start_new_session=True)
    try:
        wait_for(lambda: bool(results("out")))
        process.send_signal(number)
        assert process.wait(timeout=60) == 128 + number
        done = results("out")
        assert 0 < len(done) < 30
        # The whole session is gone: there is nobody left to be told.
        wait_for(lambda: not is_alive(process.pid))
    finally:
        if process.poll() is None:
            process.kill()
    assert not [p for p in Path("out").rglob(".*") if p.name != NAME and p.is_dir()]
    assert optimize("nets", "--out-dir", "out", "--no-verify", "--dry-run", "-q") == 0
