"""What random networks are drawn with: choices, small weights, inputs and sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from exact import Array, Net, Tensor, integers, newest_opset
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

T = TypeVar("T")
Sizes = dict[str, int]


@dataclass(frozen=True)
class Drawn:
    """A model, and the values of its dynamic dims to try it at."""

    model: ModelProto
    sizes: tuple[Sizes, ...] = ({},)

    def __str__(self) -> str:
        graph = self.model.graph
        known = {t.name: _shaped(t) for t in graph.initializer}
        inputs = {
            i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim]
            for i in graph.input
            if i.name not in known
        }
        head = f"opset {self.model.opset_import[0].version}, {inputs}, sizes {self.sizes}"
        lines = [
            f"{n.op_type}({', '.join(known.get(i, i) for i in n.input)}) -> {', '.join(n.output)}  "
            + " ".join(map(_told, n.attribute))
            for n in graph.node
        ]
        return "\n".join([head, *lines, "outputs " + ", ".join(o.name for o in graph.output)])


def _shaped(tensor: TensorProto) -> str:
    """A weight by its dims, an operand by its values."""
    values = numpy_helper.to_array(tensor)
    return str(values.tolist()) if values.dtype.kind == "i" else f"{tensor.name}{list(tensor.dims)}"


def _told(attribute: AttributeProto) -> str:
    value = "…" if attribute.HasField("t") else helper.get_attribute_value(attribute)
    return f"{attribute.name}={value}"


class Draws:
    """Choices by Hypothesis, so that they shrink; weights by a seed that it draws."""

    def __init__(self, draw: Callable[..., Any]) -> None:
        self._draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))

    def pick(self, *options: T) -> T:
        """One of the options; shrinks to the first."""
        return self._draw(st.sampled_from(options))  # type: ignore[no-any-return]

    def between(self, low: int, high: int) -> int:
        return int(self._draw(st.integers(low, high)))

    def chance(self, *, one_in: int = 2) -> bool:
        """True once in so many times; shrinks to False."""
        return bool(self._draw(st.integers(0, one_in - 1)) == one_in - 1)

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return list(self._draw(st.permutations(list(items))))

    def weight(self, *shape: int) -> Array:
        return integers(self.rng, shape, 2)

    def factor(self, shape: Sequence[int]) -> Array:
        """Numbers to multiply by; powers of two."""
        return self.rng.choice([1.0, -1.0, 2.0, 0.5, -0.5], tuple(shape))

    def style(self) -> str:
        """How a constant is written (`Net.constant`)."""
        return self.pick("initializer", "initializer", "initializer", "node", "identity", "cast")


def start(d: Draws) -> Net:
    """An empty graph of any opset; before IR 4 initializers are inputs too."""
    opset = d.pick(17, 7, 8, 9, 10, 11, 12, 13, 14, 15, 18, 19, 21, newest_opset())
    return Net(opset=opset, ir_version=3 if opset < 9 and d.chance() else 8)


def extensions(n: Net) -> list[str]:
    """Modes of Pad that this opset knows, zeros first and most often."""
    return ["constant"] * 3 + ["reflect", "edge"] + (["wrap"] if n.opset >= 19 else [])


def source(n: Net, d: Draws, channels: int, rank: int) -> tuple[Tensor, list[Sizes]]:
    """A graph input, static or dynamic, and the sizes to try it at."""
    batch, least = d.pick(1, 2), 9 if rank < 3 else 7
    shape = (batch, channels, *(least + d.between(0, 2) for _ in range(rank)))
    dynamic = d.pick("no", "no", "batch", "map", "all")
    if dynamic == "no":
        return n.input(shape), [{}]
    if n.opset == 10:
        # onnx infers the input's own extent for a Slice there, and the runtime believes it.
        n.opset = 11
    names = ["h", "w", "t"][:rank]
    symbols = ["n" if dynamic != "map" else None, None, *(names if dynamic != "batch" else [])]
    sizes = [
        {"n": batch + i, **{s: shape[2 + a] + (3 * i + a * i) % 5 - i for a, s in enumerate(names)}}
        for i in range(3)
    ]
    return n.input(shape, symbols), sizes


def finish(n: Net, sizes: Sequence[Sizes], *tensors: Tensor) -> Drawn:
    n.output(*tensors)
    return Drawn(n.model(), tuple(sizes))
