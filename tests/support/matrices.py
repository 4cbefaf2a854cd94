"""Random graphs of matrices: what their axes mean must not be guessed from their number.

Products, sums with constants along one axis, Transpose, Reshape, Squeeze, Unsqueeze and Flatten, on
shapes of rank 2 to 4 whose extents collide: 1, 4 and 6, or 4 and 64. Weights are −1, 0 or 1, and
so few of them that float32 is exact.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

Shape = tuple[int, ...]
# No value may leave what float32 holds exactly.
LIMIT = 2.0**22


@dataclass
class Tensor:
    name: str
    shape: Shape
    bound: float


@dataclass
class Matrices:
    """One graph in the making, from one seed."""

    seed: int
    nodes: list[NodeProto] = field(default_factory=list)
    weights: list[TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.extents = self.rng.choice([(1, 4, 6), (4, 64), (1, 4)])

    def constant(self, value: NDArray[np.generic]) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def sparse(self, *shape: int) -> NDArray[np.float32]:
        """Mostly zeros, with one or two entries of ±1 in each row."""
        values = np.zeros(shape, np.float32)
        for row in values.reshape(-1, shape[-1]):
            for _ in range(self.rng.choice((1, 2))):
                row[self.rng.randrange(shape[-1])] = self.rng.choice((-1, 1))
        return values

    def node(self, op: str, inputs: list[str], shape: Shape, bound: float, **attrs: Any) -> Tensor:
        made = Tensor(f"t{len(self.nodes)}", shape, bound)
        self.nodes.append(helper.make_node(op, inputs, [made.name], f"n{len(self.nodes)}", **attrs))
        return made

    # Operators. Each takes a tensor and gives one, or None where it can't be applied.

    def right(self, x: Tensor) -> Tensor:
        out = self.rng.choice(self.extents)
        weight = self.constant(self.sparse(out, x.shape[-1]).T.copy())
        return self.node("MatMul", [x.name, weight], (*x.shape[:-1], out), 2 * x.bound)

    def left(self, x: Tensor) -> Tensor:
        out = self.rng.choice(self.extents)
        weight = self.constant(self.sparse(out, x.shape[-2]))
        return self.node("MatMul", [weight, x.name], (*x.shape[:-2], out, x.shape[-1]), 2 * x.bound)

    def gemm(self, x: Tensor) -> Tensor | None:
        if len(x.shape) != 2:
            return None
        turned, out = self.rng.random() < 0.3, self.rng.choice(self.extents)
        rows, width = reversed(x.shape) if turned else x.shape
        inputs = [x.name, self.constant(self.sparse(out, width))]
        if self.rng.random() < 0.6:
            shape = self.rng.choice([(out,), (1, out), (1,), (rows, 1)])
            inputs.append(self.constant(self.sparse(*shape)))
        return self.node("Gemm", inputs, (rows, out), 2 * x.bound + 1, transB=1, transA=int(turned))

    def along(self, x: Tensor) -> Tensor:
        """A sum or product with a constant that lies along one axis, or along none."""
        dims = [1] * len(x.shape)
        at = self.rng.randrange(len(dims) + 1)
        if at < len(dims):
            dims[at] = x.shape[at]
        first = next((i for i, d in enumerate(dims) if d != 1), len(dims) - 1)
        start = self.rng.choice((0, first))
        op = self.rng.choice(("Add", "Add", "Sub", "Mul"))
        values = np.ones(dims[start:], np.float32)
        values *= np.asarray(self.rng.choices((-1, 1, 2), k=values.size), np.float32).reshape(
            values.shape
        )
        inputs = [x.name, self.constant(values)]
        if self.rng.random() < 0.3:
            inputs.reverse()
        bound = 2 * x.bound if op == "Mul" else x.bound + 2
        return self.node(op, inputs, x.shape, bound)

    def transpose(self, x: Tensor) -> Tensor:
        perm = list(range(len(x.shape)))
        self.rng.shuffle(perm)
        return self.node("Transpose", [x.name], tuple(x.shape[i] for i in perm), x.bound, perm=perm)

    def unsqueeze(self, x: Tensor) -> Tensor | None:
        if len(x.shape) > 3:
            return None
        at = self.rng.randrange(len(x.shape) + 1)
        axes = self.constant(np.array([at], np.int64))
        return self.node("Unsqueeze", [x.name, axes], (*x.shape[:at], 1, *x.shape[at:]), x.bound)

    def squeeze(self, x: Tensor) -> Tensor | None:
        ones = [i for i, d in enumerate(x.shape) if d == 1]
        if not ones or len(x.shape) < 3:
            return None
        at = self.rng.choice(ones)
        axes = self.constant(np.array([at], np.int64))
        return self.node("Squeeze", [x.name, axes], (*x.shape[:at], *x.shape[at + 1 :]), x.bound)

    def reshape(self, x: Tensor) -> Tensor:
        count, dims = math.prod(x.shape), list[int]()
        for _ in range(self.rng.choice((1, 2, 3))):
            fitting = [d for d in self.extents if count % d == 0]
            dims.append(self.rng.choice(fitting) if fitting else 1)
            count //= dims[-1]
        dims.insert(self.rng.randrange(len(dims) + 1), count)
        shape = self.constant(np.array(dims, np.int64))
        return self.node("Reshape", [x.name, shape], tuple(dims), x.bound)

    def flatten(self, x: Tensor) -> Tensor:
        at = self.rng.randrange(len(x.shape) + 1)
        dims = (math.prod(x.shape[:at]), math.prod(x.shape[at:]))
        return self.node("Flatten", [x.name], dims, x.bound, axis=at)

    def relu(self, x: Tensor) -> Tensor:
        return self.node("Relu", [x.name], x.shape, x.bound)

    def network(self) -> ModelProto:
        """A few operators in a row, now and then a sum of two branches."""
        rank = self.rng.choice((2, 2, 3, 4))
        x = Tensor("x", tuple(self.rng.choice(self.extents) for _ in range(rank)), 3.0)
        kept, found = [x], x
        steps = [self.right, self.left, self.gemm, self.along, self.along, self.transpose]
        steps += [self.unsqueeze, self.squeeze, self.reshape, self.flatten]
        for _ in range(self.rng.randrange(2, 8)):
            if self.rng.random() < 0.1:
                found = self.relu(found)
            made = self.rng.choice(steps)(found)
            if made is None or made.bound > LIMIT or math.prod(made.shape) > 4096:
                continue
            found = made
            same = [k for k in kept if k.shape == found.shape]
            if same and self.rng.random() < 0.5:
                other = self.rng.choice(same)
                op = self.rng.choice(("Add", "Sub"))
                found = self.node(
                    op, [found.name, other.name], found.shape, found.bound + other.bound
                )
            kept.append(found)
        outputs = [found] if found.name != "x" else [self.relu(found)]
        if len(kept) > 2 and self.rng.random() < 0.2:
            outputs += [k for k in kept[1:-1][:1] if k.name != outputs[0].name]

        def value(tensor: Tensor) -> ValueInfoProto:
            return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.shape)

        graph = helper.make_graph(
            self.nodes, "matrices", [value(x)], [value(o) for o in outputs], self.weights
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
