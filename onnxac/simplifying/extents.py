"""Extents of inputs that are written into a model, and what follows from them.

An open extent becomes a number; so does every other one of the same name, and every extent of an
output that is a formula of such. What computes sizes at run time is constant from then on, and
folds like any constant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from onnx import ModelProto, TensorShapeProto, ValueInfoProto

from onnxac.errors import UsageError
from onnxac.graph.model import Model, from_proto
from onnxac.inference.facts import Facts

Dim = TensorShapeProto.Dimension


def fix_shapes(model: Model, shapes: Mapping[str, Sequence[int]]) -> Model:
    """The model with these shapes of inputs, by name; itself where there are none.

    Raises UsageError where an input is unknown, or is of another shape already.
    """
    if not shapes:
        return model
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    weights = {t.name for t in proto.graph.initializer}
    inputs = {i.name: i for i in proto.graph.input if i.name not in weights}
    bound: dict[str, int] = {}
    for name, shape in shapes.items():
        if name not in inputs:
            known = ", ".join(inputs) or "none"
            raise UsageError(f"no input {name!r} to fix the shape of; the inputs are: {known}")
        _fix_input(inputs[name], shape, bound)
    graph = proto.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in bound:
                dim.dim_value = bound[dim.dim_param]
    # What is still open among the types inside may be a formula of what is a number now.
    known_types = [v for v in graph.value_info if not any(map(_is_open, _dims(v)))]
    del graph.value_info[:]
    graph.value_info.extend(known_types)
    fixed = from_proto(proto, model.folder)
    _fill_outputs(graph.output, Facts(fixed))
    return fixed


def _fix_input(value: ValueInfoProto, shape: Sequence[int], bound: dict[str, int]) -> None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        tensor.shape.dim.extend(Dim() for _ in shape)
    wanted = [d.dim_param or ("?" if _is_open(d) else d.dim_value) for d in tensor.shape.dim]
    fits = len(wanted) == len(shape) and all(
        n > 0 and (bound.setdefault(w, n) if isinstance(w, str) and w != "?" else w) in (n, "?")
        for w, n in zip(wanted, shape, strict=True)
    )
    if not fits:
        raise UsageError(
            f"input {value.name!r} can't be fixed to {_listed(shape)}: its shape is "
            f"{_listed(wanted)}"
        )
    for dim, extent in zip(tensor.shape.dim, shape, strict=True):
        dim.dim_value = extent


def _fill_outputs(outputs: Iterable[ValueInfoProto], facts: Facts) -> None:
    for value in outputs:
        for dim, extent in zip(_dims(value), facts.shape(value.name) or (), strict=False):
            if _is_open(dim) and isinstance(extent, int):
                dim.dim_value = extent


def _listed(extents: Sequence[object]) -> str:
    return ",".join(map(str, extents))


def stays_open(model: Model, shapes: Iterable[str]) -> list[str]:
    """The inputs among `shapes` that have an open extent."""
    inputs = {i.name: i for i in model.proto.graph.input}
    return [n for n in shapes if n in inputs and any(map(_is_open, _dims(inputs[n])))]


def _dims(value: ValueInfoProto) -> Sequence[Dim]:
    dims: Sequence[Dim] = value.type.tensor_type.shape.dim
    return dims


def _is_open(dim: Dim) -> bool:
    # Some exporters write -1 for an extent that is free.
    return not dim.HasField("dim_value") or dim.dim_value < 0
