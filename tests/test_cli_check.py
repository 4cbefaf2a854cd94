"""`onnxac check`: verdicts, exit codes, budgets, and the formats that pipelines read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
from cli_harness import ACNET, NETWORK, REPVGG_FUSED, onnxac, tiny

from onnxac.cli import run

Capture = pytest.CaptureFixture[str]
CLEAN, UNFUSED, MISSING = str(REPVGG_FUSED), str(NETWORK), "missing.onnx"


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_WORKSPACE", "CI_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("models", "code"),
    [
        ([CLEAN], 0),
        ([UNFUSED], 1),
        ([MISSING], 2),
        ([CLEAN, UNFUSED], 1),
        ([MISSING, UNFUSED, CLEAN], 2),
    ],
)
def test_the_worst_wins_and_all_are_looked_at(
    models: list[str], code: int, capsys: Capture
) -> None:
    before = NETWORK.read_bytes()
    assert run(["check", *models]) == code
    said = capsys.readouterr().out
    assert all(re.search(rf"(?m)^[✓✗!] {re.escape(m)}: ", said) for m in models)
    assert NETWORK.read_bytes() == before
    assert not list(Path().iterdir())


def test_says_what_would_be_saved(capsys: Capture) -> None:
    run(["check", UNFUSED])
    said = capsys.readouterr().out
    assert re.search(
        r"✗ \S+: 4 blocks can be merged: nodes 23 → 11, "
        r"multiply-adds [\d,]+ → [\d,]+ \(−9.9 %\), bytes [\d,]+ → [\d,]+ \(−\d+ %\)\n",
        said,
    )
    assert "onnxac check --fix" in said


def test_folding_constants_alone_is_clean(capsys: Capture) -> None:
    model = tiny()
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["c"], value_int=1))
    onnx.save(model, "m.onnx")
    assert run(["check", "m.onnx"]) == 0
    assert "clean" in capsys.readouterr().out


@pytest.mark.parametrize("limit", ["nodes", "parameters", "macs", "bytes"])
def test_budgets(limit: str, capsys: Capture) -> None:
    assert run(["check", CLEAN, f"--max-{limit}", "1"]) == 1
    assert re.search(r"[\d,]+ [\w-]+ where 1 are allowed", capsys.readouterr().out)
    assert run(["check", CLEAN, f"--max-{limit}", "1000000000"]) == 0


def test_a_budget_of_what_is_not_known(capsys: Capture) -> None:
    model = onnx.load(REPVGG_FUSED)
    for value in model.graph.input:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    onnx.save(model, "m.onnx")
    assert run(["check", "m.onnx", "--max-macs", "10"]) == 1
    assert "its multiply-adds are not known" in capsys.readouterr().out


def test_keep_makes_a_model_clean() -> None:
    assert run(["check", UNFUSED, "--keep", "*", "-q"]) == 0


def test_quiet_text_is_silent(capsys: Capture) -> None:
    assert run(["check", UNFUSED, "-q"]) == 1
    assert capsys.readouterr() == ("", "")


def test_machine_formats_leave_the_text_to_stderr(capsys: Capture) -> None:
    run(["check", UNFUSED, CLEAN, "--format", "json"])
    said = capsys.readouterr()
    json.loads(said.out)
    assert "2 models: 1 clean, 1 unfused" in said.err


def test_json(capsys: Capture) -> None:
    assert run(["check", UNFUSED, CLEAN, MISSING, "--format", "json", "-q"]) == 2
    unfused, clean, missing = json.loads(capsys.readouterr().out)["models"]
    assert [m["exit_code"] for m in (unfused, clean, missing)] == [1, 0, 2]
    assert [p["kind"] for p in unfused["problems"]] == ["unfused"]
    assert len(unfused["report"]["fusions"]) == 4
    assert clean["problems"] == []
    assert missing["report"] is None
    assert missing["problems"] == [{"kind": "unreadable", "message": "no such file"}]


def test_github(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(NETWORK.parents[3]))
    odd = Path("a,b:c 100%.onnx")
    odd.write_bytes(b"")
    arguments = [UNFUSED, CLEAN, str(odd), "--format", "github", "--max-nodes", "3", "-q"]
    assert run(["check", *arguments]) == 2
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith(
        f"::error title=onnxac%3A Model can be merged,file=models/onnx/repvgg/{NETWORK.name}::"
    )
    assert "4 blocks can be merged" in first
    assert "23 nodes where 3 are allowed" in first
    assert "Model over budget" in second
    assert ",file=a%2Cb%3Ac 100%25.onnx::a,b:c 100%25.onnx: is empty" in third


def test_github_is_silent_about_clean_models(capsys: Capture) -> None:
    assert run(["check", CLEAN, "--format", "github", "-q"]) == 0
    assert capsys.readouterr().out.strip() == ""


def test_gitlab(capsys: Capture) -> None:
    arguments = [UNFUSED, CLEAN, MISSING, "--format", "gitlab", "--max-nodes", "20", "-q"]
    run(["check", *arguments])
    first_run = json.loads(capsys.readouterr().out)
    assert [(e["check_name"], e["severity"]) for e in first_run] == [
        ("onnxac/unfused", "minor"),
        ("onnxac/over-budget", "major"),
        ("onnxac/unreadable", "critical"),
    ]
    assert len({e["fingerprint"] for e in first_run}) == 3
    assert first_run[2]["location"] == {"path": MISSING, "lines": {"begin": 1}}
    run(["check", *arguments])
    assert json.loads(capsys.readouterr().out) == first_run


def test_junit(capsys: Capture) -> None:
    hostile = '<&>"\x1b[31m\x00\uffff]]>.onnx'.replace("\x00", "")
    run(["check", UNFUSED, CLEAN, hostile, "--format", "junit", "-q"])
    (suite,) = ElementTree.fromstring(capsys.readouterr().out)
    counts = {k: suite.get(k) for k in ("tests", "failures", "errors")}
    assert counts == {"tests": "3", "failures": "1", "errors": "1"}
    unfused, clean, missing = suite
    assert [e.tag for e in unfused] == ["failure"]
    assert list(clean) == []
    assert [(e.tag, e.get("type")) for e in missing] == [("error", "unreadable")]
    assert missing.get("name") == '<&>"\ufffd[31m\ufffd]]>.onnx'


def test_through_a_shell() -> None:
    done = onnxac("check", ACNET, "--format", "junit")
    assert done.code == 1
    assert ElementTree.fromstring(done.out).tag == "testsuites"
