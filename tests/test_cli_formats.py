"""`onnxac check --format`: several in one run, each in a place of its own, and SARIF."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import onnx
import pytest
from cli_harness import NETWORK, REPVGG_FUSED, tiny

import onnxac
from onnxac.cli import run

Capture = pytest.CaptureFixture[str]
CLEAN, UNFUSED, MISSING = str(REPVGG_FUSED), str(NETWORK), "missing.onnx"


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_WORKSPACE", "CI_PROJECT_DIR", "CI"):
        monkeypatch.delenv(name, raising=False)


def formats(*wanted: str) -> list[str]:
    return [argument for one in wanted for argument in ("--format", one)]


def test_several_in_one_run(capsys: Capture) -> None:
    wanted = formats("junit=a.xml", "gitlab=a.json", "sarif=a.sarif", "text=a.txt")
    assert run(["check", UNFUSED, CLEAN, *wanted]) == 1
    told = capsys.readouterr().out
    assert "2 models: 1 clean, 1 unfused" in told
    assert Path("a.txt").read_text() == told
    assert ElementTree.parse("a.xml").getroot().tag == "testsuites"
    assert len(json.loads(Path("a.json").read_text())) == 1
    assert len(json.loads(Path("a.sarif").read_text())["runs"]) == 1


def test_one_of_them_is_printed(capsys: Capture) -> None:
    assert run(["check", UNFUSED, *formats("junit=a.xml", "github")]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("::error ")
    assert "4 blocks can be merged" in said.err
    assert Path("a.xml").exists()


def test_a_file_holds_what_is_printed_without_it(capsys: Capture) -> None:
    for name in ("json", "github", "gitlab", "junit", "sarif"):
        run(["check", UNFUSED, MISSING, "-q", *formats(name)])
        printed = capsys.readouterr().out
        run(["check", UNFUSED, MISSING, "-q", *formats(f"{name}=file")])
        assert Path("file").read_text() == printed
        assert capsys.readouterr().out == ""


def test_settings_may_name_one_or_several(capsys: Capture) -> None:
    Path("onnxac.toml").write_text("format = 'github'")
    run(["check", UNFUSED])
    assert capsys.readouterr().out.startswith("::error ")
    Path("onnxac.toml").write_text("format = ['github', 'junit=a.xml']")
    run(["check", UNFUSED])
    assert capsys.readouterr().out.startswith("::error ")
    assert Path("a.xml").exists()
    Path("onnxac.toml").write_text("format = 3")
    assert run(["check", UNFUSED]) == 2
    assert "a string or a list of strings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["xml"], "has to be FORMAT or FORMAT=FILE"),
        (["junit="], "has to be FORMAT or FORMAT=FILE"),
        (["junit=a", "gitlab=./a"], "its place is that of junit too"),
        (["junit", "gitlab"], "its place is that of junit too"),
        ([f"junit={CLEAN}"], "its place is a model too"),
        (["junit=nowhere/a.xml"], "nowhere"),
    ],
)
def test_nothing_is_looked_at_where_a_place_is_wrong(
    wanted: list[str], message: str, capsys: Capture
) -> None:
    before = Path(CLEAN).read_bytes()
    assert run(["check", CLEAN, *formats(*wanted)]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    assert not list(Path().iterdir())
    assert Path(CLEAN).read_bytes() == before


# SARIF.


def sarif(capsys: Capture, *models: str, options: tuple[str, ...] = ()) -> Any:
    run(["check", *models, "-q", *formats("sarif"), *options])
    return json.loads(capsys.readouterr().out)


def unknown(model: Any) -> Iterator[str]:
    """Fields that the form does not have."""
    yield from model.model_extra or ()
    for name in type(model).model_fields:
        value = getattr(model, name)
        for one in value if isinstance(value, list) else [value]:
            if hasattr(one, "model_extra"):
                yield from unknown(one)


def test_sarif_is_of_its_form(capsys: Capture) -> None:
    form = pytest.importorskip("sarif_pydantic", reason="sarif-pydantic is not installed")
    log = form.Sarif.model_validate(sarif(capsys, UNFUSED, CLEAN, MISSING))
    assert list(unknown(log)) == []
    assert list(unknown(form.Sarif.model_validate({"version": "2.1.0", "runs": [], "no": 1})))


def test_sarif_has_a_result_for_each_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(NETWORK.parents[3]))
    log = sarif(capsys, UNFUSED, CLEAN, MISSING, options=("--max-nodes", "20"))
    (found,) = log["runs"]
    driver = found["tool"]["driver"]
    assert (driver["name"], driver["semanticVersion"]) == ("onnxac", onnxac.__version__)
    results = found["results"]
    assert [(r["ruleId"], r["level"]) for r in results] == [
        ("onnxac/unfused", "warning"),
        ("onnxac/over-budget", "error"),
        ("onnxac/unreadable", "error"),
    ]
    assert all(driver["rules"][r["ruleIndex"]]["id"] == r["ruleId"] for r in results)
    assert len({r["partialFingerprints"]["onnxac/v1"] for r in results}) == 3
    (place,) = results[0]["locations"]
    assert place["physicalLocation"]["artifactLocation"] == {
        "uri": f"models/onnx/repvgg/{NETWORK.name}",
        "uriBaseId": "%SRCROOT%",
    }


def test_sarif_names_odd_files(capsys: Capture) -> None:
    odd = "a b#c?[d](e) 100%.onnx"
    (result,) = sarif(capsys, odd)["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert unquote(place["uri"]) == odd
    assert not set("#? []") & set(place["uri"])
    (result,) = sarif(capsys, "/nowhere/a b.onnx")["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place == {"uri": "file:///nowhere/a%20b.onnx"}


def test_sarif_makes_no_link_of_what_a_model_says(capsys: Capture) -> None:
    onnx.save(tiny(op="[a](b)"), "x.onnx")
    (result,) = sarif(capsys, "x.onnx")["runs"][0]["results"]
    assert "[a] (b)" in result["message"]["text"]
    assert "](" not in result["message"]["text"]
