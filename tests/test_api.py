"""The library: names that are there, options as keywords, and results that show themselves."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from cli_harness import ACNET, ACNET_FUSED, NETWORK, REPVGG, ROOT, onnxac

import onnxac as library
from onnxac.errors import MissingExtraError, UsageError
from onnxac.page.static import static_page
from onnxac.pipeline import Options
from onnxac.report import Report
from onnxac.report.fleet import FleetReport

NAMES = {
    "OnnxacError",
    "Options",
    "Report",
    "Verification",
    "diff",
    "inspect",
    "optimize",
    "optimize_file",
    "optimize_many",
    "verify",
}


@pytest.fixture(scope="module")
def report() -> Report:
    return library.optimize(NETWORK)[1]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


# Names.


def test_the_names() -> None:
    assert set(library.__all__) == NAMES
    assert set(dir(library)) >= NAMES
    for name in NAMES:
        assert getattr(library, name).__doc__


GOOD = """\
import onnxac

model, report = onnxac.optimize("a.onnx", keep="/head/*", seeds=2)
nodes: int = report.after.stats.nodes
onnxac.optimize_file("a.onnx", "b.onnx", verify=False, inputs="c.npz").save("r.json")
passed: bool = onnxac.verify(model, "b.onnx", rtol=1e-3).passed
onnxac.diff("a.onnx", model, report).save("d.html")
code: int = onnxac.optimize_many(["a", "b"], "out", jobs=2).exit_code
"""


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", ""),
        ('onnxac.optimise("a.onnx")', 'has no attribute "optimise"'),
        ('onnxac.optimize("a.onnx", kep="/head/*")', 'Unexpected keyword argument "kep"'),
        ('onnxac.verify("a.onnx", "b.onnx", seeds="3")', 'has incompatible type "str"'),
        ("report.nodes", 'has no attribute "nodes"'),
    ],
)
def test_a_type_checker_knows_them(line: str, why: str) -> None:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    Path("user.py").write_text(f"{GOOD}{line}\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "user.py"],
        capture_output=True,
        text=True,
        env={"MYPYPATH": str(ROOT), "PATH": ""},
        check=False,
    )
    said = [s for s in done.stdout.splitlines() if s.startswith("user.py") and "error" in s]
    assert [why in s for s in said] == ([True] if why else []), done.stdout


# Options.


def test_paths_are_strings_and_options_keywords() -> None:
    made = library.optimize_file(str(REPVGG), "out.onnx", keep="/0/*", verify=False)
    assert made.verification is None
    assert made.after.path == "out.onnx"
    kept = {r.node.name for r in made.refusals if r.rule == "keep"}
    assert kept
    assert all(name.startswith("/0/") for name in kept)
    assert library.optimize_file(str(REPVGG), "out.onnx").verification is not None
    assert library.verify(str(REPVGG), "out.onnx", seeds=1).passed


def test_a_string_is_one_pattern() -> None:
    one: Any = "/head/*"
    assert Options(keep=one).keep == ("/head/*",)
    several: Any = ["/a", "/b"]
    assert Options(keep=several).keep == ("/a", "/b")


def test_an_option_that_there_is_none_of() -> None:
    wrong: Any = {"kep": "/head/*"}
    with pytest.raises(TypeError, match="there is no option 'kep'; did you mean 'keep'"):
        library.optimize(ACNET, **wrong)
    wrong = {"zzz": 1}
    with pytest.raises(TypeError, match="there is no option 'zzz'; known are seeds"):
        library.verify(ACNET, ACNET, **wrong)
    with pytest.raises(UsageError, match="not both"):
        library.optimize(ACNET, Options(), verify=False)


def test_inspect_computes_nothing() -> None:
    seen = library.inspect(str(NETWORK))
    assert len(seen.fusions) == 4
    assert seen.verification is None


def test_many() -> None:
    found = library.optimize_many([ACNET, REPVGG.parent / "D.onnx"], "out", verify=False)
    assert isinstance(found, FleetReport)
    assert found.exit_code == 0
    assert sorted(p.name for p in Path("out").glob("*.onnx")) == ["D.onnx", "L.onnx"]
    assert "2 models: 2 optimized" in str(found)
    assert repr(found) == "<FleetReport: 2 optimized>"
    with pytest.raises(UsageError, match="engine 'slurm': known are ray, dask"):
        library.optimize_many(ACNET, "out", engine="slurm")


# What shows itself.


def test_a_report_prints_what_the_command_shows() -> None:
    report = library.optimize_file(NETWORK, "out.onnx", seeds=3)
    shown = onnxac("optimize", NETWORK, "again.onnx").out.replace("again.onnx", "out.onnx")
    assert f"{report}\n" == shown


def test_reprs_are_one_line(report: Report) -> None:
    pattern = r"<Report: 23 → 11 nodes, 4 blocks merged, equal within \S+>"
    assert re.fullmatch(pattern, repr(report))
    assert re.fullmatch(r"<Verification: equal, \d+ runs>", repr(report.verification))
    assert "equal within" in str(report.verification)
    compared = library.diff(ACNET, ACNET_FUSED)
    assert repr(compared) == "<Comparison: 5 nodes → 1. Not verified.>"


def test_a_notebook_shows_the_page_without_graphs(report: Report) -> None:
    shown = report._repr_html_()
    assert shown.startswith("<iframe sandbox=")
    assert "<script" not in shown
    page = static_page(report)
    assert "<script" not in page
    for text in ("23 nodes → 11", "Equal within", "Merged", 'class="drawing"', "Left alone"):
        assert text in page
    compared = library.diff(ACNET, ACNET_FUSED)
    assert "Changed" in compared._repr_html_()


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        ("r.json", "{"),
        ("r.md", "### onnxac: `D.onnx`"),
        ("r.html", "<!doctype html>"),
        ("r.txt", "Optimized"),
    ],
)
def test_a_report_is_saved_as_its_name_ends(report: Report, name: str, begin: str) -> None:
    report.save(name)
    assert Path(name).read_text(encoding="utf-8").startswith(begin)


def test_a_report_is_saved_as_nothing_else(report: Report) -> None:
    with pytest.raises(UsageError, match=r"r\.pdf: a report is saved as \.json, \.md"):
        report.save("r.pdf")


def test_diff_of_models_and_of_paths(report: Report) -> None:
    model, _ = library.optimize(ACNET)
    compared = library.diff(str(ACNET), model)
    compared.save("d.html")
    assert "Skip to the changes" in Path("d.html").read_text(encoding="utf-8")
    assert "3 Conv, 2 Add → 1 Conv" in str(compared)
    assert compared.facts.before.path == str(ACNET)
    seen = library.verify(ACNET, model, seeds=1)
    assert "equal within" in str(library.diff(onnx.load(ACNET), model, verification=seen))


def test_pandas(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("pandas") is not None:
        table = report.to_pandas()
        assert len(table) == 4
        assert sum(table["nodes_before"] - table["nodes_after"]) == 23 - 11
        fleet = library.optimize_many(ACNET, "out", verify=False).to_pandas()
        assert fleet["state"].tolist() == ["optimized"]
        assert fleet["nodes_after"].tolist() == [1]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="pip install pandas"):
        report.to_pandas()
