"""Random computations with shapes, as exporters write them, and what tensors hold when they run."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxac.inference.dims import Dim, Extent

INT64, FLOAT = TensorProto.INT64, TensorProto.FLOAT


def value(dim: Dim, roots: Mapping[str, int]) -> int:
    """The extent's value, by its formula."""
    if isinstance(dim, int):
        return dim
    root = math.prod(value(e, roots) for e in dim.of) if dim.of else roots[dim.root]
    return dim.at(root)


def is_bound(dim: Dim, roots: Mapping[str, int]) -> bool:
    """Whether the extent is a formula over these roots."""
    if not isinstance(dim, Extent):
        return True
    return all(is_bound(e, roots) for e in dim.of) if dim.of else dim.root in roots


class Chain:
    """Draws a model over x [N, 4, H, W] that cuts shapes up, computes with them, and uses them."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.nodes: list[NodeProto] = []
        self._held: list[TensorProto] = []
        # Vectors of integers, with their lengths, and numbers (None).
        self._vectors: list[tuple[str, int | None]] = []
        self._data: list[tuple[str, int]] = [("x", 4)]

    def model(self, steps: int = 12) -> ModelProto:
        self._shape()
        for _ in range(steps):
            self._rng.choice(
                (self._shape, self._gather, self._slice, self._concat, self._compute, self._compute,
                 self._compute, self._switch, self._cast, self._where, self._use, self._use)
            )()  # fmt: skip
        names = [o for n in self.nodes for o in n.output]
        graph = helper.make_graph(
            self.nodes,
            "chain",
            [helper.make_tensor_value_info("x", FLOAT, ["N", 4, "H", "W"])],
            [helper.make_empty_tensor_value_info(n) for n in names],
            self._held,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

    def _add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def _constant(self, values: Any, dtype: Any = np.int64) -> str:
        name = f"c{len(self._held)}"
        self._held.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def _shape(self) -> None:
        name, rank = self._rng.choice(self._data)
        cut = {"start": self._rng.randrange(rank)} if self._rng.random() < 0.3 else {}
        self._vectors.append((self._add("Shape", [name], **cut), rank - cut.get("start", 0)))

    def _pick(self, *, number: bool | None = None) -> tuple[str, int | None]:
        fitting = [v for v in self._vectors if number is None or (v[1] is None) == number]
        return self._rng.choice(fitting) if fitting else self._vectors[0]

    def _gather(self) -> None:
        name, length = self._pick(number=False)
        if not length:
            return
        if self._rng.random() < 0.5:
            made = self._add("Gather", [name, self._constant(self._rng.randrange(length))])
            self._vectors.append((made, None))
        else:
            places = [self._rng.randrange(-length, length) for _ in range(self._rng.choice((1, 2)))]
            made = self._add("Gather", [name, self._constant(places)], axis=0)
            self._vectors.append((made, len(places)))

    def _slice(self) -> None:
        name, length = self._pick(number=False)
        if not length:
            return
        start = self._rng.randrange(-length, length)
        end = self._rng.choice((length, -1, 2**63 - 1, self._rng.randrange(length)))
        step = self._rng.choice((1, 1, 1, 2, -1))
        left = len(range(*slice(start, end, step).indices(length)))
        bounds = [self._constant([v]) for v in (start, end, 0, step)]
        if left:
            self._vectors.append((self._add("Slice", [name, *bounds]), left))

    def _concat(self) -> None:
        parts = [v for v in (self._pick(number=False), self._pick(number=False)) if v[1]]
        total = sum(n or 0 for _, n in parts)
        if 0 < total <= 6:
            self._vectors.append((self._add("Concat", [n for n, _ in parts], axis=0), total))

    def _compute(self) -> None:
        first, second = self._pick(), self._pick()
        op = self._rng.choice(("Add", "Sub", "Mul", "Div", "Max", "Min", "Equal"))
        other = second[0]
        length = first[1] if second[1] is None else second[1]
        if op == "Div" or self._rng.random() < 0.6:
            other, length = self._constant(self._rng.choice((1, 2, 3, 4))), first[1]
        elif None not in (first[1], second[1]) and first[1] != second[1]:
            return
        made = self._add(op, [first[0], other])
        if op == "Equal":
            made = self._add("Cast", [made], to=INT64)
        self._vectors.append((made, length))

    def _switch(self) -> None:
        name, length = self._pick()
        if length is None:
            made = self._add("Unsqueeze", [name, self._constant([0])])
            self._vectors.append((made, 1))
        elif length == 1:
            self._vectors.append((self._add("Squeeze", [name, self._constant([0])]), None))
        else:
            self._vectors.append((self._add("ReduceProd", [name], keepdims=1), 1))

    def _cast(self) -> None:
        name, length = self._pick()
        kind = self._rng.choice((TensorProto.INT32, FLOAT, TensorProto.BOOL))
        inner = self._add("Cast", [name], to=kind)
        if kind == FLOAT and self._rng.random() < 0.5:
            inner = self._add("Div", [inner, self._constant(2.0, np.float32)])
            inner = self._add("Floor", [inner])
        self._vectors.append((self._add("Cast", [inner], to=INT64), length))

    def _where(self) -> None:
        name, length = self._pick()
        same = self._add("Equal", [name, self._constant(self._rng.choice((-1, 4, 1)))])
        made = self._add("Where", [same, self._constant(self._rng.choice((1, 4))), name])
        self._vectors.append((made, length))

    def _use(self) -> None:
        """A tensor whose shape follows from a vector."""
        name, length = self._pick(number=False)
        kind = self._rng.choice(("reshape", "flatten", "fill", "expand", "tile", "range", "conv"))
        if kind == "flatten":
            axis = self._rng.randrange(4)
            self._data.append((self._add("Flatten", ["x"], axis=axis), 2))
        elif kind == "conv":
            stride = self._rng.choice((1, 2))
            pool = {"kernel_shape": [2, 2], "strides": [stride, stride], "pads": [1, 0, 0, 1]}
            self._data.append((self._add("MaxPool", ["x"], **pool), 4))
        elif kind == "reshape":
            target = self._rng.choice(([0, -1], [-1, 4], [0, 2, 2, -1], [-1], [0, 0, -1]))
            self._data.append((self._add("Reshape", ["x", self._constant(target)]), len(target)))
        elif kind == "fill" and length:
            small = self._add("Min", [name, self._constant(5)])
            small = self._add("Max", [small, self._constant(1)])
            self._data.append((self._add("ConstantOfShape", [small]), length))
        elif kind == "expand":
            source = self._add("Shape", ["x"])
            one = self._constant(np.ones((1, 1, 1)), np.float32)
            self._data.append((self._add("Expand", [one, source]), 4))
        elif kind == "tile":
            self._data.append((self._add("Tile", ["x", self._constant([1, 2, 1, 3])]), 4))
        else:
            place = self._add("Gather", [self._add("Shape", ["x"]), self._constant(2)])
            made = self._add("Range", [self._constant(0), place, self._constant(1)])
            self._data.append((made, 1))


def observed(model: ModelProto, roots: Mapping[str, int]) -> dict[str, Any]:
    """What each tensor holds when the model runs at these sizes."""
    x = np.zeros((roots["N"], 4, roots["H"], roots["W"]), np.float32)
    names = [o.name for o in model.graph.output]
    with np.errstate(all="ignore"):
        found = ReferenceEvaluator(model).run(None, {"x": x})
    return {"x": x, **dict(zip(names, found, strict=True))}
