"""Networks whose channels differ widely in range, in exact arithmetic.

A row of a weight is multiplied by a power of two, and the columns that read that channel are
divided by it: what a trained and fused network looks like, and the sums stay small integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[Any]


@pytest.fixture(scope="module", autouse=True)
def untried() -> Iterator[None]:
    """Factors are put in where they are expected to help: not worth, but exactness is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onnxac.quantizing.least_noisy", lambda *_: None)
        yield


@dataclass(frozen=True)
class Map:
    """A tensor: its name, and for each channel the power of two that it is too large by."""

    name: str
    powers: tuple[int, ...]
    flat: bool = False

    @property
    def channels(self) -> int:
        return len(self.powers)


@dataclass
class Uneven:
    """A graph in the making, opset 17, over one input of some channels and a map of 8 x 8."""

    seed: int = 0
    inputs: int = 4
    spread: int = 4
    dims: Sequence[int | str] = (1, 8, 8)
    dtype: Any = np.float32
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    @property
    def start(self) -> Map:
        return Map("x", (0,) * self.inputs)

    def powers(self, channels: int) -> tuple[int, ...]:
        return tuple(int(p) for p in self.rng.integers(-self.spread, self.spread + 1, channels))

    def constant(self, name: str, values: Array) -> str:
        self.constants[name] = np.asarray(values, self.dtype)
        return name

    def node(self, op: str, sources: Sequence[str], **attributes: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(sources), [name], name, **attributes))
        return name

    def same(self, op: str, x: Map, *more: str, **attributes: Any) -> Map:
        """An operator that leaves the channels as they are."""
        return Map(self.node(op, [x.name, *more], **attributes), x.powers, x.flat)

    def weight(self, x: Map, rows: Sequence[int], group: int, taps: tuple[int, ...]) -> Array:
        own = x.channels // group
        values = self.rng.integers(-1, 2, (len(rows), own, *taps)).astype(float)
        # No channel without a range.
        values.reshape(len(rows), own, -1)[:, :, 0] = 1.0
        columns = np.array(x.powers).reshape(group, 1, own)
        each = np.array(rows).reshape(group, -1, 1) - columns
        factors = np.exp2(each.reshape(len(rows), own, *[1] * len(taps)))
        return np.asarray(values * factors)

    def conv(
        self,
        x: Map,
        channels: int,
        *,
        group: int = 1,
        taps: int = 3,
        powers: tuple[int, ...] | None = None,
        stride: int = 1,
    ) -> Map:
        rows = self.powers(channels) if powers is None else powers
        name = f"w{len(self.nodes)}"
        self.constant(name, self.weight(x, rows, group, (taps, taps)))
        bias = self.rng.integers(-3, 4, channels) * np.exp2(rows)
        pads = [taps // 2] * 4
        made = self.node(
            "Conv",
            [x.name, name, self.constant(f"b{name}", bias)],
            group=group,
            pads=pads,
            strides=[stride] * 2,
        )
        return Map(made, rows)

    def relu(self, x: Map) -> Map:
        return self.same("Relu", x)

    def head(self, x: Map, channels: int = 3) -> Map:
        """Mean, Flatten, Gemm: a classifier, whose outputs are as they are."""
        if not x.flat:
            x = self.same("GlobalAveragePool", x)
            x = Map(self.node("Flatten", [x.name]), x.powers, flat=True)
        name = f"w{len(self.nodes)}"
        values = self.weight(x, (0,) * channels, 1, ())
        bias = self.constant(f"b{name}", self.rng.integers(-3, 4, channels))
        made = self.node("Gemm", [x.name, self.constant(name, values), bias], transB=1)
        return Map(made, (0,) * channels, flat=True)

    def model(self, *outputs: Map) -> ModelProto:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        batch, *space = self.dims
        graph = helper.make_graph(
            self.nodes,
            "uneven",
            [helper.make_tensor_value_info("x", kind, [batch, self.inputs, *space])],
            [helper.make_tensor_value_info(o.name, kind, None) for o in outputs],
            [numpy_helper.from_array(v, n) for n, v in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def feed(net: Uneven, seed: int = 1, size: int = 8) -> dict[str, Array]:
    """Integers of -3 to 3."""
    batch = 2 if isinstance(net.dims[0], str) else int(net.dims[0])
    space = [size if isinstance(d, str) else d for d in net.dims[1:]]
    rng = np.random.default_rng(seed)
    return {"x": rng.integers(-3, 4, (batch, net.inputs, *space)).astype(net.dtype)}


FLOAT = TensorProto.FLOAT
