"""Shapes of tensors, by onnx's own inference."""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, ValueInfoProto

from onnxac.proof.certificate.calls import UnknownOperatorError


class Shapes:
    """Shapes of tensors, as far as onnx infers them; asked for only where a change begins.

    after  may tell what `before` does not, where it has constants in place of computations
    """

    def __init__(self, before: ModelProto, after: ModelProto) -> None:
        self._models = before, after
        self._known: list[dict[str, list[int | None]]] = []

    def of(self, name: str) -> list[int | None]:
        """One size per axis, None where it is not known. Raises where the rank is not."""
        self._infer(0)
        found = self._known[0].get(name)
        if found is None or None in found:
            self._infer(1)
            other = self._known[1].get(name)
            if found is None:
                found = other
            elif other is not None and len(other) == len(found):
                found = [n if n is not None else m for n, m in zip(found, other, strict=True)]
        if found is None:
            raise UnknownOperatorError(f"the number of axes of {name!r} is not known")
        return found

    def _infer(self, index: int) -> None:
        while len(self._known) <= index:
            self._known.append(dict(_shapes(inferred(self._models[len(self._known)]))))


def inferred(model: ModelProto) -> GraphProto:
    """The model's graph with all types that onnx infers, without large weights.

    Raises UnknownOperatorError where it can infer nothing.
    """
    light = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.functions.extend(model.functions)
    graph, own = light.graph, model.graph
    graph.name = own.name or "graph"
    graph.node.extend(own.node)
    graph.input.extend(own.input)
    graph.output.extend(own.output)
    given = {i.name for i in own.input}
    for tensor in own.initializer:
        # Shapes are computed from small integers; of the rest, the shape is enough.
        if math.prod(tensor.dims) <= 64 and not tensor.external_data:
            graph.initializer.append(tensor)
        elif tensor.name not in given:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    _make_digestible(light.graph)
    for function in light.functions:
        _make_nodes_digestible(function)
    found = _types_of(light)
    # What the file tells is asked only where a node tells nothing: it may be wrong.
    known = dict(_shapes(found))
    # Many exporters list initializers there, too; those are no reason to infer once more.
    silent = {o for n in own.node for o in n.output} - known.keys()
    told = [v for v in own.value_info if v.name in silent]
    if not told:
        return found
    graph.value_info.extend(told)
    _make_digestible(graph)
    return _types_of(light)


def _types_of(light: ModelProto) -> GraphProto:
    try:
        return onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except Exception as error:
        raise UnknownOperatorError(f"its shapes can't be inferred: {error}") from error


def _make_digestible(graph: GraphProto) -> None:
    """Take out what onnx's own inference ends the process over: its shapes stay unknown.

    That is a negative extent, as old exporters write it, and a Split into other than its outputs.
    """
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                dim.ClearField("dim_value")
    _make_nodes_digestible(graph)


def _make_nodes_digestible(owner: GraphProto | FunctionProto) -> None:
    odd = [i for i, n in enumerate(owner.node) if n.op_type == "Split" and not _adds_up(n)]
    for index in reversed(odd):
        del owner.node[index]
    for node in owner.node:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                _make_digestible(body)


def _adds_up(split: NodeProto) -> bool:
    return all(a.i == len(split.output) for a in split.attribute if a.name == "num_outputs")


def _shapes(graph: GraphProto) -> Iterator[tuple[str, list[int | None]]]:
    info: ValueInfoProto
    for info in (*graph.input, *graph.value_info, *graph.output):
        if info.type.tensor_type.HasField("shape"):
            yield (
                info.name,
                [
                    d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
                    for d in info.type.tensor_type.shape.dim
                ],
            )
