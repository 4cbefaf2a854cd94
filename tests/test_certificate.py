"""Certificates hold for what onnxac does, and for nothing else: every planted fault is caught."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_harness import MODELS
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from planting import fused, one_weight

from onnxac.pipeline import Options, optimize
from onnxac.proof.certificate import AIM, certify
from onnxac.report import FAILS, HOLDS, OPEN, Fusion, Report
from onnxac.storage.files import read

TRIES = 100
EXPORTS = sorted((MODELS / "onnx").glob("*/*.onnx"))
Fault = Callable[[ModelProto, str, np.random.Generator], ModelProto | None]


def exported(path: Path) -> Any:
    return pytest.param(path, id=f"{path.parent.name}/{path.stem}")


@pytest.mark.parametrize("path", [exported(p) for p in EXPORTS])
def test_every_fusion_of_every_export_has_a_certificate(path: Path) -> None:
    before, after, fusions = fused(path)
    for fusion, found in zip(fusions, certify(before, after, fusions), strict=True):
        assert found.verdict == HOLDS, f"{fusion.output}: {found.reason}"
        assert found.false_pass < AIM
        assert found.worst <= 1
        assert found.entries > 0


# What a certificate says.


def test_the_size_from_which_on_it_holds() -> None:
    before, after, fusions = fused(MODELS / "onnx/acb_p1/L.onnx")
    (found,) = certify(before, after, fusions)
    (source,) = found.sources
    # One position beside each border, and one between them.
    assert source.least[2:] == (3, 3)
    assert found.unit == 2.0**-24


def test_a_map_smaller_than_its_classes_is_tried_itself() -> None:
    conv = [_conv("x", f"y{i}", 7, 3) for i in range(2)]
    model = _model([*conv, helper.make_node("Add", ["y0", "y1"], ["y"], "sum")], (1, 2, 4, 4))
    after, report = optimize(model, Options(verify=False))
    (found,) = certify(model, after, report.fusions)
    assert found.holds
    assert found.false_pass == 0
    assert found.sources[0].shapes == ((1, 2, 4, 4),)
    assert found.sources[0].least == (None,) * 4


@pytest.mark.parametrize("flavour", ["L", "B", "D"])
def test_a_reshape_into_blocks_is_read_at_a_few_places(flavour: str) -> None:
    """Its map has one size, and yet positions stand for others: as behind a SpaceToDepth."""
    before, after, fusions = fused(MODELS / f"onnx/unshuffle/{flavour}.onnx")
    (found,) = certify(before, after, fusions)
    assert found.holds
    assert found.sources[0].shapes == ((1, 3, 32, 32),)
    assert found.entries < 50_000


def test_what_the_certificate_does_not_know_is_left_open() -> None:
    node = helper.make_node("Cos", ["x"], ["y"], "cos")
    model = _model([node], (1, 2, 4, 4))
    changed = _model([helper.make_node("Sin", ["x"], ["y"], "sin")], (1, 2, 4, 4))
    (found,) = certify(model, changed, [_fusion("y", "sin")])
    assert found.verdict == OPEN
    assert found.reason is not None
    assert "not known" in found.reason


def test_another_source_is_no_certificate() -> None:
    """Reading the wrong tensor of the right shape is a difference, not a missing name."""
    nodes = [_conv("x", "a", 3, 1), _conv("a", "b", 3, 1), _conv("b", "y", 1, 0)]
    model = _model(nodes, (1, 2, 8, 8))
    changed = ModelProto()
    changed.CopyFrom(model)
    changed.graph.node[2].input[0] = "a"
    (found,) = certify(model, changed, [_fusion("y", changed.graph.node[2].name)])
    assert found.verdict == FAILS


def test_a_cut_begins_at_what_a_new_tensor_in_front_is_made_of() -> None:
    """A shift that was moved in front of a merged Conv is no way past a product of two tensors."""
    before, after, fusions = fused(MODELS / "onnx/lcnetv3/jax2onnx.onnx")
    found = next(
        c
        for f, c in zip(fusions, certify(before, after, fusions), strict=True)
        if f.output == "add_out_14"
    )
    assert found.holds
    assert [s.name for s in found.sources] == ["mul_out_4"]


def test_a_mod_of_constants_is_computed() -> None:
    """PyTorch flattens heads by shapes of which an axis is taken modulo the rank."""
    nodes = [
        helper.make_node("Mod", ["minus", "rank"], ["axis"], "mod"),
        _conv("x", "a", 3, 1),
        helper.make_node("Gather", ["a", "axis"], ["y"], "gather", axis=1),
    ]
    model = _model(nodes, (1, 2, 8, 8))
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value), name)
        for name, value in (("minus", [-3]), ("rank", [2]))
    )
    (found,) = certify(model, model, [_fusion("y", "gather")])
    assert found.holds


def _fusion(output: str, added: str) -> Fusion:
    from onnxac.report import NodeRef

    return Fusion(output, (), (NodeRef(added, ""),), (), None, None)


_WEIGHTS = np.random.default_rng(3)
_KERNELS: dict[str, np.ndarray[Any, Any]] = {}


def _conv(source: str, target: str, taps: int, pad: int) -> NodeProto:
    name = f"{target}.weight"
    _KERNELS[name] = _WEIGHTS.normal(size=(2, 2, taps, taps)).astype(np.float32)
    return helper.make_node("Conv", [source, name], [target], f"{target}.conv", pads=[pad] * 4)


def _model(nodes: list[NodeProto], shape: tuple[int, ...]) -> ModelProto:
    read = [n for node in nodes for n in node.input]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(_KERNELS[n], n) for n in dict.fromkeys(read) if n in _KERNELS],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_sources_that_are_made_of_one_another_are_not_fed_apart() -> None:
    """After a merge across a Transpose, one branch reads x by way of the other's source."""
    turned = helper.make_node("Transpose", ["x"], ["t"], "turn", perm=[0, 1, 3, 2])
    back = helper.make_node("Transpose", ["t"], ["b"], "back", perm=[0, 1, 3, 2])
    total = helper.make_node("Add", ["b", "x"], ["y"], "total")
    doubled = helper.make_node("Add", ["b", "b"], ["y"], "doubled")
    before, after = (_model([turned, back, n], (1, 2, 4, 4)) for n in (total, doubled))
    (found,) = certify(before, after, [_fusion("y", "doubled")])
    assert found.holds, found.reason


def test_a_bound_that_is_written_down_holds_for_its_own_size_only() -> None:
    """A Slice to 7 of 8 cuts one off; on a map of 4 it would cut off nothing."""
    ends = [("begin", [0]), ("end", [7]), ("axis", [3])]
    cut = helper.make_node("Slice", ["a", *(n for n, _ in ends)], ["y"], "cut")
    before = _model([_conv("x", "a", 3, 1), cut], (1, 2, 8, 8))
    after = _model([_conv("x", "y", 3, 1)], (1, 2, 8, 8))
    before.graph.initializer.extend(numpy_helper.from_array(np.array(v), n) for n, v in ends)
    after.graph.node[0].attribute[0].ints[:] = [1, 1, 1, 0]
    after.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(before.graph.initializer[0]), "y.weight")
    )
    (found,) = certify(before, after, [_fusion("y", "y.conv")])
    assert found.holds, found.reason
    assert found.sources[0].shapes == ((1, 2, 8, 8),)
    assert found.sources[0].least == (None,) * 4


def test_axes_of_one_length_are_not_taken_for_one_another() -> None:
    node = helper.make_node("Transpose", ["x"], ["y"], "turn", perm=[1, 0])
    same = helper.make_node("Identity", ["x"], ["y"], "same")
    (found,) = certify(_model([node], (2, 5)), _model([same], (2, 5)), [_fusion("y", "same")])
    assert found.verdict == FAILS


def test_a_certificate_goes_through_json() -> None:
    path = MODELS / "onnx/acb_p1/L.onnx"
    after, report = optimize(path, Options(verify=False))
    found = certify(read(path), after, report.fusions)
    fusions = tuple(replace(f, certificate=c) for f, c in zip(report.fusions, found, strict=True))
    told = replace(report, fusions=fusions)
    assert Report.from_dict(json.loads(json.dumps(told.to_dict()))) == told


# One change, made several times.


def heads(scale: float = 1.0) -> ModelProto:
    """Three times the same two branches behind a Relu; `scale` is of one weight of the third."""
    nodes: list[NodeProto] = []
    for at in range(3):
        source = f"r{at - 1}" if at else "x"
        own = [_conv(source, f"a{at}", 3, 1), _conv(source, f"b{at}", 1, 0)]
        for node, kernel in zip(own, ("a0.weight", "b0.weight"), strict=True):
            node.input[1] = kernel
        nodes += own
        nodes.append(helper.make_node("Add", [f"a{at}", f"b{at}"], [f"s{at}"], f"sum{at}"))
        nodes.append(helper.make_node("Relu", [f"s{at}"], [f"r{at}" if at < 2 else "y"]))
    model = _model(nodes, (1, 2, 8, 8))
    values = scale * numpy_helper.to_array(
        next(t for t in model.graph.initializer if t.name == "b0.weight")
    )
    model.graph.initializer.append(numpy_helper.from_array(values, "other"))
    model.graph.node[9].input[1] = "other"
    return model


def test_a_change_that_is_made_again_is_certified_once() -> None:
    model = heads()
    after, report = optimize(model, Options(verify=False))
    first, *others = certify(model, after, report.fusions)
    assert first.holds
    assert first.elements > 0
    assert [f.elements for f in others] == [0, 0]
    for found, source in zip((first, *others), ("x", "r0", "r1"), strict=True):
        assert found.verdict == HOLDS
        assert [s.name for s in found.sources] == [source]
    # Each by itself says the same, but for the time and the work.
    for fusion, found in zip(report.fusions, (first, *others), strict=True):
        (alone,) = certify(model, after, [fusion])
        assert replace(alone, seconds=0, elements=0) == replace(found, seconds=0, elements=0)


def test_a_change_with_one_weight_of_its_own_is_another_one() -> None:
    model = heads(1.5)
    after, report = optimize(model, Options(verify=False))
    found = certify(model, after, report.fusions)
    assert [c.verdict for c in found] == [HOLDS] * 3
    assert [c.elements > 0 for c in found] == [True, False, True]
    broken = one_weight(after, report.fusions[2].added[0].name, np.random.default_rng(1))
    assert broken is not None
    found = certify(model, broken, report.fusions)
    assert [c.verdict for c in found] == [HOLDS, HOLDS, FAILS]


def test_copies_of_what_fails_fail_each_for_itself() -> None:
    model = heads()
    after, report = optimize(model, Options(verify=False))
    broken = one_weight(after, report.fusions[0].added[0].name, np.random.default_rng(1))
    assert broken is not None
    found = certify(model, broken, report.fusions)
    shared = {n.input[1] for n in after.graph.node if n.op_type == "Conv"}
    assert [c.verdict for c in found].count(FAILS) == (3 if len(shared) == 1 else 1)
