"""Models in exact arithmetic: whatever order a sum is taken in, float32 gives the same bits.

float32 holds every integer up to 2²⁴. With small integers (and powers of two) for weights,
inputs and statistics, no sum in a network rounds, so two networks that compute the same
function give equal outputs to the bit, borders included: no tolerance can hide an error.

`Net` builds an ONNX graph and keeps for every tensor a bound of what may add up in it and
the power of two that all its values are multiples of; it refuses to leave the exact range.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import onnxruntime.capi.onnxruntime_pybind11_state as ort_state
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

Array = NDArray[Any]
Feeds = Mapping[str, Array]

INT64_MAX = 2**63 - 1
EPSILON = 2.0**-10
# Inputs are integers of at most this magnitude.
INPUT = 3
# Σ|w||x|, in units of the last place, stays below what float32 holds exactly.
LIMIT = 2.0**23


class TooLarge(Exception):  # noqa: N818 (it is no error: the draw has left the exact range)
    """A tensor's values could be rounded."""


class Window(NamedTuple):
    """Output p reads the input at stride·p + dilation·k + offset; `extent` counts outputs."""

    taps: int = 1
    dilation: int = 1
    stride: int = 1
    offset: int = 0
    extent: int = 0

    @property
    def span(self) -> int:
        return self.dilation * (self.taps - 1)

    @property
    def begin(self) -> int:
        """Elements of padding before; negative to crop."""
        return -self.offset

    @property
    def end(self) -> int:
        return self.extent + self.offset + self.span

    def length(self, size: int) -> int:
        return (size - 1 + self.extent) // self.stride + 1


@dataclass(frozen=True)
class Tensor:
    """A tensor: its name, nominal shape, Σ|…| bound, and the 2⁻ᵍ that values are multiples of."""

    name: str
    shape: tuple[int, ...]
    bound: float
    grain: int = 0

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.shape) - 2

    @property
    def channels(self) -> int:
        return self.shape[1]


@dataclass
class Net:
    """An ONNX graph in the making. `store` says how constants are written."""

    opset: int = 17
    ir_version: int = 8
    dtype: Any = np.float32
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, Array] = field(default_factory=dict)
    inputs: dict[str, tuple[int | str, ...]] = field(default_factory=dict)
    outputs: list[Tensor] = field(default_factory=list)
    domains: dict[str, int] = field(default_factory=dict)
    _count: int = 0

    def fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def input(self, shape: Sequence[int], symbols: Sequence[str | None] = ()) -> Tensor:
        """A graph input; where a symbol is given the dim is dynamic."""
        name = self.fresh("x")
        named = [*symbols, *[None] * (len(shape) - len(symbols))]
        self.inputs[name] = tuple(n or s for n, s in zip(named, shape, strict=True))
        return Tensor(name, tuple(shape), INPUT)

    def constant(self, value: Any, style: str = "initializer") -> str:
        """A constant, written as an initializer, a Constant node, or behind other nodes."""
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(self.dtype)
        name = self.fresh("c")
        if style == "initializer" or (style == "identity" and not array.size):
            self.initializers[name] = array
        elif style == "node":
            self.nodes.append(
                helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))
            )
        elif style == "identity":
            self.initializers[f"{name}_held"] = array
            self.nodes.append(helper.make_node("Identity", [f"{name}_held"], [name]))
        elif style == "cast":
            narrow = array.dtype.kind == "i"
            self.initializers[f"{name}_other"] = (
                np.clip(array, None, 2**31 - 1).astype(np.int32)
                if narrow
                else array.astype(np.float64)
            )
            to = helper.np_dtype_to_tensor_dtype(array.dtype)
            self.nodes.append(helper.make_node("Cast", [f"{name}_other"], [name], to=to))
        else:
            raise ValueError(style)
        return name

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        like: Tensor,
        *,
        shape: Sequence[int] | None = None,
        bound: float | None = None,
        grain: int | None = None,
        **attrs: Any,
    ) -> Tensor:
        """Append a node; its output is `like` except where said otherwise."""
        made = Tensor(
            self.fresh(op.lower()),
            like.shape if shape is None else tuple(shape),
            like.bound if bound is None else bound,
            like.grain if grain is None else grain,
        )
        if made.bound * 2.0**made.grain > LIMIT:
            raise TooLarge(made.name)
        self.nodes.append(
            helper.make_node(op, list(inputs), [made.name], name=f"/{made.name}", **attrs)
        )
        return made

    # Operators.

    def conv(
        self,
        x: Tensor,
        weight: Array,
        windows: Sequence[Window],
        *,
        group: int = 1,
        bias: Array | None = None,
        style: str = "initializer",
        auto_pad: str | None = None,
        kernel_shape: bool = True,
        held: tuple[str, str] | None = None,
    ) -> Tensor:
        """A Conv whose padding is not negative. `held` names a weight and bias to share."""
        assert all(w.begin >= 0 and w.end >= 0 for w in windows)
        names = [x.name, held[0] if held else self.constant(weight, style)]
        if held and held[1]:
            names.append(held[1])
        elif bias is not None:
            names.append(self.constant(bias, style))
        attrs: dict[str, Any] = {"group": group}
        if kernel_shape:
            attrs["kernel_shape"] = list(weight.shape[2:])
        if any(w.dilation > 1 for w in windows):
            attrs["dilations"] = [w.dilation for w in windows]
        if any(w.stride > 1 for w in windows):
            attrs["strides"] = [w.stride for w in windows]
        if auto_pad:
            attrs["auto_pad"] = auto_pad
        elif any(w.begin or w.end for w in windows):
            attrs["pads"] = pads(windows)
        return self.node(
            "Conv",
            names,
            x,
            shape=through(x, windows, len(weight)),
            bound=response(x, weight, bias),
            **attrs,
        )

    def average_pool(self, x: Tensor, windows: Sequence[Window]) -> Tensor:
        """An AveragePool that counts its padding; the area is a power of two."""
        area = math.prod(w.taps for w in windows)
        attrs: dict[str, Any] = {"kernel_shape": [w.taps for w in windows], "count_include_pad": 1}
        attrs["strides"] = [w.stride for w in windows]
        if any(w.begin or w.end for w in windows):
            attrs["pads"] = pads(windows)
        if any(w.dilation > 1 for w in windows):
            attrs["dilations"] = [w.dilation for w in windows]
        return self.node(
            "AveragePool",
            [x.name],
            x,
            shape=through(x, windows, x.channels),
            grain=x.grain + area.bit_length() - 1,
            **attrs,
        )

    def batch_norm(
        self,
        x: Tensor,
        gamma: Array,
        beta: Array,
        mean: Array,
        exponents: Array,
        style: str = "initializer",
    ) -> Tensor:
        """BatchNormalization with √(σ² + ε) = 2ᵉ for every channel."""
        variance = 4.0**exponents - EPSILON
        values = [gamma, beta, mean, variance]
        scale = np.abs(gamma) / 2.0**exponents
        bound = float(np.max(scale * (x.bound + np.abs(mean)) + np.abs(beta)))
        return self.node(
            "BatchNormalization",
            [x.name, *(self.constant(v, style) for v in values)],
            x,
            bound=bound,
            grain=x.grain + max(int(exponents.max()), 0),
            epsilon=EPSILON,
        )

    def scale(
        self, x: Tensor, factor: Array, *, first: bool = False, style: str = "initializer"
    ) -> Tensor:
        names = [x.name, self.constant(factor, style)]
        return self.node(
            "Mul",
            names[::-1] if first else names,
            x,
            bound=x.bound * float(np.abs(factor).max()),
            grain=x.grain + _grain(factor),
        )

    def divide(self, x: Tensor, power: Array) -> Tensor:
        """Division by powers of two."""
        least, most = float(np.abs(power).min()), float(np.abs(power).max())
        return self.node(
            "Div",
            [x.name, self.constant(power)],
            x,
            bound=x.bound / least,
            grain=x.grain + int(np.log2(most)),
        )

    def shift(
        self,
        x: Tensor,
        amount: Array,
        *,
        op: str = "Add",
        first: bool = False,
        style: str = "initializer",
    ) -> Tensor:
        names = [x.name, self.constant(amount, style)]
        return self.node(
            op, names[::-1] if first else names, x, bound=x.bound + float(np.abs(amount).max())
        )

    def combine(self, tensors: Sequence[Tensor], op: str = "Add") -> Tensor:
        return self.node(
            op,
            [t.name for t in tensors],
            tensors[0],
            bound=sum(t.bound for t in tensors),
            grain=max(t.grain for t in tensors),
        )

    def unary(self, op: str, x: Tensor, **options: Any) -> Tensor:
        return self.node(op, [x.name], x, **options)

    def crop(
        self,
        x: Tensor,
        cuts: Mapping[int, tuple[int, int, int]],
        *,
        style: str = "initializer",
        absolute: bool = False,
    ) -> Tensor:
        """Slice: axis → (taken off before, taken off behind, step)."""
        shape = list(x.shape)
        starts, ends = [], []
        for axis, (begin, end, step) in cuts.items():
            size = shape[axis]
            starts.append(begin)
            ends.append(size - end if absolute else -end if end else INT64_MAX)
            shape[axis] = -(-(size - begin - end) // step)
            if shape[axis] < 1:
                raise TooLarge("nothing is left")
        axes, steps = list(cuts), [c[2] for c in cuts.values()]
        if self.opset < 10:
            assert all(s == 1 for s in steps)
            return self.node("Slice", [x.name], x, shape=shape, starts=starts, ends=ends, axes=axes)
        operands = [starts, ends, axes, *([steps] if any(s > 1 for s in steps) else [])]
        names = [self.constant(np.asarray(v, np.int64), style) for v in operands]
        return self.node("Slice", [x.name, *names], x, shape=shape)

    def pad(
        self,
        x: Tensor,
        amounts: Mapping[int, tuple[int, int]],
        *,
        mode: str = "constant",
        value: float = 0.0,
        style: str = "initializer",
    ) -> Tensor:
        """Pad: axis → (before, behind)."""
        sides = [amounts.get(a, (0, 0)) for a in range(len(x.shape))]
        shape = [n + b + e for n, (b, e) in zip(x.shape, sides, strict=True)]
        flat = [b for b, _ in sides] + [e for _, e in sides]
        bound = max(x.bound, abs(value))
        if self.opset < 11:
            attrs = {"pads": flat, "value": value} if mode == "constant" else {"pads": flat}
            return self.node("Pad", [x.name], x, shape=shape, bound=bound, mode=mode, **attrs)
        names = [x.name, self.constant(np.asarray(flat, np.int64), style)]
        if mode == "constant" and value:
            names.append(self.constant(np.asarray(value, np.float64), style))
        return self.node("Pad", names, x, shape=shape, bound=bound, mode=mode)

    @property
    def dynamic(self) -> bool:
        """Whether some spatial size may be anything."""
        return any(isinstance(s, str) for shape in self.inputs.values() for s in shape[2:])

    def output(self, *tensors: Tensor) -> None:
        self.outputs += [t for t in tensors if t not in self.outputs]

    def model(self) -> ModelProto:
        """The graph as a checked model."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        inputs = [helper.make_tensor_value_info(n, kind, s) for n, s in self.inputs.items()]
        old_ir = self.ir_version < 4
        tensors = [numpy_helper.from_array(v, n) for n, v in self.initializers.items()]
        if old_ir:
            inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors]
        outputs = [
            helper.make_tensor_value_info(t.name, kind, [None] * len(t.shape)) for t in self.outputs
        ]
        graph = helper.make_graph(self.nodes, "net", inputs, outputs, tensors)
        opsets = {"": self.opset, **self.domains}
        made = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(d, v) for d, v in opsets.items()],
            ir_version=self.ir_version,
        )
        onnx.checker.check_model(made)
        return made


def _grain(values: Array) -> int:
    """Smallest g ≥ 0 with all values multiples of 2⁻ᵍ."""
    grain = 0
    while np.any(np.asarray(values) * 2.0**grain % 1):
        grain += 1
    return grain


def pads(windows: Sequence[Window]) -> list[int]:
    return [w.begin for w in windows] + [w.end for w in windows]


def through(x: Tensor, windows: Sequence[Window], channels: int) -> tuple[int, ...]:
    sizes = [w.length(n) for w, n in zip(windows, x.shape[2:], strict=True)]
    if min(sizes, default=1) < 1:
        raise TooLarge("a window larger than its input")
    return (x.shape[0], channels, *sizes)


def response(x: Tensor, weight: Array, bias: Array | None) -> float:
    summed = np.abs(weight).reshape(len(weight), -1).sum(axis=1) * x.bound
    return float((summed if bias is None else summed + np.abs(bias)).max(initial=0.0))


# Running.

# What ONNX Runtime raises for a model or a feed that it rejects; there is no common base.
RUNTIME_ERRORS = (
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
)


@cache
def newest_opset() -> int:
    """The newest opset that both onnx and ONNX Runtime here know."""
    for opset in range(onnx.defs.onnx_opset_version(), 16, -1):
        net = Net(opset=opset)
        net.output(net.unary("Relu", net.input((1, 1, 1))))
        try:
            session(net.model())
        except RUNTIME_ERRORS:
            continue
        return opset
    return 17


def session(model: ModelProto) -> onnxruntime.InferenceSession:
    """A session with graph optimizations off: nothing is fused behind our back."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(model: ModelProto, feeds: Feeds) -> list[Array]:
    return list(session(model).run(None, dict(feeds)))


def attempted(loaded: onnxruntime.InferenceSession, feeds: Feeds) -> list[Array] | None:
    """The outputs, or None where ONNX Runtime rejects these sizes."""
    try:
        return list(loaded.run(None, dict(feeds)))
    except RUNTIME_ERRORS:
        return None


def is_empty_inside(model: ModelProto, feeds: Feeds) -> bool:
    """Whether a tensor of the model, its outputs included, has no elements at these sizes."""
    shown = ModelProto()
    shown.CopyFrom(model)
    own = {o.name for o in shown.graph.output}
    for name in (o for n in model.graph.node for o in n.output if o and o not in own):
        shown.graph.output.append(onnx.ValueInfoProto(name=name))
    return not all(array.size for array in session(shown).run(None, dict(feeds)))


def integers(rng: np.random.Generator, shape: Iterable[int], most: int = INPUT) -> Array:
    """Integers of at most this magnitude, as floats."""
    return rng.integers(-most, most + 1, tuple(shape)).astype(np.float64)


def feeds(
    model: ModelProto, seed: int = 0, sizes: Mapping[str, int] | None = None
) -> dict[str, Array]:
    """Integer inputs for a model; `sizes` gives the dynamic dims."""
    rng = np.random.default_rng(seed)
    held = {t.name for t in model.graph.initializer}
    found = {}
    for value in model.graph.input:
        if value.name not in held:
            kind = value.type.tensor_type
            shape = [(sizes or {}).get(d.dim_param, d.dim_value) for d in kind.shape.dim]
            dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
            found[value.name] = integers(rng, shape).astype(dtype)
    return found


def operators(model: ModelProto) -> dict[str, int]:
    found: dict[str, int] = {}
    for node in model.graph.node:
        found[node.op_type] = found.get(node.op_type, 0) + 1
    return found
