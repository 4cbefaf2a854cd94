"""`onnxac optimize`: what it writes, what it says, and when it fails."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import onnx
import pytest
from cli_harness import ACNET, NETWORK, REPVGG, REPVGG_FUSED, onnxac, tiny

from onnxac.cli import run
from onnxac.cli.arguments import complete
from onnxac.report import Report

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration above, no pipeline around."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(ACNET, tmp_path / "in.onnx"))


def optimize(*arguments: object) -> int:
    return run(["optimize", *map(str, arguments)])


def test_tells_what_it_did(capsys: Capture) -> None:
    assert optimize(NETWORK, "out.onnx") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert re.search(r"Nodes +23 +11 +−52 %", said.out)
    assert re.search(r"BatchNormalization +2 +0 +−2", said.out)
    assert re.search(r"Parameters .*Size .*Multiply-adds ", said.out, re.DOTALL)
    assert "Merged 4 blocks" in said.out
    row = r"5 → 1 +\S+_fused +3×3 \+ 1×1 \+ BN +Conv 3×3 +8 → 8 +1 +1\n"
    assert len(re.findall(row, said.out)) == 2
    assert re.search(r"equal within \S+e-7 on the output \(tolerance 9.5e-7\), \d+ runs", said.out)
    assert len(onnx.load("out.onnx").graph.node) == 11


def test_draws_the_kernels(capsys: Capture) -> None:
    optimize(ACNET, "out.onnx")
    lines = capsys.readouterr().out.splitlines()
    middle = next(i for i, line in enumerate(lines) if "■" in line and "=" in line)
    assert lines[middle].split("=")[1].strip() == "■ ■ ■"
    assert [line.count("■") for line in lines[middle - 1 : middle + 2]] == [7, 10, 7]


def test_lists_are_short_until_asked(capsys: Capture) -> None:
    optimize(ACNET, "out.onnx", "-v")
    said = capsys.readouterr().out
    for node in onnx.load(ACNET).graph.node:
        assert node.op_type not in ("Conv", "Add") or node.name in said
    optimize(ACNET, "out.onnx")
    assert "/Add," not in capsys.readouterr().out


def test_quiet_prints_nothing(capsys: Capture) -> None:
    assert optimize(ACNET, "out.onnx", "-q") == 0
    assert capsys.readouterr() == ("", "")


def test_nothing_to_merge_is_a_success_that_writes(capsys: Capture) -> None:
    onnx.save(tiny(), "in.onnx")
    assert optimize("in.onnx", "out.onnx") == 0
    assert "Nothing to merge." in capsys.readouterr().out
    assert onnx.load("out.onnx").graph == onnx.load("in.onnx").graph


def test_unfused_can_fail(capsys: Capture) -> None:
    onnx.save(tiny(), "in.onnx")
    assert optimize("in.onnx", "out.onnx", "--fail-if-unfused", "-q") == 1
    assert capsys.readouterr().err.startswith("onnxac: error: in.onnx: nothing was merged")
    assert Path("out.onnx").exists()
    assert optimize(ACNET, "out.onnx", "--fail-if-unfused", "-q") == 0


def test_keep_leaves_nodes_alone(capsys: Capture) -> None:
    assert optimize(ACNET, "out.onnx", "--keep", "*", "--no-verify") == 0
    said = capsys.readouterr().out
    assert "Left alone" in said
    assert "  keep  5 × it is kept as it is" in said
    assert "! not verified" in said
    assert len(onnx.load("out.onnx").graph.node) == len(onnx.load(ACNET).graph.node)


def test_out_is_in_only_in_place(model: Path, capsys: Capture) -> None:
    before = model.read_bytes()
    assert optimize(model, model) == 2
    assert "--in-place" in capsys.readouterr().err
    Path("link.onnx").symlink_to(model)
    assert optimize(model, "link.onnx") == 2
    assert optimize(model) == 2
    assert model.read_bytes() == before
    assert optimize(model, "--in-place", "-q") == 0
    assert len(onnx.load(model).graph.node) == 1
    assert optimize(model, model, "--in-place", "-q") == 0
    assert optimize(model, "other.onnx", "--in-place", "-q") == 2
    assert not Path("other.onnx").exists()


def test_report_is_what_happened() -> None:
    assert optimize(NETWORK, "out.onnx", "--report", "r.json", "--bench", "-q") == 0
    report = Report.from_dict(json.loads(Path("r.json").read_text(encoding="utf-8")))
    assert len(report.fusions) == 4
    assert (report.before.path, report.after.path) == (str(NETWORK), "out.onnx")
    assert report.verification is not None
    assert report.verification.passed
    assert report.latency is not None
    assert report.command == f"onnxac optimize {NETWORK} out.onnx --report r.json --bench -q"


def test_diff_of_a_model_that_is_replaced(model: Path) -> None:
    assert optimize(model, "--in-place", "--diff", "diff.html", "-q") == 0
    page = Path("diff.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "square_conv" in page


def test_summary_goes_where_github_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("step.md").write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(Path("step.md").resolve()))
    assert optimize("--summary", ACNET, "out.onnx", "-q") == 0
    text = Path("step.md").read_text(encoding="utf-8")
    assert text.startswith("before\n### onnxac: `L.onnx`")
    assert optimize(ACNET, "out.onnx", "--summary", "own.md", "-q") == 0
    assert Path("own.md").read_text(encoding="utf-8").startswith("### onnxac")
    assert Path("step.md").read_text(encoding="utf-8") == text


def test_summary_is_printed_where_there_is_no_github(capsys: Capture) -> None:
    assert optimize(ACNET, "out.onnx", "--summary", "-q") == 0
    assert capsys.readouterr().out.startswith("### onnxac")


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        (["--summary", "a.onnx", "b.onnx"], ["--summary=", "a.onnx", "b.onnx"]),
        (["a", "--summary"], ["a", "--summary="]),
        (["--summary", "-q", "a"], ["--summary=", "-q", "a"]),
        (["--summary", "step_summary_1"], ["--summary", "step_summary_1"]),
        (["--summary=x.md", "a"], ["--summary=x.md", "a"]),
        (["--", "--summary", "a"], ["--", "--summary", "a"]),
    ],
)
def test_bare_summary(given: list[str], filled: list[str]) -> None:
    assert complete(["optimize", *given], ("optimize",)) == ["optimize", *filled]


@pytest.mark.parametrize("option", ["--report", "--summary", "--diff"])
@pytest.mark.parametrize("place", ["in.onnx", "out.onnx", "nowhere/x", "."])
def test_other_outputs_are_checked_first(
    option: str, place: str, model: Path, capsys: Capture
) -> None:
    before = model.read_bytes()
    assert optimize(model, "out.onnx", f"{option}={place}") == 2
    assert capsys.readouterr().err.startswith(f"onnxac: error: {place}: ")
    assert model.read_bytes() == before
    assert not Path("out.onnx").exists()


def test_outputs_have_a_file_each(model: Path, capsys: Capture) -> None:
    assert optimize(model, "out.onnx", "--report", "x", "--diff", "x") == 2
    assert "file of its own" in capsys.readouterr().err


def test_wrong_result_writes_nothing(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    # A tolerance that no float32 sum of three keeps stands for a wrong result.
    Path("out.onnx").write_bytes(b"old")
    assert optimize(model, "out.onnx", "--tolerance", "0", "--report", "r.json") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(
        r"onnxac: error: output '\w+' is off by \S+ of .* of which \S+ is allowed", line
    )
    assert Path("out.onnx").read_bytes() == b"old"
    assert sorted(p.name for p in Path().iterdir()) == ["in.onnx", "out.onnx"]


def test_shape_of_an_input(capsys: Capture) -> None:
    dynamic = ACNET.with_name("Ldhw.onnx")
    assert optimize(dynamic, "out.onnx", "--shape", "input:1,4,9,11", "-v") == 0
    assert "[1, 4, 9, 11]" in capsys.readouterr().out
    assert optimize(dynamic, "out.onnx", "--shape", "input=1,4,9,11") == 2
    assert optimize(dynamic, "out.onnx", "--shape", "other:1,4,9,11") == 2
    assert "the inputs are: input" in capsys.readouterr().err


def test_streams() -> None:
    whole = onnxac("optimize", REPVGG, "-", "--summary", "s.md")
    assert whole.code == 0
    assert "Merged" in whole.stderr
    fused = onnx.load_from_string(whole.stdout)
    assert len(fused.graph.node) == len(onnx.load(REPVGG_FUSED).graph.node)
    piped = onnxac("optimize", "-", "-", "-q", stdin=REPVGG.read_bytes())
    assert (piped.code, piped.stderr) == (0, "")
    assert onnx.load_from_string(piped.stdout).graph == fused.graph
    filed = onnxac("optimize", "-", "out.onnx", "-q", stdin=REPVGG.read_bytes())
    assert (filed.code, filed.stdout) == (0, b"")
    assert onnx.load("out.onnx").graph == fused.graph


@pytest.mark.parametrize("stdin", [b"", b"no model", REPVGG.read_bytes()[:-100]])
def test_bad_standard_input(stdin: bytes) -> None:
    done = onnxac("optimize", "-", "-", stdin=stdin)
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.startswith("onnxac: error: standard input: ")
    assert done.stderr.count("\n") == 1


def test_standard_output_is_taken_once(capsys: Capture) -> None:
    assert optimize(ACNET, "-", "--report", "-") == 2
    assert optimize(ACNET, "-", "--summary") == 2
    assert optimize("-", "--in-place") == 2
    assert capsys.readouterr().out == ""


def test_report_to_standard_output(capsys: Capture) -> None:
    assert optimize(ACNET, "out.onnx", "--report", "-", "-q") == 0
    assert json.loads(capsys.readouterr().out)["schema"] == 1
