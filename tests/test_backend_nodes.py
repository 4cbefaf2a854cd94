"""ONNX's own node tests, optimized: what they ship as outputs still comes out.

Each of some 1,900 examples is taken with its inputs as they are, with all but the first as
initializers (weights, shapes, axes), and with all of them so.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from backend_nodes import FROZEN, Case, agree, cases, runs
from onnx import ModelProto, TensorProto, helper

from onnxac.pipeline import Options, optimize


def fault(case: Case, what: str) -> str | None:
    """What is wrong with the optimized example; None where nothing is."""
    made = case.frozen(what)
    if made is None:
        return None
    before, feeds = made
    after, _ = optimize(before, Options(verify=False, freeze_initializers=before.ir_version < 4))
    if after == before:
        return None
    onnx.checker.check_model(after)
    return difference(case, before, after, feeds)


def difference(
    case: Case, before: ModelProto, after: ModelProto, feeds: dict[str, object]
) -> str | None:
    """Why the outputs are not those that are shipped, nor what the original says by itself."""
    results = list(runs(after, feeds))
    if any(agree(r, case.outputs, case.rtol, case.atol) for r in results):
        return None
    # An engine that does not say what is shipped, or can't run the original, is no judge.
    originals = list(runs(before, feeds))
    if not originals:
        return None
    if any(agree(r, o, 0, 0) for r, o in zip(results, originals, strict=False)):
        return None
    return "other outputs" if results else "it does not run"


@pytest.mark.parametrize("what", FROZEN)
@pytest.mark.parametrize("part", range(4))
def test_what_is_shipped_comes_out(part: int, what: str) -> None:
    wrong = {c.name: f for c in cases()[part::4] if (f := fault(c, what)) is not None}
    assert wrong == {}


def test_there_are_as_many_as_onnx_ships() -> None:
    assert len(cases()) > 1800


def test_a_wrong_result_is_noticed() -> None:
    """The judge itself: an Add that became a Sub, and an output of another shape."""
    case = next(c for c in cases() if c.name == "test_add")
    made = case.frozen("nothing")
    assert made is not None
    before, feeds = made
    assert difference(case, before, before, feeds) is None
    for spoil in (spoil_operator, spoil_shape):
        after = ModelProto()
        after.CopyFrom(before)
        spoil(after)
        assert difference(case, before, after, feeds) == "other outputs"


def spoil_operator(model: ModelProto) -> None:
    model.graph.node[0].op_type = "Sub"


def spoil_shape(model: ModelProto) -> None:
    model.graph.node[0].output[0] = "t"
    model.graph.node.append(helper.make_node("Unsqueeze", ["t", "axes"], ["sum"]))
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], np.zeros(1, np.int64))
    model.graph.initializer.append(axes)
    model.graph.output[0].type.tensor_type.ClearField("shape")
