"""Names that strangers chose, in every form that onnxac prints or writes."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import onnx
import pytest
from cli_harness import NETWORK, REPVGG, Ran, onnxac

from onnxac import Options, optimize
from onnxac.cli import run
from onnxac.page import Known, draw_page, draw_text, gather
from onnxac.render import safe
from onnxac.render.document import read_report, to_json
from onnxac.render.explanation import explanation, node_explanation
from onnxac.render.markdown import to_markdown
from onnxac.render.terminal import told
from onnxac.report import Report, schema

Capture = pytest.CaptureFixture[str]

# What runners of pipelines, terminals, browsers and readers of text obey.
EVIL = {
    "command": "::add-mask::secret",
    "command after spaces": "\n   ::error file=x::owned",
    "old command": "##[error]owned ##vso[task.complete] ##teamcity[buildStop]",
    "terminal": "\x1b[2J\x1b]0;owned\x07\x9b31m\r",
    "direction": "\u202egnp.exe\u2066\u200f\u061c",
    "lines": "a\nb\r\nc\x0bd\x0ce\x85f\u2028g\u2029h",
    "unseen": "\ufeff\u200b\u00ad\u2060\U000e0041",
    "markup": "<img src=x onerror=alert(1)>[link](http://x)|`x`</script>[red]",
    "noncharacters": "\ufdd0\ufffe\uffff",
    "long": "long/" * 200_000,
}
HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def harmful(text: str) -> set[str]:
    """Characters that are obeyed or not seen, but for the ends of lines that we write."""
    return {c for c in text if c != "\n" and unicodedata.category(c) in HARMFUL}


def commands(text: str) -> list[str]:
    """What the runner of a pipeline would obey in a log."""
    lines = text.splitlines()
    obeyed = [line for line in lines if line.strip().startswith("::")]
    return obeyed + [line for line in lines if re.search(r"##[\w-]*\[", line)]


def renamed(evil: str) -> onnx.ModelProto:
    """A network whose nodes, tensors and producer are called like that."""
    model = onnx.load(NETWORK)
    graph = model.graph
    kept = {v.name for v in (*graph.input, *graph.output)}
    inner = {name for n in graph.node for name in (*n.input, *n.output)} - kept - {""}
    # Repeating a name of a megabyte in each tensor would test memory, not names.
    names = {name: f"{evil[:5000]}{i}" for i, name in enumerate(sorted(inner))}
    for i, node in enumerate(graph.node):
        # Each begins with it; the first of a block, which gives the merged one its name, too.
        node.name = f"{evil}{i}"
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]
    for value in (*graph.initializer, *graph.value_info):
        value.name = names.get(value.name, value.name)
    model.producer_name = evil[:5000]
    return model


@pytest.fixture(scope="module", params=EVIL.values(), ids=list(EVIL))
def evil(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(evil: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile")
    onnx.save(renamed(evil), path / "m.onnx")
    (path / "bad.onnx").write_bytes(b"\x08")
    return path


def here(*line: str, capsys: Capture) -> Ran:
    """The command in this process."""
    code = run(line)
    said = capsys.readouterr()
    return Ran(code, said.out.encode(), said.err)


FORMATS = ("text", "json", "github", "gitlab", "junit")
LINES = (
    ("optimize", "m.onnx", "o.onnx", "--summary", "-", "--seeds", "1"),
    ("optimize", "m.onnx", "o.onnx", "-v", "--no-verify"),
    ("optimize", "m.onnx", "--dry-run", "--report", "-", "--no-verify"),
    ("explain", "m.onnx", "-v"),
    ("verify", "m.onnx", "m.onnx", "-v", "--seeds", "1"),
    ("explain", "m.onnx", "--keep", "*"),
    ("diff", "m.onnx", "o.onnx", "-o", "e.html", "-v"),
    *(("check", "m.onnx", "bad.onnx", "--format", f) for f in FORMATS),
)


@pytest.mark.parametrize("pipeline", [True, False], ids=["in a pipeline", "to a file"])
def test_no_command_prints_what_is_obeyed(
    folder: Path, pipeline: bool, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(folder)
    for name in ("CI", "GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    if pipeline:
        monkeypatch.setenv("CI", "true")
    for line in LINES:
        ran = here(*line, capsys=capsys)
        assert ran.code in (0, 1, 2), line
        assert "bug in onnxac" not in ran.stderr, line
        said = ran.out + ran.stderr
        assert harmful(said) == set(), line
        wanted = "github" in line
        found = [c for c in commands(said) if not (wanted and c.startswith("::error title="))]
        # A file is no log; but no line begins with a name there, either.
        assert (found if pipeline else [c for c in found if c.strip().startswith("::")]) == [], line


def test_files_hold_names_as_they_are_and_nothing_that_is_obeyed(
    folder: Path, evil: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    line = ("optimize", "m.onnx", "o.onnx", "--report", "r.json", "--summary", "s.md")
    assert run([*line, "--diff", "d.html", "--no-verify", "-q"]) == 0
    for name in ("r.json", "s.md", "d.html"):
        text = (folder / name).read_text(encoding="utf-8")
        assert harmful(text) == set(), name
    report = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    names = {n["name"] for f in report["fusions"] for n in f["removed"]}
    assert names <= {n.name for n in onnx.load(folder / "m.onnx").graph.node}
    assert any(evil in name for name in names)
    assert commands((folder / "r.json").read_text(encoding="utf-8")) == []


def test_names_are_whole_in_a_file() -> None:
    """Longer than any terminal is wide, and never cut where nobody's width counts."""
    name = "/".join(f"stages.{i}" for i in range(40))
    model = onnx.load(REPVGG)
    for i, node in enumerate(model.graph.node):
        node.name = f"{name}/{i}"
    report = optimize(model, Options(verify=False))[1]
    assert report.fusions
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "40")
        assert f"{name}/" in printed(told(report, "a", "b", False))


def printed(parts: Any) -> str:
    import io

    from rich.console import Console

    from onnxac.render.columns import UNLIMITED

    out = io.StringIO()
    console = Console(file=out, width=UNLIMITED, color_system=None, markup=False)
    console.print(*parts, sep="\n")
    return out.getvalue()


def test_a_runner_is_told_apart_from_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION"):
        monkeypatch.delenv(name, raising=False)
    assert not safe.in_pipeline()
    monkeypatch.setenv("CI", "false")
    assert not safe.in_pipeline()
    monkeypatch.setenv("TF_BUILD", "True")
    assert safe.in_pipeline()


@pytest.mark.parametrize("text", [":::", "a::b::", "##[x]", "###[x]", "##vso[x]", "##a-b[x]"])
def test_disarming_leaves_no_command(text: str) -> None:
    found = safe.disarmed(text)
    assert "::" not in found
    assert not re.search(r"##[\w-]*\[", found)
    assert found.replace(" ", "") == text


def test_json_reads_back_as_it_was(evil: str) -> None:
    text = safe.to_json({evil: [evil]})
    assert harmful(text) == set()
    assert "::" not in text
    assert json.loads(text) == {evil: [evil]}


def test_a_traceback_is_no_place_for_commands(folder: Path) -> None:
    hostile = "x\n::add-mask::y.onnx"
    ran = onnxac("check", "-vv", hostile, cwd=folder)
    assert commands(ran.out + ran.stderr) == []
    ran = onnxac("explain", hostile, "-vv", cwd=folder, env={"CI": "1"})
    assert "Traceback" in ran.stderr
    assert commands(ran.stderr) == []


def test_junit_keeps_what_xml_can_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "a::b ##[c] <&>.onnx"
    assert run(["check", name, "--format", "junit", "-q"]) == 2
    said = capsys.readouterr().out
    assert commands(said) == []
    (case,) = ElementTree.fromstring(said).iter("testcase")
    assert case.get("name") == name


# Reports are a stranger's, too.


@pytest.fixture(scope="module")
def real() -> Report:
    report: Report = optimize(REPVGG)[1]
    return report


def leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(data, dict):
        yield path
        for key, value in data.items():
            yield from leaves(value, (*path, key))
    elif isinstance(data, list):
        yield path
        for i, value in enumerate(data):
            yield from leaves(value, (*path, i))
    else:
        yield path


def changed(data: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copy = deepcopy(data)
    inner: Any = copy
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy


def test_a_report_is_read_as_its_schema_says(real: Report) -> None:
    validator = jsonschema.Draft202012Validator(schema.report_schema())
    whole = json.loads(to_json(real))
    draw = random.Random(0)
    accepted = 0
    places = [p for p in leaves(whole) if p]
    for _ in range(600):
        path = draw.choice(places)
        value = draw.choice(["text", -1, 1.5, True, None, [], {}, [1], {"a": 1}, ...])
        try:
            data = changed(whole, path, value)
        except (IndexError, KeyError):
            continue
        try:
            Report.from_dict(data)
            is_read = True
        except TypeError:
            is_read = False
        assert is_read == validator.is_valid(data), (path, value)
        accepted += is_read
    assert 0 < accepted < 500


def test_the_error_says_where(real: Report, tmp_path: Path, capsys: Capture) -> None:
    data = json.loads(to_json(real))
    data["fusions"][0]["operators"][0]["taps"][1] = "3"
    path = tmp_path / "r.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    assert run(["diff", str(REPVGG), str(REPVGG), "--report", str(path)]) == 2
    said = capsys.readouterr().err
    assert "r.json: not a report of onnxac: fusions[0].operators[0].taps[1] has to be" in said


def test_numbers_that_json_does_not_have_are_refused(real: Report, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    text = to_json(real)
    path.write_text(re.sub(r'"max_abs": [^,]+', '"max_abs": NaN', text), encoding="utf-8")
    with pytest.raises(Exception, match="NaN is no number in JSON"):
        read_report(path)


def test_no_report_that_fits_breaks_what_is_drawn(real: Report) -> None:
    """Whatever numbers and names it holds: drawn, or in words, in bounded time and space."""
    before, after = onnx.load(REPVGG), onnx.load(REPVGG)
    whole = real.to_dict()
    draw = random.Random(1)
    places = [p for p in leaves(whole) if p]
    for _ in range(150):
        path = draw.choice(places)
        value: Any = draw.choice([-1, 0, 10**12, [], "", "::x", 1e300, None])
        try:
            report = Report.from_dict(changed(whole, path, value))
        except TypeError:
            continue
        facts = gather(before, after, Known(report))
        texts = (
            draw_page(before, after, facts, netron=False),
            printed(draw_text(before, after, facts, details=True)),
            printed(told(report, "a", "b", True)),
            printed(explanation(report, True)),
            printed(node_explanation(report, report.fusions[0].removed[0]))
            if report.fusions and report.fusions[0].removed
            else "",
            to_markdown(report),
        )
        assert max(map(len, texts)) < 1_000_000, (path, value)


def test_a_report_of_other_files_is_refused(tmp_path: Path, capsys: Capture) -> None:
    ran: Ran = onnxac("optimize", NETWORK, "o.onnx", "--report", "r.json", "-q", cwd=tmp_path)
    assert ran.code == 0
    report, result = str(tmp_path / "r.json"), str(tmp_path / "o.onnx")
    page = str(tmp_path / "d.html")
    assert run(["diff", str(NETWORK), result, "--report", report, "-o", page, "-q"]) == 0
    for pair in ((str(NETWORK), str(NETWORK)), (result, result)):
        assert run(["diff", *pair, "--report", report, "-o", page]) == 2
        assert f"not the model that {report} is about" in capsys.readouterr().err
