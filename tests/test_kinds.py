"""Kinds of rewrites: each change names its own, and `--without` leaves them out."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_harness import MODELS
from exact import operators
from fusing import SAME3
from test_space import stem
from test_upsampling import decoder

from onnxac.cli import run
from onnxac.errors import UsageError
from onnxac.kinds import KINDS, kind_of
from onnxac.lowering import RULES
from onnxac.pipeline import Options, inspect, optimize

ROOT = Path(__file__).parent.parent
# These only ever hand on what they read, or make nothing of it.
KINDLESS = {"Identity", "Dropout", "LeakyRelu", "PRelu", "Clip", "Max", "Min"}


def test_every_operator_that_is_read_has_a_kind_that_is_known() -> None:
    assert {op for op in RULES if kind_of(op) is None} == KINDLESS
    assert {kind_of(op) for op in RULES} - {None} == set(KINDS)


def test_the_page_of_the_command_tells_them_all() -> None:
    page = (ROOT / "docs" / "command.md").read_text("utf-8")
    for name, what in KINDS.items():
        assert f"| `{name}` | {what} |" in page


@pytest.mark.parametrize("spelling", ["slices", "SpaceToDepth", "reshaped"])
def test_focus_is_left_out_however_it_is_spelled(spelling: str) -> None:
    before = stem(spelling, SAME3)
    (fusion,) = inspect(before).fusions
    assert fusion.kinds == ("branches", "focus")
    after, report = optimize(before, Options(verify=False, without=("focus",)))
    (conv,) = (n for n in after.graph.node if n.op_type == "Conv")
    assert conv in before.graph.node
    assert not report.fusions
    assert "without" in {r.rule for r in report.refusals}


def test_upsampling_is_left_out() -> None:
    before = decoder(SAME3, size=(16, 16), channels=(32, 8))
    (fusion,) = inspect(before).fusions
    assert fusion.kinds == ("branches", "upsample")
    after, report = optimize(before, Options(verify=False, without=("upsample",)))
    assert operators(after) == operators(before)
    assert {(r.node.op, r.rule) for r in report.refusals} == {("Resize", "without")}


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("acb_p1/L.onnx", "branches"),
        ("acb_p1/B.onnx", "affine"),
        ("acb_reflect/D.onnx", "borders"),
        ("parallel_branches/L.onnx", "concat"),
        ("lora_3d/L.onnx", "products"),
        ("head_pool/L.onnx", "pools"),
        ("repvgg/tf.onnx", "layout"),
    ],
)
def test_a_kind_that_is_left_out_is_in_no_change(model: str, kind: str) -> None:
    path = MODELS / "onnx" / model
    assert any(kind in f.kinds for f in inspect(path).fusions)
    assert not any(kind in f.kinds for f in inspect(path, Options(without=(kind,))).fusions)


def test_a_kind_that_there_is_not() -> None:
    with pytest.raises(UsageError, match=r"--without upsampel: .*did you mean 'upsample'\?"):
        inspect(stem("slices", SAME3), Options(without=("upsampel",)))


def test_kinds_from_the_command_line_and_from_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = MODELS / "onnx" / "acb_p1" / "L.onnx"
    assert run(["check", str(model), "--without", "focus,branches"]) == 0
    assert run(["check", str(model)]) == 1
    monkeypatch.chdir(tmp_path)
    for text in ('without = "branches"', 'without = ["focus", "branches"]'):
        (tmp_path / "onnxac.toml").write_text(text, "utf-8")
        assert run(["check", str(model)]) == 0
    capsys.readouterr()
    assert run(["check", str(model), "--without", "x"]) == 2
    assert "--without x: no kind of rewrites is called so" in capsys.readouterr().err
