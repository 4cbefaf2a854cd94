"""The steps of `action.yml`, run as a GitHub runner would run them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import onnx
import pytest
from places import FUSED, ROOT, UNFUSED

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

from fake_runner import PYTHON, Runner  # noqa: E402 - it needs PyYAML, too


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "nets").mkdir(parents=True)
    return folder


@pytest.fixture
def runner(tmp_path: Path, environment: dict[str, str], bin_folder: Path) -> Runner:
    provided = PYTHON | {"install": {"onnxac": str(bin_folder / "onnxac")}}
    return Runner(ROOT, tmp_path / "runner", environment, provided)


def test_an_unfused_model_turns_the_build_red(runner: Runner, workspace: Path) -> None:
    model = workspace / "nets" / "seg net.onnx"
    shutil.copy(UNFUSED, model)
    build = runner.run(workspace)
    assert build.red
    assert [a["properties"].partition("file=")[2].split(",")[0] for a in build.annotations] == [
        "nets/seg net.onnx"
    ]
    assert model.read_bytes() == UNFUSED.read_bytes()
    assert build.outputs["nodes-before"] == "23"
    assert build.outputs["nodes-after"] == "11"
    assert int(build.outputs["macs-after"]) < int(build.outputs["macs-before"])
    assert 0 < float(build.outputs["max-error"]) < 1e-5
    assert "No model was changed" in build.summary
    report = json.loads(Path(build.outputs["report"]).read_text())
    assert len(report["fusions"]) == 4


def test_the_diff_of_a_single_model_is_uploaded_as_a_page(runner: Runner, workspace: Path) -> None:
    shutil.copy(UNFUSED, workspace / "nets")
    build = runner.run(workspace, artifact="diff-linux")
    (upload,) = build.uploads
    assert upload["archive"] == "false"
    assert Path(upload["path"]).name == "diff-linux.html"
    assert Path(upload["path"]).read_text() == Path(build.outputs["diff"]).read_text()


def test_a_fused_model_leaves_the_build_green(runner: Runner, workspace: Path) -> None:
    shutil.copy(FUSED, workspace / "nets")
    build = runner.run(workspace)
    assert not build.red, build.log
    assert not build.annotations
    assert not build.uploads
    assert build.outputs["nodes-before"] == build.outputs["nodes-after"] == "11"
    assert build.outputs["diff"] == ""


def test_optimize_fuses_in_place_and_stays_green(runner: Runner, workspace: Path) -> None:
    model = workspace / "nets" / "net.onnx"
    shutil.copy(UNFUSED, model)
    build = runner.run(workspace, mode="optimize")
    assert not build.red, build.log
    assert len(onnx.load(model).graph.node) == 11
    assert (build.outputs["nodes-before"], build.outputs["nodes-after"]) == ("23", "11")
    assert "No model was changed" not in build.summary
    assert not runner.run(workspace).red


@pytest.mark.parametrize("mode", ["check", "optimize"])
def test_a_model_over_its_budget_turns_the_build_red(
    runner: Runner, workspace: Path, mode: str
) -> None:
    shutil.copy(FUSED, workspace / "nets")
    assert not runner.run(workspace, mode=mode, max_nodes="11").red
    build = runner.run(workspace, mode=mode, max_nodes="10")
    assert build.red
    assert len(build.annotations) == 1


def test_each_model_counts_and_several_diffs_are_an_archive(
    runner: Runner, workspace: Path
) -> None:
    for name in ("a", "b"):
        (workspace / name).mkdir()
        shutil.copy(UNFUSED, workspace / name / "net.onnx")
    shutil.copy(FUSED, workspace / "nets")
    build = runner.run(workspace, models="a/*.onnx\nb/*.onnx\n\nnets/**\n")
    assert build.red
    assert len(build.annotations) == 2
    assert build.outputs["nodes-before"] == str(23 + 23 + 11)
    assert len(build.outputs["report"].splitlines()) == 3
    (upload,) = build.uploads
    assert upload["archive"] == "true"
    assert len(list(Path(upload["path"]).iterdir())) == 2


def test_nodes_that_are_kept_do_not_turn_the_build_red(runner: Runner, workspace: Path) -> None:
    shutil.copy(UNFUSED, workspace / "nets")
    assert not runner.run(workspace, keep="*").red


def test_without_proof_the_gate_is_the_same(runner: Runner, workspace: Path) -> None:
    shutil.copy(UNFUSED, workspace / "nets")
    build = runner.run(workspace, prove="false")
    assert build.red
    assert len(build.annotations) == 1
    assert set(build.outputs.values()) == {""}
    assert not build.uploads


@pytest.mark.parametrize(("other", "nodes", "annotations"), [(UNFUSED, "23", 2), (FUSED, "11", 1)])
def test_a_broken_model_is_shown_once_and_the_others_are_checked(
    runner: Runner, workspace: Path, other: Path, nodes: str, annotations: int
) -> None:
    (workspace / "nets" / "broken.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    shutil.copy(other, workspace / "nets")
    build = runner.run(workspace)
    assert build.red
    assert len(build.annotations) == annotations
    assert build.outputs["nodes-before"] == nodes


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "matches no file"),
        ({"models": "nets/**\nmisspelt/*.onnx"}, "'misspelt/*.onnx' matches no file"),
        ({"models": " \n"}, "no pattern is given"),
        ({"mode": "fix"}, "'fix' is not one of check, optimize"),
        ({"prove": "yes"}, "neither true nor false"),
        ({"artifact": "../escape"}, "no name of a file"),
    ],
)
def test_an_action_that_can_not_do_its_work_is_red(
    runner: Runner, workspace: Path, inputs: dict[str, str], message: str
) -> None:
    if inputs:
        shutil.copy(FUSED, workspace / "nets")
    build = runner.run(workspace, **inputs)
    assert build.red
    (annotation,) = build.annotations
    assert message in unquote(annotation["value"])


def test_nothing_that_a_stranger_names_is_obeyed(runner: Runner, workspace: Path) -> None:
    """Neither the shell nor the runner nor onnxac takes names for commands."""
    proto = onnx.load(UNFUSED)
    for node in proto.graph.node:
        node.name = f"\n::add-path::/evil\n::error file=x::{node.name}"
    for name in ("--help.onnx", "--in-place.onnx", "$(touch pwned).onnx", "a\n::add-path::b.onnx"):
        onnx.save(proto, workspace / name)
    (workspace / "json.py").write_text("open('pwned', 'w')")
    (workspace / "numpy.py").write_text("open('pwned', 'w')")
    build = runner.run(workspace, keep="$(touch pwned)\n`touch pwned`")
    assert build.red
    assert {c["name"] for c in build.commands} <= {"error", "stop-commands"}
    assert len(build.annotations) == 4
    assert build.outputs["nodes-after"] == str(4 * 11), build.log
    assert not (workspace / "pwned").exists()


@pytest.mark.parametrize("text", ["verify = false", 'keep = ["*"]', "nonsense"])
def test_the_repository_has_no_say(runner: Runner, workspace: Path, text: str) -> None:
    """Whoever opens a pull request could switch the gate off, or break it."""
    shutil.copy(UNFUSED, workspace / "nets")
    (workspace / "onnxac.toml").write_text(text)
    build = runner.run(workspace)
    assert build.red
    assert len(build.annotations) == 1
    assert "4 blocks can be merged" in build.annotations[0]["value"]
    assert build.outputs["nodes-after"] == "11", build.log
    assert 0 < float(build.outputs["max-error"]) < 1e-5


def test_a_version_can_not_be_an_option_or_a_path(runner: Runner, workspace: Path) -> None:
    del runner.provided["install"]
    build = runner.run(workspace, version="--index-url=https://example.org")
    assert build.red
    assert "is no version of onnxac" in build.annotations[0]["value"]


def test_the_install_step_installs_the_checkout_of_the_action(
    checkout: Path, environment: dict[str, str], tmp_path: Path, workspace: Path
) -> None:
    """The real thing, pip and all; and modules of the workspace are not taken for Python's."""
    shutil.copy(UNFUSED, workspace / "nets")
    for name in ("venv.py", "pip.py", "onnxac.py"):
        (workspace / name).write_text("open('pwned', 'w')")
    runner = Runner(checkout, tmp_path / "runner", environment, PYTHON)
    build = runner.run(workspace)
    assert build.red, build.log
    assert len(build.annotations) == 1, build.log
    assert build.outputs["nodes-after"] == "11"
    assert not (workspace / "pwned").exists()


def test_inputs_reach_the_shell_as_variables_only() -> None:
    for step in yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]:
        assert "${{" not in step.get("run", "")


def test_other_actions_are_pinned_to_a_commit_with_its_version() -> None:
    used = re.findall(r"uses: (.*)", (ROOT / "action.yml").read_text())
    assert used
    for action in used:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)
