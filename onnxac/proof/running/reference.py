"""onnx's reference evaluator, made an oracle: its mistakes mended, and whole models in float64."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_batch_normalization import (
    _batchnorm_test_mode,
    _batchnorm_training_mode,
)

from onnxac.proof.judging.identity import captured

NARROW = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})
# Attributes that name an element type of the result.
TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_datatype"})


class BatchNormalization(OpRun):
    """BatchNormalization of every opset.

    onnx 1.23 takes opset 6 to 8 for training, and opset 9 to 13 too where `momentum` is
    written: before opset 14 it was the number of outputs that told.
    """

    op_domain = ""

    def _run(  # noqa: PLR0913, PLR0917 - the operator's own inputs and attributes
        self,
        x: NDArray[Any],
        scale: NDArray[Any],
        bias: NDArray[Any],
        mean: NDArray[Any],
        var: NDArray[Any],
        epsilon: float | None = None,
        momentum: float | None = None,
        training_mode: int | None = None,
        spatial: int | None = None,
    ) -> tuple[NDArray[Any], ...]:
        epsilon = float(np.float32(1e-5)) if epsilon is None else epsilon
        if training_mode or len(self.onnx_node.output) > 3:
            y, saved_mean, saved_var, *running = _batchnorm_training_mode(
                x, scale, bias, mean, var, 0.9 if momentum is None else momentum, epsilon
            )
            results = (y, *running) if training_mode else (y, *running, saved_mean, saved_var)
            return results[: len(self.onnx_node.output)]
        if spatial == 0:
            # A value per element of [C, *spatial], as in opset 7 and 8.
            y = (x - mean) / np.sqrt(var + epsilon) * scale + bias
            return (y.astype(x.dtype),)
        return (_batchnorm_test_mode(x, scale, bias, mean, var, epsilon=epsilon),)


class Conv(OpRun):
    """Conv, tap by tap: onnx's makes a copy of the map for each tap, and holds them all."""

    op_domain = ""

    def _run(  # noqa: PLR0913, PLR0917 - the operator's own inputs and attributes
        self,
        x: NDArray[Any],
        w: NDArray[Any],
        b: NDArray[Any] | None = None,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[NDArray[Any]]:
        own = x.dtype
        if own.itemsize < np.dtype(np.float32).itemsize:
            # As runtimes do: a sum in half precision is rounded once, not after each tap.
            x, w = x.astype(np.float32), w.astype(np.float32)
            b = None if b is None else b.astype(np.float32)
        axes, taps = w.ndim - 2, w.shape[2:]
        if x.ndim != w.ndim or axes < 1 or tuple(kernel_shape or taps) != taps:
            raise ValueError(f"Conv of {x.shape} with a kernel of {w.shape}")
        steps, spread = list(strides or [1] * axes), list(dilations or [1] * axes)
        reach = [d * (k - 1) + 1 for d, k in zip(spread, taps, strict=True)]
        begin, end = _padding(auto_pad or "NOTSET", x.shape[2:], pads, reach, steps)
        padded = x
        if any((*begin, *end)):
            padded = np.pad(x, [(0, 0), (0, 0), *zip(begin, end, strict=True)])
        size = [(n - r) // s + 1 for n, r, s in zip(padded.shape[2:], reach, steps, strict=True)]
        groups = group or 1
        if min(size) < 1 or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
            raise ValueError(f"Conv of {x.shape} with a kernel of {w.shape} in {groups} groups")
        y: NDArray[Any] | None = None
        for tap in np.ndindex(*taps):
            rows = zip(tap, spread, steps, size, strict=True)
            reached = tuple(slice(t * d, t * d + s * (n - 1) + 1, s) for t, d, s, n in rows)
            seen = padded[(slice(None), slice(None), *reached)]
            kernel = w[(..., *tap)].reshape(groups, -1, w.shape[1])
            cells = seen.reshape(len(x), groups, w.shape[1], -1)
            part = kernel * cells if w.shape[1] == 1 else kernel @ cells
            y = part if y is None else np.add(y, part, out=y)
        assert y is not None, "a kernel has a tap"
        if b is not None:
            y += b.reshape(groups, -1, 1)
        return (y.reshape(len(x), w.shape[0], *size).astype(own, copy=False),)


def _padding(
    mode: str, space: Sequence[int], pads: Sequence[int] | None, reach: list[int], steps: list[int]
) -> tuple[list[int], list[int]]:
    """How much a Conv pads at the begin and at the end of each axis."""
    axes = len(space)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        given = [0] * 2 * axes if pads is None or mode == "VALID" else list(pads)
        return given[:axes], given[axes:]
    whole = [
        max(0, (-(-n // s) - 1) * s + r - n) for n, r, s in zip(space, reach, steps, strict=True)
    ]
    less, more = [n // 2 for n in whole], [n - n // 2 for n in whole]
    return (less, more) if mode == "SAME_UPPER" else (more, less)


def evaluator(model: onnx.ModelProto) -> ReferenceEvaluator:
    """An evaluator of a model, with what onnx gets wrong put right.

    Raises whatever onnx raises for an operator that it has no implementation of.
    """
    return ReferenceEvaluator(model, new_ops=[BatchNormalization, Conv])


def evaluate(
    evaluator: ReferenceEvaluator, feeds: Mapping[str, Any], names: Sequence[str]
) -> list[Any]:
    """Some tensors of the main graph, by the nodes that these hang on, in order.

    Unlike the evaluator's own loop it gives up what nobody reads any more.
    """
    made = [(n, (*n.input, *captured(n.onnx_node))) for n in evaluator.rt_nodes_]
    wanted, needed = set(names), []
    for node, read in reversed(made):
        if wanted.intersection(node.output):
            wanted.update(read)
            needed.append((node, read))
    left = Counter(n for _, read in needed for n in read) + Counter(names)
    results = {"": None, **evaluator.rt_inits_, **feeds}
    for node, read in reversed(needed):
        given = [results[n] for n in node.input]
        outputs = node.run(*given, context=results) if node.need_context() else node.run(*given)
        results.update(zip(node.output, outputs, strict=False))
        left.subtract(read)
        for name in (*read, *node.output):
            if name and not left[name]:
                results.pop(name, None)
    return [results[n] for n in names]


def widen(model: onnx.ModelProto) -> None:
    """Compute in float64 what a model computes in float32, float16 and bfloat16; in place.

    Weights keep the values that they have. Integers and booleans stay as they are. External
    data has to be loaded.
    """
    for graph in _graphs(model.graph):
        for tensor in graph.initializer:
            _widen_tensor(tensor)
        for value in (*graph.input, *graph.output):
            _widen_type(value.type)
        del graph.value_info[:]
        for node in graph.node:
            _widen_node(node)
    for function in model.functions:
        del function.value_info[:]
        for node in function.node:
            _widen_node(node)
            for graph in _inner(node):
                for nested in _graphs(graph):
                    for inside in nested.node:
                        _widen_node(inside)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for inner in _inner(node):
            yield from _graphs(inner)


def _inner(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _widen_type(kind: onnx.TypeProto) -> None:
    while kind.HasField("sequence_type") or kind.HasField("optional_type"):
        inner = kind.sequence_type if kind.HasField("sequence_type") else kind.optional_type
        kind = inner.elem_type
    if kind.tensor_type.elem_type in NARROW:
        kind.tensor_type.elem_type = TensorProto.DOUBLE


def _widen_node(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR:
            _widen_tensor(attribute.t)
        elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
            one = attribute.name == "value_float"
            values = np.array(attribute.f if one else list(attribute.floats), np.float64)
            tensor = numpy_helper.from_array(values)
            attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))
        elif attribute.name in TYPE_ATTRIBUTES and attribute.i in NARROW:
            attribute.i = TensorProto.DOUBLE


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in NARROW:
        values = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def read_evaluator(path: str, folder: str | None, wide: bool) -> ReferenceEvaluator:
    """An evaluator of the model in a file; `wide`: in float64.

    folder  where the external data lies, if not beside the file
    """
    model = onnx.load(path, load_external_data=False)
    onnx.load_external_data_for_model(model, folder or os.path.dirname(os.path.abspath(path)))
    if not wide:
        return evaluator(model)
    # Weights are held once, as arrays; a protobuf frees none of its memory before all of it goes.
    weights = {t.name: _widened(t) for t in model.graph.initializer}
    fields = [f for f in model.graph.DESCRIPTOR.fields_by_name if f != "initializer"]
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    bare.functions.extend(model.functions)
    bare.graph.MergeFrom(onnx.GraphProto(**{f: getattr(model.graph, f) for f in fields}))
    widen(bare)
    made = evaluator(bare)
    made.rt_inits_.update(weights)
    return made


def _widened(tensor: onnx.TensorProto) -> NDArray[Any]:
    values = numpy_helper.to_array(tensor)
    # What is not widened is a view of the protobuf.
    return values.astype(np.float64 if tensor.data_type in NARROW else values.dtype)
