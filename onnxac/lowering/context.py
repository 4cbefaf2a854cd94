"""What the rules of this package share: facts about tensors, and constants as float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxac.algebra import Axis, Bias, Channels, Lazy, Obstacle, Sum, Term
from onnxac.algebra.kernel import Array
from onnxac.algebra.layout import View, identity
from onnxac.algebra.term import Mark, number
from onnxac.graph.operators import traits
from onnxac.inference.dims import Dim, Shape
from onnxac.inference.facts import Facts
from onnxac.inference.windows import OPERANDS

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)

Lowered = Sum | Obstacle | None
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

    def value(self, tensor: gs.Tensor | None) -> Any:
        """The constant's value in its own dtype; None where there is none."""
        if tensor is None or not self.is_constant(tensor):
            return None
        return self.facts.value(tensor.name)

    def static_shape(self, tensor: gs.Tensor) -> tuple[int, ...] | None:
        """The shape where every extent is a number."""
        shape = self.shape(tensor)
        if shape is None or not all(isinstance(d, int) for d in shape):
            return None
        return tuple(int(str(d)) for d in shape)

    def array(self, name: str) -> Lazy[Array]:
        """A constant in float64, read when it is needed; one of ours as it was before rounding."""
        exact = self.facts.exact.get(name)
        if exact is not None:
            return exact

        def read() -> Array:
            value = self.facts.value(name)
            if value is None:
                raise LookupError(f"{name}: {self.facts.failures.get(name, 'not a constant')}")
            wide = np.asarray(value).astype(np.float64)
            self.facts.release(name)
            return wide

        return Lazy(read)

    def operands(self, node: gs.Node) -> list[Any]:
        """Operands of a Slice or Pad by their names in `OPERANDS`; None where not constant."""
        found: list[Any] = []
        for index, name in enumerate(OPERANDS[node.op], start=1):
            tensor = self.operand(node, index)
            value = node.attrs.get(name)
            if tensor is not None:
                value = self.value(tensor)
                if value is None and name in ("axes", "steps"):
                    return [None] * len(OPERANDS[node.op])
            found.append(value)
        return found

    def operand(self, node: gs.Node, index: int) -> gs.Tensor | None:
        """Input number `index`; None where it is left out."""
        if index < len(node.inputs) and node.inputs[index].name:
            return node.inputs[index]
        return None

    def variable(self, tensor: gs.Tensor, role: str = "") -> Obstacle:
        """Why a tensor, the node's weight or bias as `role` says, is not a constant.

        What holds for the whole model is said without names, so that it is told once.
        """
        name = f"its {role} {tensor.name}" if role else tensor.name
        if self.may_be_overridden(tensor):
            return Obstacle(
                "constant",
                "its weights are graph inputs too, so a caller may override them "
                "(--freeze-initializers takes them as constants)",
            )
        if tensor.name in self.facts.failures:
            why = self.facts.failures[tensor.name]
            return Obstacle("constant", f"{name} can't be computed: {why}")
        if tensor.inputs and traits(tensor.inputs[0].op).quantizes:
            return Obstacle("constant", f"{name} is quantized (--dequantize merges it as floats)")
        return Obstacle("constant", f"{name} is computed from the model's inputs")

    def is_weight(self, tensor: gs.Tensor) -> bool:
        """Whether it holds weights, though it is not a constant: overridable, or quantized."""
        if self.may_be_overridden(tensor):
            return True
        made = tensor.inputs[0] if tensor.inputs else None
        return made is not None and traits(made.op).quantizes and self.is_constant(made.inputs[0])

    def may_be_overridden(self, tensor: gs.Tensor) -> bool:
        """Whether it is an initializer that is a graph input, too."""
        return tensor.name in self.facts.overridable

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
        values = self.array(constant.name)
        if not wide:
            return PerChannel(None, 1, Lazy(lambda v: v.reshape(()), values))
        if len(wide) > 1:
            return Obstacle("broadcast", f"{constant.name} differs along more than one axis")
        assert shape is not None
        axis, size = len(shape) - len(dims) + wide[0], dims[wide[0]]
        if shape[axis] != size:
            return Obstacle("broadcast", f"{constant.name} may broadcast {other.name}")
        return PerChannel(axis, size, Lazy(lambda v: v.reshape(-1), values), len(shape))


@dataclass(frozen=True)
class PerChannel:
    """A constant with one value per channel, [size] along `axis`; () where it is one number."""

    axis: int | None
    size: int
    values: Lazy[Array]
    rank: int = 0

    def scale(self, source: str, change: Callable[[Array], Array], step: int) -> Term:
        """The source times change(values)."""
        values = Lazy(change, self.values)
        if self.axis is None:
            return number(source, float(values()), step)
        return diagonal(source, values, self.size, self.axis, self.rank, step)

    def shift(self, sign: float) -> Bias:
        """The values times a sign, to be added."""
        values = self.values if sign == 1 else Lazy(lambda v: sign * v, self.values)
        return Bias(values, self.axis, self.size)


def diagonal(source: str, values: Lazy[Array], size: int, axis: int, rank: int, step: int) -> Term:
    """The source with each of `size` channels multiplied by its own value."""
    axes = (Axis(),) * rank
    return Term(
        source,
        Lazy(lambda v: v.reshape(size, 1, *[1] * (rank - 1)), values),
        axes,
        identity(rank),
        rank,
        channels=Channels(axis, size, size, size),
        marks=(Mark((step,), axes, size),),
    )


def mixed(
    source: str,
    kernel: Lazy[Array],
    axes: Sequence[Axis],
    channels: Channels,
    step: int,
    view: View | None = None,
) -> Term:
    """A convolution; kernel is [out, width/group, *taps of the other axes]."""
    geometry = tuple(axes)
    return Term(
        source,
        kernel,
        geometry,
        identity(len(geometry)) if view is None else view,
        len(geometry),
        channels=channels,
        marks=(Mark((step,), geometry, channels.group),),
    )


def moved(
    source: str,
    axes: Sequence[Axis],
    step: int,
    view: View | None = None,
    hidden: int = 0,
    depth: int | None = None,
) -> Term:
    """The source at positions given by `axes`: crops, paddings, strides, other orders.

    depth  axes of the source, where they are not as many as there are geometries
    """
    geometry = tuple(axes)
    taps = tuple(a.taps for a in geometry)
    return Term(
        source,
        Lazy(lambda: np.ones(taps)),
        geometry,
        identity(len(geometry)) if view is None else view,
        len(geometry) if depth is None else depth,
        hidden,
        unit=math.prod(taps) == 1,
        marks=(Mark((step,), geometry, 1),),
    )


def single(term: Term, step: int, *biases: Bias) -> Sum:
    """The definition that consists of one term of one node."""
    return Sum((term,), biases, frozenset({step}))


def same(node: gs.Node, context: Context, factor: float = 1.0) -> Sum:
    """The node's first input, times a number."""
    step = context.step(node)
    return single(number(node.inputs[0].name, factor, step), step)


def equal_shapes(tensors: list[gs.Tensor], context: Context) -> bool:
    """Whether all have one shape, for every size of the model's inputs."""
    shapes: list[tuple[Dim, ...] | None] = [context.shape(t) for t in tensors]
    return shapes[0] is not None and all(s == shapes[0] for s in shapes)


def attribute(node: gs.Node, name: str, default: Any) -> Any:
    """An attribute, or its default."""
    value = node.attrs.get(name, default)
    return value.decode() if isinstance(value, bytes) else value
