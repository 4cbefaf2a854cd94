"""`verify`, `diff`, `explain`, `bench`, `--version` and `--help`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import onnx
import pytest
from cli_harness import (
    ACNET,
    ACNET_FUSED,
    MODELS,
    NETWORK,
    REPVGG,
    REPVGG_FUSED,
    ROOT,
    onnxac,
    perturbed,
)

import onnxac as package
from onnxac.cli import app, run

Capture = pytest.CaptureFixture[str]
COMMANDS = ("optimize", "verify", "certify", "diff", "check", "explain", "rule", "bench")


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_verify_equal(capsys: Capture) -> None:
    assert run(["verify", str(REPVGG), str(REPVGG_FUSED), "--tolerance", "1e-4"]) == 0
    said = capsys.readouterr()
    assert re.fullmatch(
        r"✓ equal within \S+ on the output \(tolerance 0.0001\), \d+ runs\n", said.out
    )
    assert said.err == ""


def test_verify_the_same_model(capsys: Capture) -> None:
    assert run(["verify", str(ACNET), str(ACNET), "-v"]) == 0
    assert (
        "equal by construction: nothing behind the outputs was changed" in capsys.readouterr().out
    )


def test_verify_shows_each_output(capsys: Capture) -> None:
    assert run(["verify", str(REPVGG), str(REPVGG_FUSED), "--seeds", "1", "-v"]) == 0
    said = capsys.readouterr().out
    assert "onnxruntime" in said
    assert re.search(r"output \S+: off by \S+ of \S+ allowed", said)


def test_verify_mismatch(tmp_path: Path, capsys: Capture) -> None:
    broken = perturbed(ACNET, tmp_path / "broken.onnx")
    assert run(["verify", str(ACNET), str(broken)]) == 1
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert said.out == ""
    assert re.search(r"output 'output' is off by \S+ of .*, of which \S+ is allowed", line)


def test_diff_says_where_the_page_is(capsys: Capture) -> None:
    assert run(["diff", str(ACNET), str(ACNET_FUSED)]) == 0
    said = capsys.readouterr()
    assert "5 nodes → 1." in said.out
    place = re.search(r"The page is (\S+\.html)", said.err)
    assert place is not None
    page = Path(place[1])
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    page.unlink()


def test_diff_with_a_report(tmp_path: Path, capsys: Capture) -> None:
    assert run(["optimize", str(ACNET), "fused.onnx", "--report", "r.json", "-q"]) == 0
    pair = [str(ACNET), "fused.onnx", "-o", "d.html"]
    assert run(["diff", *pair, "--report", "r.json", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert "Equal within" in Path("d.html").read_text(encoding="utf-8")
    assert run(["diff", str(REPVGG), *pair[1:], "--report", "r.json"]) == 2
    assert "not the model that r.json is about" in capsys.readouterr().err


def test_diff_writes_a_mapping_for_model_explorer() -> None:
    assert (
        run(["diff", str(ACNET), str(ACNET_FUSED), "-o", "d.html", "--mapping", "m.json", "-q"])
        == 0
    )
    (entry,) = json.loads(Path("m.json").read_text(encoding="utf-8"))["mappingEntries"]
    assert len(entry["leftNodeIds"]) == 5
    assert len(entry["rightNodeIds"]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a report"),
        ("[]", "no schema version"),
        ('{"schema": 99}', "a report of schema 99"),
        ('{"schema": 1, "before": 3}', "not a report"),
    ],
)
def test_diff_with_what_is_no_report(text: str, message: str, capsys: Capture) -> None:
    Path("r.json").write_text(text, encoding="utf-8")
    assert run(["diff", str(ACNET), str(ACNET_FUSED), "--report", "r.json"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("onnxac: error: r.json: ")
    assert message in line


def test_diff_never_overwrites_a_model(tmp_path: Path, capsys: Capture) -> None:
    model = str(shutil.copy(ACNET, tmp_path / "m.onnx"))
    assert run(["diff", model, str(ACNET_FUSED), "-o", model]) == 2
    assert "one of the models" in capsys.readouterr().err
    assert Path(model).read_bytes() == ACNET.read_bytes()


def test_diff_opens_the_page(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    opened: list[str] = []

    def no_browser(url: str) -> bool:
        opened.append(url)
        return False

    monkeypatch.setattr("webbrowser.open", no_browser)
    assert run(["diff", str(ACNET), str(ACNET_FUSED), "-o", "d.html", "--open"]) == 0
    assert opened == [Path("d.html").resolve().as_uri()]
    assert "No browser was found" in capsys.readouterr().err


def test_diff_without_netron(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(["diff", str(ACNET), str(ACNET_FUSED), "-o", "d.html"]) == 0
    assert "onnxac[netron]" in capsys.readouterr().err


def test_explain_a_model(capsys: Capture) -> None:
    conv = next(n.name for n in onnx.load(NETWORK).graph.node if n.op_type == "Conv")
    assert run(["explain", str(NETWORK), "--keep", conv]) == 0
    said = capsys.readouterr().out
    assert "Can be merged: 3 blocks" in said
    assert re.search(r"saves \d+ nodes and \S+ k multiply-adds", said)
    assert "Left alone" in said
    assert re.search(r"Rules\n\n(.*\n)*  keep +Left alone because --keep", said)
    assert "✓ 3 of 3 changes certified" in said
    assert run(["explain", str(NETWORK), "-v"]) == 0
    assert re.search(r"  ✓ \S+: [\d,]+ entries, the worst at \d+ %", capsys.readouterr().out)


def test_explain_a_node(capsys: Capture) -> None:
    name = next(n.name for n in onnx.load(ACNET).graph.node if n.op_type == "Add")
    assert run(["explain", str(ACNET), "--node", name]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Node {name}  Add\n")
    assert "can be merged" in said
    assert re.search(r"1×3 +at 1,0 +\S+", said)
    assert re.search(
        r"certified: ✓ [\d,]+ entries, the worst at \d+ % of what rounding may do", said
    )
    assert "saves" in said


def test_explain_a_node_by_its_tensor(capsys: Capture) -> None:
    assert run(["explain", str(ACNET), "--node", "output"]) == 0
    assert re.match(r"Node /\S+  \w+\n", capsys.readouterr().out)


def test_explain_a_kept_node(capsys: Capture) -> None:
    name = next(n.name for n in onnx.load(ACNET).graph.node if n.op_type == "Conv")
    assert run(["explain", str(ACNET), "--node", name, "--keep", name]) == 0
    assert "[keep]" in capsys.readouterr().out


def test_explain_a_node_that_takes_no_part(capsys: Capture) -> None:
    name = next(n.name for n in onnx.load(NETWORK).graph.node if n.op_type == "Relu")
    assert run(["explain", str(NETWORK), "--node", name]) == 0
    assert "Takes no part" in capsys.readouterr().out


def test_explain_suggests_names(capsys: Capture) -> None:
    assert run(["explain", str(ACNET), "--node", "/square_con/Conv"]) == 2
    said = capsys.readouterr().err
    assert "no node '/square_con/Conv'; similar: /square_conv/Conv" in said


def test_bench(capsys: Capture) -> None:
    arguments = ["--runs", "5", "--warmup", "1", "--threads", "2", "--shape", "input:1,4,19,21"]
    assert run(["bench", str(ACNET), str(ACNET_FUSED), *arguments]) == 0
    said = capsys.readouterr().out
    for path in (ACNET, ACNET_FUSED):
        assert re.search(rf"{re.escape(str(path))} +[\d.]+ [mµ]s +[\d.]+ [mµ]s +━+", said)
    assert re.search(r"\d×.*\(5 runs each, 2 threads, CPUExecutionProvider\)", said)


def test_version(capsys: Capture) -> None:
    assert run(["--version"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["onnxac", "onnx", "onnxruntime", "onnx-graphsurgeon", "numpy", "python"]


def test_help_has_an_example_of_each_task() -> None:
    said = onnxac("--help", env={"COLUMNS": "100"})
    assert said.code == 0
    tasks = re.findall(r"(?m)^ +(\w+) +onnxac (\w+) ", said.out)
    assert tasks == [
        ("optimize", "optimize"),
        ("many", "optimize"),
        ("see", "diff"),
        ("verify", "verify"),
        ("certify", "certify"),
        ("measure", "bench"),
        ("gate", "check"),
        ("explain", "explain"),
    ]
    assert re.search(r"(?m)^ +notebook +import onnxac; .*onnxac\.optimize\(", said.out)


def test_the_readme_names_each_task_and_how_to_do_it() -> None:
    """What somebody looks for who knows another optimizer; `--help` and this are all they read."""
    rows = (ROOT / "README.md").read_text(encoding="utf-8")
    asked = {
        "optimize": "onnxac in.onnx out.onnx",
        "see": "onnxac diff",
        "prove": "onnxac verify",
        "gate": "onnxac check",
        "optimize many": "--out-dir",
        "notebook": "onnxac.optimize(",
        "left alone": "onnxac explain",
        "quantize": "--equalize",
        "fixed size": "--fix-shape",
    }
    for task, command in asked.items():
        assert re.search(rf"(?m)^\| [^|]*{task}[^|]* \| .*{re.escape(command)}", rows), task


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_an_example_and_short_help(name: str, capsys: Capture) -> None:
    assert run([name, "-h"]) == 0
    said = capsys.readouterr().out
    assert f"onnxac {name} " in said.split("Arguments")[0].split("\n", 3)[3]
    assert said.count("\n") < 110


def test_completion_is_there(capsys: Capture) -> None:
    env = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = onnxac("--show-completion", "bash", env=env)
    assert "complete" in done.out.lower() + done.stderr.lower()


def test_every_command_is_there() -> None:
    assert [c.callback.__name__ for c in app.registered_commands if c.callback] == list(COMMANDS)
    assert package.__version__ in onnxac("--version").out
    assert MODELS.is_dir()
