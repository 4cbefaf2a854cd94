"""Certificates of factors, and that a wrong one is caught: in the result, or in what is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper, save
from uneven import Map, Uneven, untried

from onnxac.cli import run
from onnxac.equalizing.scaled import Weight
from onnxac.equalizing.scaling import Scaler
from onnxac.pipeline import Options, optimize
from onnxac.proof.certificate import certify
from onnxac.render.document import read_report
from onnxac.report import DROPPED, FAILS, HOLDS, Equalization, Report

__all__ = ["untried"]


def merged(net: Uneven, x: Map, channels: int) -> Map:
    """3x3 + 1x1, Relu."""
    powers = net.powers(channels)
    parts = [net.conv(x, channels, taps=t, powers=powers).name for t in (3, 1)]
    return net.relu(Map(net.node("Add", parts), powers))


def network() -> ModelProto:
    net = Uneven(seed=2)
    x = merged(net, merged(net, net.start, 6), 5)
    squeezed = net.same("GlobalAveragePool", x)
    gate = net.node("Sigmoid", [net.conv(squeezed, 5, taps=1, powers=(0,) * 5).name])
    x = net.relu(Map(net.node("Mul", [x.name, gate]), x.powers))
    return net.model(net.head(net.relu(net.conv(x, 6))))


@pytest.fixture(scope="module")
def done() -> tuple[ModelProto, ModelProto, Report]:
    model = network()
    result, report = optimize(model, Options(verify=False, equalize=True))
    assert len(report.fusions) == 2
    assert len(report.equalizations) == 3
    return model, result, report


def test_all_of_them_hold(done: tuple[ModelProto, ModelProto, Report]) -> None:
    model, result, report = done
    found = certify(model, result, report.changes)
    assert [c.verdict for c in found] == [HOLDS] * 5
    assert all(c.entries for c in found)


def weights(model: ModelProto) -> list[str]:
    kept = {t.name for t in network().graph.initializer}
    return [t.name for t in model.graph.initializer if t.name not in kept]


def test_every_scaled_number_is_looked_at(done: tuple[ModelProto, ModelProto, Report]) -> None:
    """One number of one weight or bias, off by 1 in 10,000, in turn."""
    model, result, report = done
    assert len(weights(result)) >= 6
    for name in weights(result):
        broken = ModelProto()
        broken.CopyFrom(result)
        tensor = next(t for t in broken.graph.initializer if t.name == name)
        values = numpy_helper.to_array(tensor).copy()
        place = np.argmax(np.abs(values))
        values.flat[place] *= np.float32(1.0001)
        tensor.CopyFrom(numpy_helper.from_array(values, name))
        assert any(c.verdict == FAILS for c in certify(model, broken, report.changes)), name


def _factors(change: Equalization, factors: tuple[float, ...]) -> Equalization:
    first, *rest = change.tensors
    return replace(change, tensors=(replace(first, factors=factors), *rest))


OUTPUT: str = network().graph.output[0].name
LIES: dict[str, Callable[[Equalization], Equalization]] = {
    "another factor": lambda c: _factors(
        c, (c.tensors[0].factors[0] * 2, *c.tensors[0].factors[1:])
    ),
    "in another order": lambda c: _factors(c, c.tensors[0].factors[::-1]),
    "no power of two": lambda c: _factors(c, (3.0, *c.tensors[0].factors[1:])),
    "zero": lambda c: _factors(c, (0.0, *c.tensors[0].factors[1:])),
    "negative": lambda c: _factors(c, (-1.0, *c.tensors[0].factors[1:])),
    "infinite": lambda c: _factors(c, (float("inf"), *c.tensors[0].factors[1:])),
    "not a number": lambda c: _factors(c, (float("nan"), *c.tensors[0].factors[1:])),
    "none": lambda c: _factors(c, ()),
    "a name that is not there": lambda c: replace(
        c, tensors=(replace(c.tensors[0], after="nothing"), *c.tensors[1:])
    ),
    "an output": lambda c: replace(
        c, tensors=(replace(c.tensors[0], after=OUTPUT), *c.tensors[1:])
    ),
    "a name that is taken": lambda c: replace(
        c, tensors=(replace(c.tensors[0], before="x"), *c.tensors[1:])
    ),
    "an axis from the front": lambda c: replace(
        c, tensors=(replace(c.tensors[0], axis=1), *c.tensors[1:])
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_is_told_is_not_believed(
    done: tuple[ModelProto, ModelProto, Report], lie: str
) -> None:
    model, result, report = done
    told = [LIES[lie](c) if i == 0 else c for i, c in enumerate(report.equalizations)]
    found = certify(model, result, [*report.fusions, *told])
    assert any(c.verdict == FAILS for c in found), [c.reason for c in found]


def test_a_gate_that_another_tensor_opens_is_seen(
    done: tuple[ModelProto, ModelProto, Report],
) -> None:
    model, result, report = done
    broken = ModelProto()
    broken.CopyFrom(result)
    node = next(n for n in broken.graph.node if n.op_type == "Mul")
    other = next(n for n in broken.graph.node if n.op_type == "Sigmoid")
    node.input[1] = other.input[0]
    assert not all(c.holds for c in certify(model, broken, report.changes))


def test_factors_that_do_not_hold_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest stays: what was merged, and the other factors."""
    right = Scaler.weight

    def wrong(self: Scaler, weight: Weight) -> object:
        values = right(self, weight)
        if values is not None and weight.node.op == "Gemm":
            values = values.copy()
            values.flat[0] += 1
        return values

    monkeypatch.setattr(Scaler, "weight", wrong)
    monkeypatch.setattr("onnxac.equalizing.equalization.is_lossless", lambda *_: True)
    model = network()
    _, report = optimize(model, Options(equalize=True, seeds=1))
    assert len(report.fusions) == 2
    assert len(report.equalizations) == 2
    (left,) = [r for r in report.refusals if r.rule == DROPPED]
    assert "equalized, it did not compute the same" in left.reason
    assert report.verification is not None
    assert report.verification.passed


def test_a_relu_of_a_clip() -> None:
    """Written as a Clip from below at 0, it is seen to hand factors on; another bound is not."""
    net = Uneven(seed=4)
    first = net.conv(net.start, 6)
    low = net.constant("low", np.array(0.0))
    model = net.model(net.conv(net.same("Clip", first, low), 4))
    result, report = optimize(model, Options(verify=False, equalize=True))
    assert [c.verdict for c in certify(model, result, report.changes)] == [HOLDS]
    for side in (model, result):
        one = next(t for t in side.graph.initializer if t.name == "low")
        one.CopyFrom(numpy_helper.from_array(np.array(1.0, np.float32), "low"))
    (found,) = certify(model, result, report.changes)
    assert found.verdict != HOLDS


def test_whose_report_is_of_another_run() -> None:
    """Nodes that have the names, and no such tensors."""
    model = network()
    _, report = optimize(model, Options(verify=False, equalize=True))
    found = certify(model, model, report.equalizations)
    assert {c.verdict for c in found} == {FAILS}


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Terminal, summary, page and report; and `certify` of the files."""
    save(network(), tmp_path / "in.onnx")
    names = [str(tmp_path / n) for n in ("in.onnx", "out.onnx", "r.json", "s.md", "d.html")]
    source, target, report, summary, page = names
    more = ["--report", report, "--summary", summary, "--diff", page]
    assert run(["optimize", source, target, "--equalize", "--strict", *more]) == 0
    said = capsys.readouterr().out
    assert "Equalized 3 groups of channels, by powers of two: equal to the bit" in said
    assert "2^-" in said
    assert "Equalized 3 groups of channels" in Path(summary).read_text()
    drawn = Path(page).read_text()
    assert drawn.count("multiplied in") == 3
    assert run(["certify", source, target, "--report", report, "--strict"]) == 0
    assert "5 of 5 changes certified" in capsys.readouterr().out
    # From a file, the report is what it was.
    again = read_report(Path(report))
    assert Report.from_dict(again.to_dict()) == again
    assert len(again.equalizations) == 3


def test_explain_says_where_a_factor_stops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(network(), tmp_path / "in.onnx")
    assert run(["explain", str(tmp_path / "in.onnx"), "--equalize"]) == 0
    said = capsys.readouterr().out
    assert "Can be equalized: 3 groups of channels" in said
    assert "Sigmoid of x/s is not Sigmoid of x" in said
    assert run(["explain", str(tmp_path / "in.onnx")]) == 0
    assert "qualize" not in capsys.readouterr().out


def test_exact_factors_alone_are_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(network(), tmp_path / "in.onnx")
    source, target = str(tmp_path / "in.onnx"), str(tmp_path / "out.onnx")
    assert run(["optimize", source, target, "--exact-factors"]) == 2
    assert "give --equalize as well" in capsys.readouterr().err
    assert run(["optimize", source, target, "--equalize", "--exact-factors"]) == 0
    assert "by exact factors" in capsys.readouterr().out


def test_a_setting_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(network(), tmp_path / "in.onnx")
    (tmp_path / "onnxac.toml").write_text("equalize = true\n")
    monkeypatch.chdir(tmp_path)
    assert run(["optimize", "in.onnx", "out.onnx"]) == 0
    assert "Equalized 3 groups" in capsys.readouterr().out
