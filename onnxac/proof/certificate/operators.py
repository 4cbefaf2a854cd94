"""Linear operators as ONNX defines them, in NumPy and float64: a second, naive opinion.

Every array that depends on a source has one axis more than in the model, in front: the probe.
A constant has no such axis. Operators that are not in the table are not guessed at.

Two switches say what of an operator counts. Without `shift`, constants that are added are left
out, so that only the linear part of the affine map remains. With `absolute`, every constant and
every sum is taken by its magnitudes: the result is Σ|w||x|, what rounding is measured in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import helper

from onnxac.proof.certificate import windowed
from onnxac.proof.certificate.activations import bound, clip, rectify
from onnxac.proof.certificate.calls import Call, UnknownOperatorError, Value
from onnxac.proof.certificate.cut import Array
from onnxac.proof.certificate.windowed import Geometry


def _unbroadcast(call: Call) -> list[Array]:
    """Inputs with the axis of probes on each, and equal rank behind it."""
    rank = max(a.array.ndim - a.live for a in call.args if a is not None)
    found = []
    for arg in call.args:
        if arg is None:
            continue
        array = arg.array
        if arg.live:
            missing = rank - (array.ndim - 1)
            array = array.reshape(array.shape[0], *(1,) * missing, *array.shape[1:])
        found.append(array)
    return found


def _by_magnitude(call: Call, array: Array) -> bool:
    """Whether only magnitudes count. Integers are sizes and places, and stay what they are."""
    return call.absolute and array.dtype.kind == "f"


def add(call: Call) -> Array:
    """Add, Sub, Sum."""
    arrays = _unbroadcast(call)
    if not call.folds:
        arrays = [
            a if v is not None and v.live else call.added(a)
            for a, v in zip(arrays, call.args, strict=True)
        ]
    total = arrays[0]
    for other in arrays[1:]:
        minus = call.op == "Sub" and not _by_magnitude(call, total)
        total = total - other if minus else total + other
    return total


def multiply(call: Call) -> Array:
    """Mul and Div by a constant."""
    first, second = _unbroadcast(call)
    if not call.folds:
        if call.value(1).live and (call.value(0).live or call.op == "Div"):
            raise UnknownOperatorError(f"{call.op} of two tensors that depend on the input")
        if call.absolute:
            first, second = (
                a if call.value(i).live else np.abs(a) for i, a in enumerate((first, second))
            )
    if call.op == "Mul":
        return first * second
    if first.dtype.kind in "iu":
        return np.trunc(first / second).astype(first.dtype)
    return first / second


def remainder(call: Call) -> Array:
    """Mod of constants: with the sign of the divisor, or with `fmod` of the dividend."""
    first, second = _unbroadcast(call)
    if not call.folds:
        raise UnknownOperatorError("Mod of a tensor that depends on the input")
    return np.asarray(np.fmod(first, second) if call.get("fmod", 0) else np.mod(first, second))


def negate(call: Call) -> Array:
    """Neg."""
    array = call.value(0).array
    return array if _by_magnitude(call, array) else -array


def normalize(call: Call) -> Array:
    """BatchNormalization in inference: x·s + (β − μ·s), s = γ/√(σ² + ε)."""
    if call.get("training_mode", 0):
        raise UnknownOperatorError("BatchNormalization in training mode")
    x = call.live(0)
    scale, shift, mean, variance = (call.constant(i) for i in range(1, 5))
    factor = scale / np.sqrt(variance + call.get("epsilon", float(np.float32(1e-5))))
    moved = np.zeros_like(shift)
    if call.shift:
        moved = np.abs(shift) + np.abs(mean * factor) if call.absolute else shift - mean * factor
    shape = (-1, *(1,) * (x.ndim - 3))
    scaled: Array = x * (np.abs(factor) if call.absolute else factor).reshape(shape)
    return scaled + moved.reshape(shape)


def _as_batch(call: Call) -> tuple[Array, int]:
    """[Q, N, C, *S] as [Q·N, C, *S], and Q."""
    x = call.live(0)
    if x.ndim < 4:
        raise UnknownOperatorError(f"{call.op} of a tensor without space")
    return x.reshape(-1, *x.shape[2:]), x.shape[0]


def _geometry(call: Call, taps: Sequence[int], space: Sequence[int]) -> Geometry:
    """How the windows of a convolution or a pool lie."""
    rank = len(taps)
    stride = list(call.get("strides", [1] * rank))
    dilation = list(call.get("dilations", [1] * rank))
    mode = call.get("auto_pad", "NOTSET")
    if mode != "NOTSET":
        pairs = [
            windowed.automatic(mode, *n) for n in zip(space, taps, stride, dilation, strict=True)
        ]
        return Geometry(stride, dilation, [p[0] for p in pairs], [p[1] for p in pairs])
    pads = list(call.get("pads", [0] * (2 * rank)))
    return Geometry(stride, dilation, pads[:rank], pads[rank:])


def _biased(call: Call, y: Array, probes: int) -> Array:
    if call.has(2) and call.shift:
        y = y + call.addend(2).reshape(-1, *(1,) * (y.ndim - 2))
    return y.reshape(probes, -1, *y.shape[1:])


def convolution(call: Call) -> Array:
    """Conv."""
    x, probes = _as_batch(call)
    kernel = call.factor(1)
    geometry = _geometry(call, kernel.shape[2:], x.shape[2:])
    group = call.get("group", 1)
    if x.shape[1] != kernel.shape[1] * group or kernel.shape[0] % group:
        raise UnknownOperatorError("Conv: the kernel's channels are not those of its input")
    found = call.value(0).impulses
    y = None if found is None else windowed.copied(found, x, kernel, group, geometry)
    if y is None:
        y = windowed.convolve(x, kernel, group, geometry)
    return _biased(call, y, probes)


def transposed_convolution(call: Call) -> Array:
    """ConvTranspose."""
    x, probes = _as_batch(call)
    kernel = call.factor(1)
    rank = kernel.ndim - 2
    if call.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in call.attributes:
        raise UnknownOperatorError("ConvTranspose with auto_pad or output_shape")
    geometry = _geometry(call, kernel.shape[2:], x.shape[2:])
    more = list(call.get("output_padding", [0] * rank))
    y = windowed.spread(x, kernel, call.get("group", 1), geometry)
    end = [m - e for m, e in zip(more, geometry.end, strict=True)]
    y = windowed.pad(y, [-b for b in geometry.begin], end)
    return _biased(call, y, probes)


def pool(call: Call) -> Array:
    """AveragePool and MaxPool."""
    x, probes = _as_batch(call)
    taps = list(call.attributes["kernel_shape"])
    geometry = _geometry(call, taps, x.shape[2:])
    stride, dilation, begin, end = (
        list(n) for n in (geometry.stride, geometry.dilation, geometry.begin, geometry.end)
    )
    real_end = list(end)
    if call.get("ceil_mode", 0):
        for axis, (n, k, s, d) in enumerate(zip(x.shape[2:], taps, stride, dilation, strict=True)):
            rest = (n + begin[axis] + end[axis] - d * (k - 1) - 1) % s
            # A window that would begin in the padding behind the map is dropped.
            extra = (s - rest) % s
            count = (n + begin[axis] + end[axis] - d * (k - 1) - 1 + extra) // s
            if extra and count * s < n + begin[axis]:
                end[axis] += extra
    largest = call.op == "MaxPool"
    padded = windowed.pad(x, begin, end, -math.inf if largest and not call.absolute else 0.0)
    seen = windowed.windows(padded, taps, geometry)
    if largest:
        most: Array = np.max(np.stack(seen), axis=0)
        return most.reshape(probes, -1, *most.shape[1:])
    counted = np.ones((1, 1, *x.shape[2:]))
    if call.get("count_include_pad", 0):
        counted = windowed.pad(counted, begin, real_end, 1.0)
        end = [e - r for e, r in zip(end, real_end, strict=True)]
        counted = windowed.pad(counted, [0] * len(taps), end)
    else:
        counted = windowed.pad(counted, begin, end)
    number = np.sum(windowed.windows(counted, taps, geometry), axis=0)
    y: Array = np.sum(seen, axis=0) / number
    return y.reshape(probes, -1, *y.shape[1:])


def global_average(call: Call) -> Array:
    """GlobalAveragePool."""
    x = call.live(0)
    return np.asarray(x.mean(axis=tuple(range(3, x.ndim)), keepdims=True))


def matrix_product(call: Call) -> Array:
    """MatMul by a constant."""
    first, second = call.value(0), call.value(1)
    if first.live and not second.live:
        if second.array.ndim > first.array.ndim - 1 or first.array.ndim < 3:
            raise UnknownOperatorError("MatMul of a vector, or that adds axes")
        return np.asarray(first.array @ call.factor(1))
    if second.live and not first.live:
        if first.array.ndim > second.array.ndim - 1 or first.array.ndim < 2:
            raise UnknownOperatorError("MatMul of a vector, or that adds axes")
        return np.asarray(call.factor(0) @ second.array)
    if call.folds:
        return np.asarray(first.array @ second.array)
    raise UnknownOperatorError("MatMul of two tensors that depend on the input")


def gemm(call: Call) -> Array:
    """Gemm by a constant."""
    first, second = (call.value(i).array if call.value(i).live else call.factor(i) for i in (0, 1))
    if call.value(0).live == call.value(1).live and not call.folds:
        raise UnknownOperatorError("Gemm of two tensors that depend on the input")
    if call.get("transA", 0):
        first = first.swapaxes(-1, -2)
    if call.get("transB", 0):
        second = second.swapaxes(-1, -2)
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    y: Array = (abs(alpha) if call.absolute else alpha) * (first @ second)
    if not call.has(2):
        return y
    third = call.value(2)
    if third.live:
        return np.asarray(y + (abs(beta) if call.absolute else beta) * third.array)
    return np.asarray(y + call.added(beta * third.array))


def einsum(call: Call) -> Array:
    """Einsum with at most one tensor that depends on a source."""
    equation = call.attributes["equation"].replace(" ", "")
    if "..." in equation or "->" not in equation:
        raise UnknownOperatorError("Einsum with an ellipsis, or without its result")
    terms, result = equation.split("->")
    parts = terms.split(",")
    live = [i for i, a in enumerate(call.args) if a is not None and a.live]
    if len(live) > 1:
        raise UnknownOperatorError("Einsum of two tensors that depend on the input")
    free = next(c for c in "ZYXWVUTSR" if c not in equation)
    for i in live:
        parts[i], result = free + parts[i], free + result
    arrays = [a.array if a.live else call.factor(i) for i, a in _given(call)]
    return np.asarray(np.einsum(f"{','.join(parts)}->{result}", *arrays, optimize=True))


def _given(call: Call) -> Iterable[tuple[int, Value]]:
    return ((i, a) for i, a in enumerate(call.args) if a is not None)


def reduce_mean(call: Call) -> Array:
    """ReduceMean and ReduceSum."""
    x = call.value(0)
    axes = call.ints("axes", 1)
    rank = x.array.ndim - x.live
    if not axes:
        if call.get("noop_with_empty_axes", 0):
            return x.array
        axes = list(range(rank))
    where = tuple(a % rank + x.live for a in axes)
    reduce = np.mean if call.op == "ReduceMean" else np.sum
    result: Array = reduce(x.array, axis=where, keepdims=call.get("keepdims", 1) == 1)
    return result


def unchanged(call: Call) -> Array:
    """Identity, Dropout, and casts between float types."""
    return call.value(0).array


def cast(call: Call) -> Array:
    """Cast and CastLike: everything that is a float counts as float64, integers as integers."""
    value = call.value(0)
    if "to" not in call.attributes:
        return value.array
    kind = np.dtype(helper.tensor_dtype_to_np_dtype(call.attributes["to"]))
    if kind.kind not in "iub":
        return value.array.astype(np.float64)
    if value.live:
        raise UnknownOperatorError(f"{call.op} of a tensor to integers")
    return value.array.astype(kind)


def dequantize(call: Call) -> Array:
    """DequantizeLinear of constants: (x - zero point)·scale, by blocks, by an axis, or as a whole.

    Of scales by blocks each is for `block_size` elements along the axis, the last one for the rest.
    """
    if call.value(0).live:
        raise UnknownOperatorError("DequantizeLinear of a tensor")
    values = call.value(0).array.astype(np.float64)
    axis, size = call.get("axis", 1), call.get("block_size", 0)

    def spread(of: Array) -> Array:
        if size:
            return np.repeat(of, size, axis)[tuple(map(slice, values.shape))]
        shape = [1] * values.ndim
        if of.ndim:
            shape[axis] = -1
        return of.reshape(shape)

    zero = call.value(2).array.astype(np.float64) if call.has(2) else None
    shifted = values if zero is None else values - spread(zero)
    made = shifted * spread(call.value(1).array)
    return np.asarray(np.abs(made) if call.absolute else made)


def leaky(call: Call) -> Array:
    """LeakyRelu and PRelu. What they are given may come out further apart by their slope."""
    if call.op == "PRelu":
        x, slope = _unbroadcast(call)
    else:
        x, slope = call.live(0), np.asarray(call.get("alpha", 0.01))
    if call.absolute:
        return np.asarray(x * np.maximum(np.abs(slope), 1.0))
    return np.where(x > 0, x, slope * x)


TABLE: dict[str, Callable[[Call], Array | list[Array]]] = {
    "Add": add,
    "Sub": add,
    "Sum": add,
    "Mul": multiply,
    "Div": multiply,
    "Mod": remainder,
    "Neg": negate,
    "BatchNormalization": normalize,
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
    "AveragePool": pool,
    "MaxPool": pool,
    "GlobalAveragePool": global_average,
    "MatMul": matrix_product,
    "Gemm": gemm,
    "Einsum": einsum,
    "ReduceMean": reduce_mean,
    "ReduceSum": reduce_mean,
    "Identity": unchanged,
    "Dropout": unchanged,
    "Cast": cast,
    "CastLike": cast,
    "DequantizeLinear": dequantize,
    "LeakyRelu": leaky,
    "PRelu": leaky,
    "Relu": rectify,
    "Max": bound,
    "Min": bound,
    "Clip": clip,
    "HardSwish": clip,
}


def bends(op: str, attributes: Mapping[str, Any]) -> bool:
    """Whether an operator is not affine: then the linear part can't be told from the rest."""
    if op == "LeakyRelu":
        return bool(attributes.get("alpha", 0.01) != 1.0)
    return op in ("Relu", "PRelu", "Max", "Min", "Clip", "HardSwish", "MaxPool")
