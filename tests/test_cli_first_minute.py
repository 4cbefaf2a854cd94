"""What somebody types who has not read anything yet."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import onnx
import pytest
from cli_harness import ACNET, NETWORK, REPVGG, REPVGG_FUSED, on_terminal, onnxac

from onnxac.cli import run
from onnxac.cli.arguments import complete
from onnxac.gate import UNFIXED
from onnxac.pipeline import inspect
from onnxac.proof import verify
from onnxac.render.numbers import short, size

Capture = pytest.CaptureFixture[str]
COMMANDS = ("optimize", "verify", "check")


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def nodes(path: str | Path) -> int:
    return len(onnx.load(path).graph.node)


# The command line.


def test_nothing_at_all_shows_the_help(capsys: Capture) -> None:
    assert run([]) == 0
    said = capsys.readouterr()
    assert "Examples" in said.out
    assert said.err == ""


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["a.onnx", "b.onnx"], ["optimize", "a.onnx", "b.onnx"]),
        (["--keep", "/x", "a.onnx", "b"], ["optimize", "--keep", "/x", "a.onnx", "b"]),
        (["-", "-"], ["optimize", "-", "-"]),
        (["a.onnx", "--summary"], ["optimize", "a.onnx", "--summary="]),
        (["optimise", "a.onnx"], ["optimise", "a.onnx"]),
        (["optimise", "a"], ["optimise", "a"]),
        (["check", "a.onnx"], ["check", "a.onnx"]),
        (["--version"], ["--version"]),
        (["--help"], ["--help"]),
        (["-vv", "check", "a.onnx"], ["-vv", "check", "a.onnx"]),
        (["check", "a", "--isolated"], ["--isolated", "check", "a"]),
        (["--isolated", "a.onnx", "b"], ["--isolated", "optimize", "a.onnx", "b"]),
        (["check", "--", "--isolated"], ["check", "--", "--isolated"]),
    ],
)
def test_a_line_without_a_command(given: list[str], meant: list[str]) -> None:
    assert complete(given, COMMANDS) == meant


def test_two_models_are_optimized() -> None:
    assert run([str(REPVGG), "out.onnx", "-q"]) == 0
    assert nodes("out.onnx") == nodes(REPVGG_FUSED)


def test_a_misspelt_command_is_told(capsys: Capture) -> None:
    assert run(["optimise", str(REPVGG), "out.onnx"]) == 2
    assert "optimise" in capsys.readouterr().err
    assert not list(Path().iterdir())


# Where things go.


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_gets_a_file_of_the_same_name(exists: bool) -> None:
    if exists:
        Path("dir").mkdir()
    assert run(["optimize", str(REPVGG), "dir/", "-q"]) == 0
    assert [p.name for p in Path("dir").iterdir()] == ["L.onnx"]
    assert run(["optimize", str(REPVGG), "dir", "-q"]) == 0
    assert [p.name for p in Path("dir").iterdir()] == ["L.onnx"]


def test_a_folder_that_was_made_goes_when_nothing_is_written(capsys: Capture) -> None:
    assert run(["optimize", "missing.onnx", "dir/"]) == 2
    assert not Path("dir").exists()
    assert run(["optimize", str(REPVGG), "no/dir/"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_stream_has_no_name_for_a_folder() -> None:
    Path("dir").mkdir()
    ran = onnxac("optimize", "-", "dir", stdin=REPVGG.read_bytes())
    assert ran.code == 2
    assert "name a file in it for standard input" in ran.stderr


@pytest.mark.parametrize("out", [["out.onnx"], [], ["dir/"]])
def test_a_dry_run_shows_all_and_writes_nothing(out: list[str], capsys: Capture) -> None:
    assert run(["optimize", str(REPVGG), *out, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Would optimize {REPVGG}")
    assert "Merged 4 blocks" in said
    assert "equal within" in said
    assert not list(Path().iterdir())


def test_a_dry_run_still_reports() -> None:
    extras = ["--report", "r.json", "--diff", "d.html"]
    assert run(["optimize", str(REPVGG), "--dry-run", *extras, "-q"]) == 0
    assert sorted(p.name for p in Path().iterdir()) == ["d.html", "r.json"]


@pytest.mark.parametrize("command", [["optimize", "--dry-run"], ["explain"], ["check"]])
def test_a_pattern_that_keeps_nothing_is_told(command: list[str], capsys: Capture) -> None:
    run([*command, str(REPVGG), "--keep", "/0/*", "--keep", "nope*"])
    said = capsys.readouterr().err
    assert "onnxac: no node has a name like 'nope*', which is to be kept\n" in said
    assert "/0/" not in said


def test_a_pattern_that_keeps_something_somewhere_is_no_news(capsys: Capture) -> None:
    run(["check", str(REPVGG), str(ACNET), "--keep", "/square_conv/*", "--keep", "nope"])
    said = capsys.readouterr().err
    assert "nope" in said
    assert "square_conv" not in said


# Many models.


@pytest.fixture
def tree() -> None:
    Path("nets/deep").mkdir(parents=True)
    shutil.copy(REPVGG, "nets/deep/a.onnx")
    shutil.copy(REPVGG_FUSED, "nets/b.onnx")
    Path("nets/notes.txt").touch()


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("place", ["nets", "nets/**/*.onnx", "."])
def test_folders_and_patterns_are_looked_into(place: str, capsys: Capture) -> None:
    assert run(["check", place]) == 1
    said = capsys.readouterr().out
    assert "✗ nets/deep/a.onnx: 4 blocks" in said
    assert "✓ nets/b.onnx: clean, 11 nodes" in said
    assert "2 models: 1 clean, 1 unfused" in said


@pytest.mark.usefixtures("tree")
def test_a_model_is_looked_at_once(capsys: Capture) -> None:
    run(["check", "nets/b.onnx", "nets/*.onnx"])
    assert capsys.readouterr().out == "✓ nets/b.onnx: clean, 11 nodes\n"


@pytest.mark.parametrize(
    ("place", "why"),
    [("empty", "no .onnx file is in this folder"), ("*.onnx", "no file has a name like that")],
)
def test_a_gate_that_looks_at_nothing_is_not_green(place: str, why: str, capsys: Capture) -> None:
    Path("empty").mkdir()
    assert run(["check", place, str(REPVGG_FUSED)]) == 2
    assert f"! {place}: {why}\n" in capsys.readouterr().out


def test_a_model_by_standard_input() -> None:
    ran = onnxac("check", "-", stdin=REPVGG.read_bytes())
    assert ran.code == 1
    assert "✗ -: 4 blocks can be merged" in ran.out


# Mending.


@pytest.mark.usefixtures("tree")
def test_fix_merges_in_place_and_proves_it(capsys: Capture) -> None:
    fused = Path("nets/b.onnx").read_bytes()
    assert run(["check", "nets", "--fix"]) == 0
    said = capsys.readouterr().out
    assert "✓ nets/deep/a.onnx: fixed, 23 nodes → 11\n" in said
    assert "✓ nets/b.onnx: clean, 11 nodes" in said
    assert Path("nets/b.onnx").read_bytes() == fused
    assert verify(REPVGG, Path("nets/deep/a.onnx")).passed
    assert run(["check", "nets", "-q"]) == 0


@pytest.mark.usefixtures("tree")
def test_fix_holds_the_result_against_the_budget(capsys: Capture) -> None:
    assert run(["check", "nets/deep", "--fix", "--max-nodes", "20"]) == 0
    shutil.copy(REPVGG, "nets/deep/a.onnx")
    assert run(["check", "nets/deep", "--fix", "--max-nodes", "10"]) == 1
    assert "11 nodes where 10 are allowed" in capsys.readouterr().out


@pytest.mark.usefixtures("tree")
def test_what_can_not_be_fixed_is_told_and_the_others_are(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shutil.copy(REPVGG, "nets/c.onnx")
    Path("nets/c.onnx").chmod(0o444)
    before = Path("nets/c.onnx").read_bytes()
    assert run(["check", "nets", "--fix", "--format", "json"]) == 1
    said = capsys.readouterr()
    assert "✗ nets/c.onnx: 4 blocks can be merged" in said.err
    assert f'"kind": "{UNFIXED}"' in said.out
    assert "✓ nets/deep/a.onnx: fixed" in said.err
    assert Path("nets/c.onnx").read_bytes() == before


def test_fix_needs_files(capsys: Capture) -> None:
    assert run(["check", "-", "--fix"]) == 2
    assert "--fix needs files" in capsys.readouterr().err


# What is shown.


def test_help_names_no_types_of_python() -> None:
    for command in ("optimize", "check", "diff", "verify", "explain", "bench"):
        said = onnxac(command, "--help", env={"COLUMNS": "100"}).out
        assert not re.search(r"<(list|path|str|Path)", said), command


@pytest.mark.parametrize("width", [80, 40, 20])
def test_everything_holds_at_any_width(width: int) -> None:
    for line in (
        ("optimize", NETWORK, "out.onnx", "--report", "r.json"),
        ("explain", NETWORK, "-v", "--keep", "/0/*"),
        ("bench", ACNET, ACNET, "--runs", "2"),
        ("diff", NETWORK, ACNET, "-o", "d.html"),
        ("verify", NETWORK, REPVGG_FUSED, "-v"),
        ("certify", NETWORK, "out.onnx", "--report", "r.json", "-v"),
    ):
        sent = on_terminal(*line, env={"COLUMNS": str(width), "NO_COLOR": "1"})
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent)
        # Remarks are copied, as places of files are, and are left whole.
        lines = [s for s in re.split(r"[\r\n]+", shown) if not s.startswith(("Wrote", "onnxac: "))]
        assert max(map(len, lines)) <= width, line


@pytest.mark.parametrize("width", [80, 40, 20])
def test_no_figure_is_lost_where_it_is_narrow(width: int) -> None:
    env = {"COLUMNS": str(width), "NO_COLOR": "1"}
    sent = on_terminal("optimize", NETWORK, "out.onnx", "--no-verify", env=env)
    shown = re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent))
    stats = inspect(NETWORK)
    for before, after in (
        (short(stats.before.stats.parameters), short(stats.after.stats.parameters)),
        (size(stats.before.stats.bytes), size(stats.after.stats.bytes)),
    ):
        assert re.search(rf"{before},? {after}", shown)
    sent = on_terminal("bench", ACNET, ACNET, "--runs", "2", env=env)
    assert len(re.findall(r"\d [µm]s", sent)) >= 2


def test_a_long_name_is_whole_in_a_file() -> None:
    model, name = onnx.load(ACNET), "a" * 70
    for node in model.graph.node:
        node.input[:] = [name if i == "input" else i for i in node.input]
    model.graph.input[0].name = name
    onnx.save(model, "in.onnx")
    assert run(["optimize", "in.onnx", "out.onnx", "--report", "r.json", "-q"]) == 0
    assert name in onnxac("certify", "in.onnx", "out.onnx", "--report", "r.json", "-v").out


def test_certify_takes_a_model_by_standard_input() -> None:
    assert run(["optimize", str(ACNET), "out.onnx", "--report", "r.json", "-q"]) == 0
    with_input = ("certify", "-", "out.onnx", "--report", "r.json")
    ran = onnxac(*with_input, stdin=ACNET.read_bytes())
    assert (ran.code, ran.stderr) == (0, "")
    assert "1 of 1 change certified" in ran.out


def test_progress_is_measured() -> None:
    sent = on_terminal("optimize", NETWORK, "out.onnx", "--seeds", "40", env={"NO_COLOR": "1"})
    assert re.search(r"proving.* \d+ of \d+", sent)
