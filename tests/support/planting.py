"""Faults to plant in a fused model, as a bug in fusing might have made them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from onnxac.pipeline import Options, optimize
from onnxac.report import Fusion
from onnxac.storage.files import read

Fault = Callable[[ModelProto, str, np.random.Generator], ModelProto | None]


def fused(path: Path) -> tuple[ModelProto, ModelProto, tuple[Fusion, ...]]:
    after, report = optimize(path, Options(verify=False))
    return read(path), after, report.fusions


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


def another_source(model: ModelProto, name: str, rng: np.random.Generator) -> ModelProto | None:
    """The node reads another tensor of the same model, one that was made before it."""
    broken = _copy(model)
    node = _node(broken, name)
    makers = [n for n in broken.graph.node if n.op_type in ("Relu", "Conv", "Add", "MaxPool")]
    before = [o for n in makers[: makers.index(node)] for o in n.output] if node in makers else []
    others = [o for o in before if o != node.input[0]]
    if not others:
        return None
    node.input[0] = str(rng.choice(others))
    return broken


def swapped_operands(model: ModelProto, name: str, rng: np.random.Generator) -> ModelProto | None:
    """The weights of two merged nodes change places."""
    broken = _copy(model)
    node = _node(broken, name)
    weights = {t.name: tuple(t.dims) for t in broken.graph.initializer}
    others = [
        n
        for n in broken.graph.node
        if n.op_type == node.op_type
        and n.name != name
        and weights.get(n.input[1]) == weights[node.input[1]]
    ]
    if not others:
        return None
    node.input[1] = others[rng.integers(len(others))].input[1]
    return broken


FAULTS: tuple[tuple[Fault, str], ...] = (
    *((f, "acb_p1/L") for f in (one_weight, swapped_taps, dropped_bias, nudged_bias)),
    *((f, "acb_p1/L") for f in (shifted_border, swapped_inputs, swapped_outputs)),
    *((f, "mobileone/B") for f in (one_weight, swapped_taps, dropped_bias, wrong_group)),
    *((f, "dbb/D") for f in (one_weight, dropped_bias, shifted_border)),
    *((f, "acb_s2/B") for f in (one_weight, swapped_taps, shifted_border)),
    *((f, "ac_resnet/L") for f in (another_source, swapped_operands)),
    *((f, "unshuffle/L") for f in (one_weight, swapped_taps, dropped_bias, shifted_border)),
)
