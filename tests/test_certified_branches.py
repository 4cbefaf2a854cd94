"""Certificates of what was merged over the border of an If that has one branch to take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from nesting import nested
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxac.pipeline import optimize
from onnxac.proof.certificate import AIM, certify
from onnxac.proof.certificate.branches import in_place
from onnxac.report import FAILS, HOLDS

MODEL = Path(__file__).parent.parent / "models" / "onnx" / "acb_p1" / "L.onnx"


def decided(*, which: bool, stored: bool) -> ModelProto:
    """Parallel convolutions in both branches of an If, whose condition is known."""
    model = nested(onnx.load(MODEL), "then_branch")
    (choice,) = (n for n in model.graph.node if n.op_type == "If")
    del model.graph.node[:]
    value = numpy_helper.from_array(np.array(which), "which")
    if stored:
        model.graph.initializer.append(value)
    else:
        model.graph.node.append(helper.make_node("Constant", [], ["which"], value=value))
    model.graph.node.append(choice)
    return model


def weigh(model: ModelProto, branch: str, factor: float) -> None:
    """Multiply the weights that a branch holds."""
    (choice,) = (n for n in model.graph.node if n.op_type == "If")
    (body,) = (a.g for a in choice.attribute if a.name == branch)
    for tensor in body.initializer:
        values = numpy_helper.to_array(tensor) * np.float32(factor)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


@pytest.mark.parametrize("which", [True, False])
@pytest.mark.parametrize("stored", [True, False])
def test_the_branch_that_the_condition_names_is_certified(which: bool, stored: bool) -> None:
    model = decided(which=which, stored=stored)
    weigh(model, "else_branch", 2.0)
    made, report = optimize(model)
    assert [n.op_type for n in made.graph.node] == ["Conv"]
    (fusion,) = report.fusions
    assert fusion.certificate is not None
    assert fusion.certificate.verdict == HOLDS
    assert fusion.certificate.false_pass < AIM
    # The other branch is another model.
    (other,) = certify(decided_otherwise(model, which), made, report.fusions)
    assert other.verdict == FAILS


def decided_otherwise(model: ModelProto, which: bool) -> ModelProto:
    made = ModelProto()
    made.CopyFrom(model)
    value = numpy_helper.from_array(np.array(not which), "which")
    for node in made.graph.node:
        if node.op_type == "Constant":
            node.attribute[0].t.CopyFrom(value)
    for tensor in made.graph.initializer:
        if tensor.name == "which":
            tensor.CopyFrom(value)
    return made


@pytest.mark.parametrize("condition", ["input", "empty"])
def test_a_condition_that_is_not_known_names_none(condition: str) -> None:
    model = decided(which=True, stored=True)
    if condition == "input":
        model.graph.input.append(helper.make_tensor_value_info("which", TensorProto.BOOL, []))
    else:
        empty = numpy_helper.from_array(np.zeros(0, bool), "which")
        model.graph.initializer[-1].CopyFrom(empty)
    assert in_place(model, ModelProto()) is model


def test_an_if_that_is_still_there_keeps_its_place() -> None:
    model = decided(which=True, stored=True)
    assert in_place(model, model) is model


def test_names_that_are_made_twice_are_not_mixed() -> None:
    model = decided(which=True, stored=True)
    (choice,) = (n for n in model.graph.node if n.op_type == "If")
    inner = choice.attribute[0].g.node[0].output[0]
    model.graph.node.append(helper.make_node("Identity", ["which"], [inner]))
    assert in_place(model, ModelProto()) is model
