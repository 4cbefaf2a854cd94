"""With --tune the faster form of each region stays. In most of this no clock runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from exact import feeds, operators, run
from nesting import nested
from onnx import ModelProto
from test_concat import branches

from onnxac.pipeline import Options, optimize
from onnxac.proof import tuning
from onnxac.report import HOLDS, SLOWER, Fusion, NodeRef, Report, Timing
from onnxac.tuned import Measured, Tuned, settle

MODELS = Path(__file__).parents[1] / "models" / "onnx"


def fusion(key: str, *ops: str, kinds: tuple[str, ...] = ()) -> Fusion:
    added = tuple(NodeRef(f"{key}{i}", op) for i, op in enumerate(ops))
    return Fusion(key, (NodeRef(f"{key}_old", "Conv"),), added, (), None, None, kinds=kinds)


class Script:
    """Measurements that were written down: those of each rewrite, one after the other."""

    def __init__(self, *rounds: Measured) -> None:
        self._rounds = list(rounds)
        self.asked: list[tuple[Tuned, frozenset[str] | None]] = []

    def __call__(self, tuned: Tuned, keys: frozenset[str] | None) -> Measured:
        self.asked.append((tuned, keys))
        return self._rounds.pop(0)


def test_what_is_slower_is_left_out() -> None:
    slow, fast = fusion("a", "Conv"), fusion("b", "Conv")
    script = Script({"a": (slow, Timing(1.0, 1.5, 9)), "b": (fast, Timing(1.0, 0.5, 9))}, {}, {})
    found = settle(script)
    assert list(found.slower) == ["a"]
    assert found.times == {"b": Timing(1.0, 0.5, 9)}
    # What is possible now in place of it was asked for as well.
    assert [list(t.slower) for t, _ in script.asked[:2]] == [[], ["a"]]
    (refusal,) = found.refusals
    assert (refusal.node.name, refusal.rule) == ("a_old", SLOWER)
    assert "1.5 ms" in refusal.reason
    assert [f.timing for f in found.told([slow, fast])] == [None, Timing(1.0, 0.5, 9)]


def test_noise_changes_nothing() -> None:
    found = settle(Script({"a": (fusion("a", "Conv"), Timing(1.0, 1.01, 9))}, {}))
    assert not found.slower


def test_the_faster_form_of_an_upsampling_is_taken() -> None:
    one = fusion("u", "ConvTranspose", kinds=("upsample",))
    other = fusion("u", "Conv", "DepthToSpace", kinds=("upsample",))
    script = Script({"u": (one, Timing(3.0, 2.0, 9))}, {"u": (other, Timing(3.0, 1.0, 9))}, {})
    found = settle(script)
    assert found.swapped == {"u"}
    assert found.times == {"u": Timing(3.0, 1.0, 9, other_ms=2.0)}
    assert script.asked[1][0].swapped == {"u"}


def test_the_form_that_the_model_takes_stays_where_it_is_the_faster_one() -> None:
    one = fusion("u", "ConvTranspose", kinds=("upsample",))
    other = fusion("u", "Conv", "DepthToSpace", kinds=("upsample",))
    script = Script({"u": (one, Timing(3.0, 1.0, 9))}, {"u": (other, Timing(3.0, 2.0, 9))}, {})
    found = settle(script)
    assert not found.swapped
    assert found.times == {"u": Timing(3.0, 1.0, 9, other_ms=2.0)}


def test_where_there_is_no_other_form_none_is_told() -> None:
    one = fusion("u", "ConvTranspose", kinds=("upsample",))
    both = {"u": (one, Timing(3.0, 1.0, 9))}
    assert settle(Script(both, both, {})).times == {"u": Timing(3.0, 1.0, 9)}


def test_what_the_estimate_is_against_is_tried() -> None:
    made, tried = fusion("a", "Conv"), fusion("e", "Conv")
    found = settle(
        Script(
            {"a": (made, Timing(1.0, 0.5, 9))},
            {"a": (made, Timing(1.0, 0.5, 9)), "e": (tried, Timing(2.0, 1.0, 9))},
            {"a": (made, Timing(1.0, 0.5, 9)), "e": (tried, Timing(2.0, 1.0, 9))},
        )
    )
    assert found.eager == {"e"}
    assert not found.trying
    assert found.times.keys() == {"a", "e"}


def test_what_is_tried_has_to_save_more_than_what_it_takes_the_place_of() -> None:
    made = fusion("a", "Conv")
    whole = replace(made, output="e", added=(NodeRef("e0", "Gemm"),))
    for after, eager in ((1.51, set[str]()), (1.3, {"e"})):
        first = {"a": (made, Timing(1.0, 0.5, 9))}
        tried = {"e": (whole, Timing(2.0, after, 9))}
        assert settle(Script(first, tried, tried)).eager == eager


# On models, with a clock that says what the test wants.


def tuned(
    model: ModelProto | Path, clock: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> tuple[ModelProto, Report, list[list[str]]]:
    """Optimize with a clock: milliseconds of the regions that have such an operator, else 1."""
    seen: list[list[str]] = []

    def took(part: ModelProto) -> float:
        ops = [n.op_type for n in part.graph.node]
        seen.append(ops)
        return next((ms for op, ms in clock.items() if op in ops), 1.0)

    def measured(before: ModelProto, after: ModelProto) -> Timing:
        onnx.checker.check_model(before)
        onnx.checker.check_model(after)
        return Timing(took(before), took(after), 1)

    monkeypatch.setattr(tuning, "_measured", measured)
    after, report = optimize(model, Options(tune=True))
    assert report.verification is not None
    assert report.verification.passed
    return after, report, seen


def test_a_block_that_is_slower_merged_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    path = MODELS / "acb_p1" / "L.onnx"
    after, report, seen = tuned(path, {"Add": 0.5}, monkeypatch)
    assert seen[:2] == [["Conv", "Conv", "Add", "Conv", "Add"], ["Conv"]]
    assert not report.fusions
    assert [r.rule for r in report.refusals] == [SLOWER]
    assert operators(after) == operators(onnx.load(path))


def test_regions_that_are_alike_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = nested(onnx.load(MODELS / "acb_p1" / "L.onnx"), "then_branch")
    _, report, seen = tuned(twice, {}, monkeypatch)
    assert [f.timing for f in report.fusions] == [Timing(1.0, 1.0, 1)] * 2
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("clock", "op", "other"),
    [
        ({"ConvTranspose": 0.5, "Resize": 3.0}, "ConvTranspose", 1.0),
        ({"ConvTranspose": 2.0, "Resize": 3.0}, "DepthToSpace", 2.0),
        ({"ConvTranspose": 5.0, "DepthToSpace": 4.0, "Resize": 3.0}, "Resize", None),
    ],
)
def test_the_forms_of_an_upsampling(
    clock: dict[str, float], op: str, other: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = MODELS / "vae_decoder" / "L.onnx"
    after, report, _ = tuned(path, clock, monkeypatch)
    assert op in operators(after)
    times = [f.timing for f in report.fusions if "upsample" in f.kinds and f.timing]
    assert [t.other_ms for t in times] == ([] if other is None else [other])
    certificates = [f.certificate for f in report.fusions]
    assert [c.verdict for c in certificates if c is not None] == [HOLDS] * len(report.fusions)
    values = feeds(onnx.load(path), 3, {})
    want, have = run(onnx.load(path), values)[0], run(after, values)[0]
    assert np.abs(want - have).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("faster", [True, False])
def test_branches_that_the_estimate_keeps_apart(
    *, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3×3, 5×5 and 7×7 over 32 channels: as one, there are twice as many multiply-adds."""
    model = branches(32, 32)
    plain, _ = optimize(model, Options())
    assert operators(plain)["Conv"] == 3
    after, report, _ = tuned(model, {"Concat": 2.0 if faster else 0.5}, monkeypatch)
    assert operators(after)["Conv"] == (1 if faster else 3)
    assert [f.certificate.verdict for f in report.fusions if f.certificate] == [HOLDS] * faster


def test_a_model_of_dynamic_sizes_is_measured_at_some(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Sequence[int]] = []

    def measured(before: ModelProto, after: ModelProto) -> Timing:
        (value,) = before.graph.input
        found.append([d.dim_value for d in value.type.tensor_type.shape.dim])
        return Timing(1.0, 1.0, 1)

    monkeypatch.setattr(tuning, "_measured", measured)
    path = MODELS / "acb_p1" / "Ldhw.onnx"
    optimize(path, Options(tune=True, verify=False))
    optimize(path, Options(tune=True, verify=False, shapes={"input": (2, 4, 20, 30)}))
    assert found == [[1, 4, 224, 224], [2, 4, 20, 30]]


def test_a_clock_that_runs() -> None:
    _, report = optimize(MODELS / "mobileone" / "L.onnx", Options(tune=True, verify=False))
    times = [f.timing for f in report.fusions]
    assert any(times)
    assert all(t is None or (t.before_ms > 0 and t.after_ms > 0 and t.runs > 0) for t in times)
