"""The settings of a repository: where they are found, what they may be, who wins."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from cli_harness import ACNET, MODELS

from onnxac.cli import app, config, run
from onnxac.errors import UsageError

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, text: str) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_nothing_is_set_without_a_file() -> None:
    assert config.load() == config.Config()


def test_the_nearest_file_counts(tmp_path: Path) -> None:
    write("onnxac.toml", "seeds = 1")
    write("a/pyproject.toml", "[tool.onnxac]\nseeds = 2")
    write("a/b/pyproject.toml", "[project]\nname = 'x'")
    write("a/c/pyproject.toml", "[tool.onnxac]\nseeds = 3")
    write("a/c/onnxac.toml", "seeds = 4")
    expected = {".": 1, "a": 2, "a/b": 2, "a/c": 4}
    assert {f: config.load(tmp_path / f).values["seeds"] for f in expected} == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = 3", "unknown key 'seed'; did you mean 'seeds'?"),
        ("max_nodes = 3", "did you mean 'max-nodes'?"),
        ("zzz = 3", "unknown key 'zzz'; known are keep, "),
        ("seeds = '3'", "seeds = '3' has to be a whole number, 0 or more"),
        ("seeds = true", "seeds = True has to be a whole number"),
        ("seeds = -1", "has to be a whole number, 0 or more"),
        ("keep = 'a'", "keep = 'a' has to be a list of strings"),
        ("keep = [1]", "keep = [1] has to be a list of strings"),
        ("tolerance = 'small'", "tolerance = 'small' has to be a number"),
        ("verify = 'no'", "verify = 'no' has to be true or false"),
        ("format = 1", "format = 1 has to be a string"),
        ("seeds = ", "not valid TOML"),
    ],
)
@pytest.mark.parametrize("name", ["onnxac.toml", "pyproject.toml"])
def test_errors_name_file_and_key(name: str, text: str, message: str, capsys: Capture) -> None:
    path = write(name, text if name == "onnxac.toml" else f"[tool.onnxac]\n{text}")
    assert run(["check", str(ACNET)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"onnxac: error: {path.resolve()}: ")
    assert message in line


def test_a_table_is_needed() -> None:
    write("pyproject.toml", "[tool]\nonnxac = 3")
    with pytest.raises(UsageError, match="onnxac has to be a table"):
        config.load()


def test_a_value_that_the_option_rejects(capsys: Capture) -> None:
    write("onnxac.toml", "format = 'xml'")
    assert run(["check", str(ACNET)]) == 2
    assert "--format" in capsys.readouterr().err


def test_help_and_version_need_no_settings(capsys: Capture) -> None:
    write("onnxac.toml", "nonsense")
    assert run(["--help"]) == 0
    assert run(["--version"]) == 0
    assert run(["check", "--help"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "line",
    [["--isolated", "check", str(ACNET)], ["check", str(ACNET), "--isolated"]],
)
@pytest.mark.parametrize("text", ["nonsense", 'keep = ["*"]'])
def test_isolated_reads_no_settings(line: list[str], text: str, capsys: Capture) -> None:
    write("onnxac.toml", text)
    assert run(line) == 1
    assert "1 block can be merged" in capsys.readouterr().out


def test_settings_hold_for_every_command_that_has_the_option(capsys: Capture) -> None:
    write("onnxac.toml", 'keep = ["*"]\nmax-nodes = 1\nverify = false\nruns = 2')
    assert run(["optimize", str(ACNET), "out.onnx"]) == 0
    assert "not verified" in capsys.readouterr().out
    assert run(["check", str(ACNET)]) == 1
    said = capsys.readouterr().out
    assert "where 1 are allowed" in said
    assert "merged" not in said


def test_the_command_line_wins(capsys: Capture) -> None:
    write("onnxac.toml", 'keep = ["*"]\nverify = false\nseeds = 1\nfail-if-unfused = true')
    assert run(["optimize", str(ACNET), "out.onnx", "-q"]) == 1
    capsys.readouterr()
    line = ["optimize", str(ACNET), "out.onnx", "--keep", "none", "--verify", "--seeds", "4"]
    assert run(line) == 0
    said = capsys.readouterr().out
    assert "Merged 1 block" in said
    assert re.search(r"8 runs", said)
    assert run(["optimize", str(ACNET), "out.onnx", "-q", "--no-fail-if-unfused"]) == 0


def test_lists_and_numbers_reach_the_commands(capsys: Capture) -> None:
    dynamic = MODELS / "onnx/acb_p1/Ldhw.onnx"
    write("onnxac.toml", 'shape = ["input:1,4,9,11"]\ntolerance = 0.5\ntimeout = 100')
    assert run(["optimize", str(dynamic), "out.onnx", "-q"]) == 0
    assert run(["verify", str(dynamic), "out.onnx", "-v"]) == 0
    said = capsys.readouterr().out
    assert "[1, 4, 9, 11]" in said
    assert "of 0.5 allowed" in said


def test_every_key_is_an_option() -> None:
    command: Any = typer.main.get_command(app)
    options = {
        option: type(parameter.default)
        for c in command.commands.values()
        for parameter in c.params
        for option in parameter.opts
    }
    assert {f"--{key}" for key in config.KEYS} <= options.keys()
