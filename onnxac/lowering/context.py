"""What the rules of this package share: facts about tensors, and constants as float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxac.algebra import AffineConv, AffineSum, Axis, Deferred, Obstacle
from onnxac.algebra.affine import Mark, number
from onnxac.algebra.kernel import Array
from onnxac.inference.constants import QUANTIZED
from onnxac.inference.dims import Dim, Shape
from onnxac.inference.facts import Facts
from onnxac.inference.windows import OPERANDS

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)

Lowered = AffineSum | Obstacle | None
Rule = Callable[[gs.Node, int, "Context"], Lowered]


class Context:
    """The model as the rules see it. `steps` numbers the nodes, for the marks."""

    def __init__(self, facts: Facts, graph: gs.Graph) -> None:
        self.facts = facts
        self.opset = facts.opset
        self._known: dict[str, bool] = {}
        self.inputs: list[gs.Tensor] = list(graph.inputs)
        self._steps = {id(n): i for i, n in enumerate(graph.nodes)}

    def step(self, node: gs.Node) -> int:
        """The node's number."""
        return self._steps[id(node)]

    def is_standard(self, node: gs.Node) -> bool:
        """Whether the node is an operator of the standard."""
        return self.facts.is_standard(node.domain, node.op)

    def shape(self, tensor: gs.Tensor) -> Shape | None:
        """The tensor's shape; None where its rank is unknown."""
        return self.facts.shape(tensor.name)

    def is_float(self, name: str) -> bool:
        """Whether sums over the tensor are the sums of the algebra."""
        return self.facts.dtype(name) in FLOATS

    def is_constant(self, tensor: gs.Tensor) -> bool:
        """Whether the tensor's value is known."""
        name = tensor.name
        if not name or not self.facts.is_constant(name):
            return False
        if name not in self._known:
            # What a node makes may turn out not to be computable; it is tried once.
            self._known[name] = not self.facts.is_made(name) or self.facts.value(name) is not None
            self.facts.release(name)
        return self._known[name]

    def static_shape(self, tensor: gs.Tensor) -> tuple[int, ...] | None:
        """The shape where every extent is a number."""
        shape = self.shape(tensor)
        if shape is None or not all(isinstance(d, int) for d in shape):
            return None
        return tuple(int(str(d)) for d in shape)

    def array(self, name: str) -> Deferred[Array]:
        """A constant in float64, read when it is needed."""

        def read() -> Array:
            value = self.facts.value(name)
            if value is None:
                raise LookupError(f"{name}: {self.facts.failures.get(name, 'not a constant')}")
            wide = np.asarray(value).astype(np.float64)
            self.facts.release(name)
            return wide

        return Deferred(read)

    def operands(self, node: gs.Node) -> list[Any]:
        """Operands of a Slice or Pad by their names in `OPERANDS`; None where not constant."""
        found: list[Any] = []
        for index, name in enumerate(OPERANDS[node.op], start=1):
            tensor = self.operand(node, index)
            value = node.attrs.get(name)
            if tensor is not None:
                value = self.facts.value(tensor.name) if self.is_constant(tensor) else None
                if value is None and name in ("axes", "steps"):
                    return [None] * len(OPERANDS[node.op])
            found.append(value)
        return found

    def operand(self, node: gs.Node, index: int) -> gs.Tensor | None:
        """Input number `index`; None where it is left out."""
        if index < len(node.inputs) and node.inputs[index].name:
            return node.inputs[index]
        return None

    def why_not(self, tensor: gs.Tensor) -> str:
        """Why a tensor is not a constant, as the end of a sentence."""
        if tensor.name in self.facts.overridable:
            return (
                f"{tensor.name} is a graph input too, so a caller may override it "
                "(--freeze-initializers takes it as a constant)"
            )
        if tensor.name in self.facts.failures:
            return f"{tensor.name} can't be computed: {self.facts.failures[tensor.name]}"
        if tensor.inputs and tensor.inputs[0].op in QUANTIZED:
            return f"{tensor.name} is quantized"
        return f"{tensor.name} is computed from the model's inputs"

    def per_channel(self, constant: gs.Tensor, other: gs.Tensor) -> PerChannel | Obstacle | None:
        """How a constant operand of an elementwise operator lies over the other operand.

        It multiplies or shifts whole channels where one dim at most is not 1. An Obstacle
        where it varies along several axes, or would broadcast the other operand.
        """
        dims = self.static_shape(constant)
        shape = self.shape(other)
        if dims is None or (shape is None and dims):
            return None
        wide = [i for i, d in enumerate(dims) if d != 1]
        if shape is not None and len(dims) > len(shape):
            return Obstacle("broadcast", f"{constant.name} has more axes than {other.name}")
        if not wide:
            return PerChannel(None, 1, self.array(constant.name))
        if len(wide) > 1:
            return Obstacle("broadcast", f"{constant.name} differs along more than one axis")
        assert shape is not None
        behind = len(dims) - 1 - wide[0]
        size = dims[wide[0]]
        if shape[len(shape) - 1 - behind] != size:
            return Obstacle("broadcast", f"{constant.name} may broadcast {other.name}")
        return PerChannel(behind, size, self.array(constant.name))


class PerChannel:
    """A constant with one value per channel; `layout` None for a single number."""

    def __init__(self, layout: int | None, size: int, values: Deferred[Array]) -> None:
        self.layout, self.size = layout, size
        self.values = Deferred(
            lambda: values().reshape(-1) if layout is not None else values().reshape(()), values
        )

    def scale(self, change: Callable[[Array], Array], step: int) -> AffineConv:
        """The convolution that multiplies by change(values)."""
        values = self.values
        if self.layout is None:
            return number(float(change(values())), (step,))
        return diagonal(Deferred(lambda: change(values()), values), self.size, self.layout, step)


def diagonal(values: Deferred[Array], size: int, layout: int, step: int) -> AffineConv:
    """Multiplication of each of `size` channels by its own value."""
    axes = (Axis(),) * layout
    shape = (size, 1, *[1] * layout)
    return AffineConv(
        axes,
        (size, size),
        size,
        Deferred(lambda: values().reshape(shape), values),
        marks=(Mark((step,), axes, size),),
    )


def shifted(axes: tuple[Axis, ...], channels: int, step: int) -> AffineConv:
    """Every channel by itself, at positions given by `axes`: crops, paddings, strides."""
    shape = (channels, 1, *(a.taps for a in axes))
    return AffineConv(
        axes,
        (channels, channels),
        channels,
        Deferred(lambda: np.ones(shape)),
        unit=math.prod(a.taps for a in axes) == 1,
        marks=(Mark((step,), axes, channels),),
    )


def same(node: gs.Node, context: Context, factor: float = 1.0) -> AffineSum:
    """The node's first input, times a number."""
    step = context.step(node)
    return AffineSum(((node.inputs[0].name, number(factor, (step,))),), None, frozenset({step}))


def equal_shapes(tensors: list[gs.Tensor], context: Context) -> bool:
    """Whether all have one shape, for every size of the model's inputs."""
    shapes: list[tuple[Dim, ...] | None] = [context.shape(t) for t in tensors]
    return shapes[0] is not None and all(s == shapes[0] for s in shapes)


def attribute(node: gs.Node, name: str, default: Any) -> Any:
    """An attribute, or its default."""
    value = node.attrs.get(name, default)
    return value.decode() if isinstance(value, bytes) else value
