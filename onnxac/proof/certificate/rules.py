"""The axes behind each linear operator: what stays free, and what has to be what it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnxac.proof.certificate import spans
from onnxac.proof.certificate.axes import Axes, Axis, Rule, Scope, length
from onnxac.proof.certificate.calls import Call, UnknownOperatorError, Value
from onnxac.proof.certificate.evaluate import OPERATORS
from onnxac.proof.certificate.shifts import SHIFTS
from onnxac.proof.certificate.spans import Span
from onnxac.proof.certificate.windowed import automatic


def _pointwise(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    shapes = [
        own[i] if own[i] else tuple(a.array.shape) for i, a in enumerate(call.args) if a is not None
    ]
    rank = max(map(len, shapes))
    return [tuple(t.joined([s[at] for s in shapes if len(s) >= -at]) for at in range(-rank, 0))]


def _space(call: Call, axes: Axes, taps: Sequence[int], step: Callable[..., Span]) -> list[Axis]:
    """The spatial axes behind a window."""
    rank = len(taps)
    stride = list(call.get("strides", [1] * rank))
    dilation = list(call.get("dilations", [1] * rank))
    pads = list(call.get("pads", [0] * (2 * rank)))
    more = list(call.get("output_padding", [0] * rank))
    mode = call.get("auto_pad", "NOTSET")
    found: list[Axis] = []
    for i, axis in enumerate(axes):
        begin, end = pads[i], pads[i + rank]
        if mode != "NOTSET":
            begin, end = automatic(mode, length(axis), taps[i], stride[i], dilation[i])
        span = axis if isinstance(axis, Span) else Span(axis)
        made = step(span, taps[i], stride[i], dilation[i], begin, end - more[i])
        found.append(made if isinstance(axis, Span) else made.length)
    return found


def _conv(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    kernel = call.constant(1).shape
    if call.op == "Conv":
        t.mix(own[0][1], kernel[1] * call.get("group", 1))
        channels, step = kernel[0], spans.windowed
    else:
        t.mix(own[0][1], kernel[0])
        channels, step = kernel[1] * call.get("group", 1), spans.spread
    return [(own[0][0], channels, *_space(call, own[0][2:], kernel[2:], step))]


def _pool(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    if call.get("ceil_mode", 0):
        for axis in own[0][2:]:
            t.mix(axis)
        x = own[0][2:]
        call_space = _ceiled(call, [length(a) for a in x])
        return [(*own[0][:2], *call_space)]
    taps = list(call.attributes["kernel_shape"])
    return [(*own[0][:2], *_space(call, own[0][2:], taps, spans.windowed))]


def _ceiled(call: Call, space: Sequence[int]) -> list[int]:
    ghost = Value(np.zeros((1, 1, 1, *space)), True)
    trial = Call(call.op, call.attributes, (ghost,), call.opset)
    result = OPERATORS[call.op](trial)
    return list(np.asarray(result).shape[3:])


def _normalized(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    axes = own[0]
    return [(axes[0], t.mix(axes[1], call.constant(1).size), *axes[2:])]


def _global(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    for axis in own[0][2:]:
        t.average(axis)
    return [(*own[0][:2], *(1 for _ in own[0][2:]))]


def _matmul(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    first = own[0] or tuple(call.value(0).array.shape)
    second = own[1] or tuple(call.value(1).array.shape)
    t.mix(first[-1], length(second[-2]))
    t.mix(second[-2], length(first[-1]))
    rank = max(len(first), len(second))
    lead = [t.joined([s[at] for s in (first, second) if len(s) >= -at]) for at in range(-rank, -2)]
    return [(*lead, first[-2], second[-1])]


def _gemm(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    first = own[0] or tuple(call.value(0).array.shape)
    second = own[1] or tuple(call.value(1).array.shape)
    rows, inner = first[::-1] if call.get("transA", 0) else first
    other, columns = second[::-1] if call.get("transB", 0) else second
    t.mix(inner, length(other))
    t.mix(other, length(inner))
    result: list[Axis] = [rows, columns]
    if call.has(2):
        third = own[2] or tuple(call.value(2).array.shape)
        for at in range(-len(third), 0):
            result[at] = t.joined([result[at], third[at]])
    return [tuple(result)]


def _einsum(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    equation = call.attributes["equation"].replace(" ", "")
    if "..." in equation or "->" not in equation:
        raise UnknownOperatorError("Einsum with an ellipsis, or without its result")
    terms, result = equation.split("->")
    found: dict[str, Axis] = {}
    for index, letters in enumerate(terms.split(",")):
        shape = own[index] or tuple(call.value(index).array.shape)
        for letter, axis in zip(letters, shape, strict=True):
            if letter in found or letter not in result:
                t.mix(axis)
                found[letter] = t.mix(found.get(letter, axis))
            else:
                found[letter] = axis
    return [tuple(found[c] for c in result)]


def _reduced(t: Scope, call: Call, own: Sequence[Axes], *_: Any) -> list[Axes]:
    axes = own[0]
    where = call.ints("axes", 1) or list(range(len(axes)))
    where = [a % len(axes) for a in where]
    kept: list[Axis] = []
    for i, axis in enumerate(axes):
        if i not in where:
            kept.append(axis)
            continue
        t.average(axis)
        if call.get("keepdims", 1) == 1:
            kept.append(1)
    return [tuple(kept)]


RULES: dict[str, Rule] = {
    **SHIFTS,
    **dict.fromkeys(("Add", "Sub", "Sum", "Mul", "Div", "Neg", "Where"), _pointwise),
    **dict.fromkeys(
        ("Identity", "Dropout", "Cast", "CastLike", "LeakyRelu", "PRelu", "Relu"), _pointwise
    ),
    **dict.fromkeys(("Max", "Min", "Clip", "HardSwish"), _pointwise),
    "Conv": _conv,
    "ConvTranspose": _conv,
    "AveragePool": _pool,
    "MaxPool": _pool,
    "BatchNormalization": _normalized,
    "GlobalAveragePool": _global,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
    "ReduceMean": _reduced,
    "ReduceSum": _reduced,
}
