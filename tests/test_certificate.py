"""Certificates hold for what onnxac does, and for nothing else: every planted fault is caught."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from cli_harness import MODELS, onnxac
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxac.graph.files import read
from onnxac.pipeline import Options, optimize
from onnxac.proof.certificate import AIM, certify
from onnxac.proof.certificate.cut import Part
from onnxac.proof.certificate.evaluate import Evaluator
from onnxac.report import FAILS, HOLDS, OPEN, Fusion, Report

TRIES = 100
EXPORTS = sorted((MODELS / "onnx").glob("*/*.onnx"))
Fault = Callable[[ModelProto, str, np.random.Generator], ModelProto | None]


def fused(path: Path) -> tuple[ModelProto, ModelProto, tuple[Fusion, ...]]:
    after, report = optimize(path, Options(verify=False))
    return read(path), after, report.fusions


@pytest.mark.parametrize("path", EXPORTS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_fusion_of_every_export_has_a_certificate(path: Path) -> None:
    before, after, fusions = fused(path)
    for fusion, found in zip(fusions, certify(before, after, fusions), strict=True):
        assert found.verdict == HOLDS, f"{fusion.output}: {found.reason}"
        assert found.false_pass < AIM
        assert found.worst <= 1
        assert found.entries > 0


# Faults. Each is one change to the model after, as a bug in fusing might have made it.


def _copy(model: ModelProto) -> ModelProto:
    copied = ModelProto()
    copied.CopyFrom(model)
    return copied


def _node(model: ModelProto, name: str) -> NodeProto:
    found: NodeProto = next(n for n in model.graph.node if n.name == name)
    return found


def _input(model: ModelProto, name: str, index: int) -> TensorProto:
    wanted = _node(model, name).input[index]
    found: TensorProto = next(t for t in model.graph.initializer if t.name == wanted)
    return found


def _with(model: ModelProto, tensor: TensorProto, values: np.ndarray[Any, Any]) -> ModelProto:
    broken = _copy(model)
    for own in broken.graph.initializer:
        if own.name == tensor.name:
            own.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return broken


def one_weight(model: ModelProto, name: str, rng: np.random.Generator) -> ModelProto | None:
    tensor = _input(model, name, 1)
    values = numpy_helper.to_array(tensor).copy()
    places = np.argwhere(values)
    values[tuple(places[rng.integers(len(places))])] *= np.float32(1.0001)
    return _with(model, tensor, values)


def swapped_taps(model: ModelProto, name: str, rng: np.random.Generator) -> ModelProto | None:
    tensor = _input(model, name, 1)
    values = numpy_helper.to_array(tensor).copy()
    o, i = rng.integers(values.shape[0]), rng.integers(values.shape[1])
    flat = values[o, i].reshape(-1)
    a, b = rng.choice(flat.size, 2, replace=False)
    if flat[a] == flat[b]:
        return None
    flat[[a, b]] = flat[[b, a]]
    return _with(model, tensor, values)


def dropped_bias(model: ModelProto, name: str, rng: np.random.Generator) -> ModelProto | None:
    tensor = _input(model, name, 2)
    values = numpy_helper.to_array(tensor).copy()
    values[rng.integers(values.size)] = 0
    return _with(model, tensor, values)


def nudged_bias(model: ModelProto, name: str, rng: np.random.Generator) -> ModelProto | None:
    tensor = _input(model, name, 2)
    values = numpy_helper.to_array(tensor).copy()
    values[rng.integers(values.size)] *= np.float32(1.0001)
    return _with(model, tensor, values)


def shifted_border(model: ModelProto, name: str, rng: np.random.Generator) -> ModelProto | None:
    broken = _copy(model)
    node = _node(broken, name)
    pads = next(a for a in node.attribute if a.name == "pads").ints
    axis = int(rng.integers(len(pads) // 2))
    step = int(rng.choice([-1, 1]))
    moved = [pads[axis] + step, pads[axis + len(pads) // 2] - step]
    if min(moved) < 0:
        return None
    pads[axis], pads[axis + len(pads) // 2] = moved
    return broken


def swapped_inputs(model: ModelProto, name: str, rng: np.random.Generator) -> ModelProto | None:
    tensor = _input(model, name, 1)
    values = numpy_helper.to_array(tensor).copy()
    if values.shape[1] < 2:
        return None
    a, b = rng.choice(values.shape[1], 2, replace=False)
    values[:, [a, b]] = values[:, [b, a]]
    return _with(model, tensor, values)


def swapped_outputs(model: ModelProto, name: str, rng: np.random.Generator) -> ModelProto | None:
    tensor = _input(model, name, 1)
    values = numpy_helper.to_array(tensor).copy()
    a, b = rng.choice(values.shape[0], 2, replace=False)
    values[[a, b]] = values[[b, a]]
    return _with(model, tensor, values)


def wrong_group(model: ModelProto, name: str, rng: np.random.Generator) -> ModelProto | None:
    """Inputs dealt to the groups in turn, instead of one block after the other."""
    group = next((a.i for a in _node(model, name).attribute if a.name == "group"), 1)
    tensor = _input(model, name, 1)
    values = numpy_helper.to_array(tensor)
    if group == 1:
        return None
    rows = values.reshape(group, -1, *values.shape[1:])
    turn = int(rng.integers(1, group))
    return _with(model, tensor, np.roll(rows, turn, axis=0).reshape(values.shape))


FAULTS: tuple[tuple[Fault, str], ...] = (
    *((f, "acb_p1/L") for f in (one_weight, swapped_taps, dropped_bias, nudged_bias)),
    *((f, "acb_p1/L") for f in (shifted_border, swapped_inputs, swapped_outputs)),
    *((f, "mobileone/B") for f in (one_weight, swapped_taps, dropped_bias, wrong_group)),
    *((f, "dbb/D") for f in (one_weight, dropped_bias, shifted_border)),
    *((f, "acb_s2/B") for f in (one_weight, swapped_taps, shifted_border)),
)


@pytest.mark.parametrize(("fault", "export"), FAULTS, ids=[f"{f.__name__}-{e}" for f, e in FAULTS])
def test_each_planted_fault_is_caught(fault: Fault, export: str) -> None:
    before, after, fusions = fused(MODELS / f"onnx/{export}.onnx")
    rng = np.random.default_rng(1)
    named = [(f, n.name) for f in fusions for n in f.added if n.op == "Conv"]
    fusion, name = next(p for p in named if any(fault(after, p[1], rng) for _ in range(9)))
    caught = tried = 0
    while tried < TRIES:
        broken = fault(after, name, rng)
        if broken is None:
            continue
        tried += 1
        caught += any(c.verdict == FAILS for c in certify(before, broken, [fusion]))
    assert caught == TRIES


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
    changed = _copy(model)
    changed.graph.node[2].input[0] = "a"
    (found,) = certify(model, changed, [_fusion("y", changed.graph.node[2].name)])
    assert found.verdict == FAILS


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
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(_KERNELS[n], n) for o in nodes for n in o.input if n in _KERNELS],
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


OPERATORS: dict[str, tuple[tuple[int, ...], list[Any], dict[str, Any]]] = {
    "Conv-group": ((1, 4, 7, 6), [(6, 2, 3, 2), (6,)], {"group": 2, "pads": [1, 0, 2, 1]}),
    "Conv-stride": ((2, 3, 9, 8), [(4, 3, 3, 3)], {"strides": [2, 3], "dilations": [2, 1]}),
    "Conv-same": ((1, 2, 7, 7), [(2, 2, 3, 4)], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "Conv-depthwise": ((1, 3, 6), [(3, 1, 3), (3,)], {"group": 3}),
    "ConvTranspose-group": (
        (1, 4, 4, 3),
        [(4, 2, 3, 2), (4,)],
        {"group": 2, "strides": [2, 3], "pads": [1, 0, 0, 1], "output_padding": [1, 0]},
    ),
    "AveragePool-plain": ((1, 2, 6, 7), [], {"kernel_shape": [3, 2], "pads": [1, 1, 1, 0]}),
    "AveragePool-counted": (
        (1, 2, 6, 7),
        [],
        {"kernel_shape": [3, 2], "pads": [1, 1, 1, 0], "count_include_pad": 1},
    ),
    "AveragePool-strided": ((1, 2, 7, 7), [], {"kernel_shape": [3, 3], "strides": [2, 2]}),
    "MaxPool-padded": ((1, 2, 6, 6), [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "GlobalAveragePool-": ((1, 3, 4, 5), [], {}),
    "MatMul-batched": ((2, 3, 4), [(4, 5)], {}),
    "Gemm-transposed": ((3, 4), [(5, 4), (5,)], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    "Gemm-first": ((4, 3), [(4, 5)], {"transA": 1}),
    "Einsum-": ((2, 3, 4), [(4, 5, 3)], {"equation": "abc,cdb->adb"}),
    "Mul-": ((1, 3, 4, 4), [(3, 1, 1)], {}),
    "Sub-": ((1, 3, 4, 4), [(3, 1, 1)], {}),
    "Div-": ((1, 3, 4, 4), [(3, 1, 1)], {}),
    "Transpose-": ((1, 3, 4, 5), [], {"perm": [0, 2, 3, 1]}),
    "Flatten-": ((2, 3, 4), [], {"axis": 2}),
    "SpaceToDepth-": ((1, 2, 4, 6), [], {"blocksize": 2}),
    "DepthToSpace-dcr": ((1, 8, 2, 3), [], {"blocksize": 2}),
    "DepthToSpace-crd": ((1, 8, 2, 3), [], {"blocksize": 2, "mode": "CRD"}),
    "Reshape-": ((2, 3, 4), [np.array([0, -1])], {}),
    "Slice-": (
        (1, 3, 8, 9),
        [np.array([1, -2]), np.array([-1, -9]), np.array([2, 3]), np.array([2, -2])],
        {},
    ),
    "Pad-constant": ((1, 2, 5, 4), [np.array([0, 0, 1, 2, 0, 0, -1, 1])], {}),
    "Pad-reflect": ((1, 2, 5, 4), [np.array([0, 0, 1, 2, 0, 0, 3, 1])], {"mode": "reflect"}),
    "Pad-edge": ((1, 2, 5, 4), [np.array([0, 0, 1, 2, 0, 0, 3, 1])], {"mode": "edge"}),
    "Gather-": ((1, 3, 4), [np.array([2, 0])], {"axis": 1}),
    "Unsqueeze-": ((2, 3), [np.array([0, -1])], {}),
    "Expand-": ((3, 1), [np.array([2, 1, 4])], {}),
    "ReduceSum-": ((2, 3, 4), [np.array([1])], {"keepdims": 0}),
    "Resize-": ((1, 2, 3, 3), [None, np.array([1, 1, 2, 3], np.float32)], {"mode": "nearest"}),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_the_naive_operators_are_those_of_onnx(name: str) -> None:
    """Against ONNX Runtime, which shares nothing with them; both sides of a cut share these."""
    shape, constants, attributes = OPERATORS[name]
    rng = np.random.default_rng(2)
    arrays = [
        a if a is None or isinstance(a, np.ndarray) else rng.integers(1, 5, a).astype(np.float32)
        for a in constants
    ]
    names = [f"c{i}" if a is not None else "" for i, a in enumerate(arrays)]
    node = helper.make_node(
        name.split("-", maxsplit=1)[0], ["x", *names], ["y"], "node", **attributes
    )
    weights = [
        numpy_helper.from_array(a, n) for n, a in zip(names, arrays, strict=True) if a is not None
    ]
    model = _model([node], shape)
    model.graph.initializer.extend(weights)
    x = rng.integers(-4, 5, shape).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (expected,) = session.run(None, {"x": x})
    values = {n: a for n, a in zip(names, arrays, strict=True) if a is not None}
    part = Part((node,), values.__getitem__, 17)
    (found,) = Evaluator(part, ("x",)).run({"x": np.stack([x, 2 * x])}, ("y",), shift=False)
    (whole,) = Evaluator(part, ("x",)).run({"x": x[None]}, ("y",))
    np.testing.assert_allclose(whole[0], expected, rtol=1e-6, atol=1e-6)
    # The linear part of a probe twice as large is twice as large.
    np.testing.assert_allclose(found[1], 2 * found[0], rtol=1e-12)


def test_a_certificate_goes_through_json() -> None:
    from dataclasses import replace

    path = MODELS / "onnx/acb_p1/L.onnx"
    after, report = optimize(path, Options(verify=False))
    found = certify(read(path), after, report.fusions)
    fusions = tuple(replace(f, certificate=c) for f, c in zip(report.fusions, found, strict=True))
    told = replace(report, fusions=fusions)
    assert Report.from_dict(json.loads(json.dumps(told.to_dict()))) == told


# The command.


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("certify")
    source, target, report = MODELS / "onnx/repvgg/D.onnx", folder / "o.onnx", folder / "r.json"
    assert onnxac("optimize", source, target, "--report", report).code == 0
    return source, target, report


def test_the_command_certifies_from_files(written: tuple[Path, Path, Path]) -> None:
    source, target, report = written
    ran = onnxac("certify", source, target, "--report", report, "-v")
    assert ran.code == 0, ran.stderr
    assert "4 of 4 changes certified" in ran.out
    assert ran.out.count("✓") == 5


def test_the_command_catches_a_changed_file(
    written: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    source, target, report = written
    after = read(target)
    name = next(n.name for n in after.graph.node if n.op_type == "Conv")
    broken = one_weight(after, name, np.random.default_rng(0))
    assert broken is not None
    changed = tmp_path / "changed.onnx"
    changed.write_bytes(broken.SerializeToString())
    ran = onnxac("certify", source, changed, "--report", report)
    assert ran.code == 1
    assert "3 of 4 changes certified, 1 wrong" in ran.out
    assert "is not the file that" in ran.stderr


def test_the_command_wants_a_report(written: tuple[Path, Path, Path], tmp_path: Path) -> None:
    source, target, _ = written
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[]")
    for given in (wrong, tmp_path / "missing.json"):
        ran = onnxac("certify", source, target, "--report", given)
        assert ran.code == 2
        assert ran.stderr.count("\n") == 1
