"""One broken block of thirty costs that block only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_harness import MODELS
from onnx import ModelProto, NodeProto, TensorProto, helper, load, numpy_helper, save

from onnxac.cli import run
from onnxac.pipeline import Options, optimize
from onnxac.proof import verify
from onnxac.proof.certificate import certify
from onnxac.proof.isolation import culprits, keep_what_holds
from onnxac.report import DROPPED, FAILS, HOLDS, Certificate, Change, Fusion
from onnxac.rewriting.builder import Builder

BLOCKS = 30


def network() -> ModelProto:
    """Thirty blocks of 3x3 + 1x1, with a Relu behind each."""
    rng = np.random.default_rng(5)
    nodes: list[NodeProto] = []
    weights: list[TensorProto] = []
    source = "x"
    for block in range(BLOCKS):
        for taps, pad in ((3, 1), (1, 0)):
            kernel = rng.normal(size=(3, 3, taps, taps)).astype(np.float32) / 4
            bias = rng.normal(size=3).astype(np.float32)
            inputs = [source, f"w{block}_{taps}", f"b{block}_{taps}"]
            weights += [
                numpy_helper.from_array(kernel, inputs[1]),
                numpy_helper.from_array(bias, inputs[2]),
            ]
            made = f"conv{block}_{taps}"
            nodes.append(helper.make_node("Conv", inputs, [made], made, pads=[pad] * 4))
        nodes.append(
            helper.make_node(
                "Add", [f"conv{block}_3", f"conv{block}_1"], [f"sum{block}"], f"add{block}"
            )
        )
        source = f"relu{block}"
        nodes.append(helper.make_node("Relu", [f"sum{block}"], [source], source))
    shape = (1, 3, 12, 12)
    graph = helper.make_graph(
        nodes,
        "thirty",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


class Broken:
    """A rewrite whose rule is wrong in some blocks: a bias is lost there."""

    def __init__(self, before: ModelProto, wrong: frozenset[str]) -> None:
        self.before, self.wrong = before, wrong
        self.runs = 0

    def __call__(self, without: frozenset[str]) -> tuple[ModelProto, tuple[Fusion, ...]]:
        self.runs += 1
        # To leave a change out is to keep its nodes.
        kept = tuple(f"add{name.removeprefix('sum')}" for name in without)
        after, report = optimize(self.before, Options(verify=False, keep=kept))
        for fusion in report.fusions:
            if fusion.output in self.wrong:
                node = next(n for n in after.graph.node if n.name == fusion.added[0].name)
                bias = next(t for t in after.graph.initializer if t.name == node.input[2])
                bias.CopyFrom(numpy_helper.from_array(np.zeros(3, np.float32), bias.name))
        return after, report.fusions


def outputs(changes: tuple[Change, ...]) -> list[str]:
    return [c.key for c in changes]


ALL = [f"sum{i}" for i in range(BLOCKS)]


def test_every_block_is_merged_and_holds() -> None:
    rewrite = Broken(network(), frozenset())
    kept = keep_what_holds(rewrite.before, rewrite)
    assert outputs(kept.changes) == ALL
    assert not kept.dropped
    assert rewrite.runs == 1


@pytest.mark.parametrize("wrong", [["sum0"], ["sum17"], ["sum29"], ["sum3", "sum4", "sum20"]])
def test_what_is_broken_is_left_out_and_the_rest_stays(wrong: list[str]) -> None:
    rewrite = Broken(network(), frozenset(wrong))
    kept = keep_what_holds(rewrite.before, rewrite)
    assert outputs(kept.changes) == [a for a in ALL if a not in wrong]
    assert outputs(kept.dropped) == wrong
    for fusion in kept.changes:
        assert fusion.certificate is not None
        assert fusion.certificate.holds
    for fusion in kept.dropped:
        assert fusion.certificate is not None
        assert fusion.certificate.verdict == FAILS
    assert rewrite.runs == 2
    assert verify(rewrite.before, kept.model).passed


@pytest.mark.parametrize("wrong", [[], ["a"], ["h"], ["c", "d"], list("abcdefgh")])
def test_culprits_are_found_by_halving(wrong: list[str]) -> None:
    asked: list[frozenset[str]] = []

    def passes(without: frozenset[str]) -> bool:
        asked.append(without)
        return set(wrong) <= without

    assert culprits(list("abcdefgh"), passes) == set(wrong)
    assert len(asked) <= 1 + 4 * len(wrong)


def test_a_pair_that_fails_together_loses_one() -> None:
    found = culprits(list("abcdefgh"), lambda without: bool({"b", "f"} & without))
    assert found == {"f"}


def test_where_nothing_passes_everything_is_left_out() -> None:
    assert culprits(list("abc"), lambda _: False) == set("abc")


def test_a_broken_bias_is_seen_without_running_anything() -> None:
    rewrite = Broken(network(), frozenset(["sum17"]))
    after, fusions = rewrite(frozenset())
    failed = [
        f.output
        for f, c in zip(fusions, certify(rewrite.before, after, fusions), strict=True)
        if not c.holds
    ]
    assert failed == ["sum17"]


# The whole job.


def break_block(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """The weights of this block come out twice as large, and of no other."""
    right = Builder._constant

    def wrong(self: Builder, value: Any, owner: str, role: str, kind: int | None = None) -> Any:
        off = 2.0 if owner.startswith(f"conv{block}_") and role == "weight" else 1.0
        return right(self, value * off, owner, role, kind)

    monkeypatch.setattr(Builder, "_constant", wrong)


def test_one_broken_block_costs_that_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    break_block(monkeypatch, 7)
    result, report = optimize(network())
    assert len(report.fusions) == BLOCKS - 1
    assert all(f.certificate is not None and f.certificate.holds for f in report.fusions)
    (left,) = [r for r in report.refusals if r.rule == DROPPED]
    assert left.node.name in ("add7", "conv7_3", "conv7_1")
    assert "please report this" in left.reason
    assert report.verification is not None
    assert report.verification.passed
    assert {n.name for n in result.graph.node} >= {"conv7_3", "conv7_1", "add7"}


def test_what_only_the_whole_run_shows_is_bisected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates that see nothing: the run of the whole models does."""
    break_block(monkeypatch, BLOCKS - 1)
    monkeypatch.setattr(
        "onnxac.proof.certificate._certificate",
        lambda *_: Certificate(HOLDS, None, (), 0, 0.0, 0.0, 0.0, 0.0, 0),
    )
    _, report = optimize(network())
    assert len(report.fusions) == BLOCKS - 1
    assert [r.rule for r in report.refusals] == [DROPPED]
    assert report.verification is not None
    assert report.verification.passed


def test_strict_says_so_in_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_block(monkeypatch, 7)
    monkeypatch.chdir(tmp_path)
    save(network(), "in.onnx")
    assert run(["optimize", "in.onnx", "out.onnx", "-q"]) == 0
    assert run(["optimize", "in.onnx", "strict.onnx", "-q", "--strict"]) == 1
    assert Path("strict.onnx").read_bytes() == Path("out.onnx").read_bytes()


def test_what_overflows_in_between_is_left_as_it_was() -> None:
    """Behind the pool a mean of 1e38 is subtracted once, in front of it from each that it adds."""
    before = load(MODELS / "onnx/pw_pool_bn/B.onnx")
    mean = next(t for t in before.graph.initializer if t.name == "bn.running_mean")
    values = numpy_helper.to_array(mean).copy()
    values[0] = 1e38
    mean.CopyFrom(numpy_helper.from_array(values, mean.name))
    result, report = optimize(before)
    assert [n.op_type for n in result.graph.node] == [n.op_type for n in before.graph.node]
    assert DROPPED in [r.rule for r in report.refusals]
    assert not report.fusions
