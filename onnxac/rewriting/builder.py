"""Nodes and initializers as they are written: names, rounding, and the borders in front.

The only place where float64 becomes the model's dtype: each fused weight is rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx
import onnx_graphsurgeon as gs

from onnxac.algebra import Axis, Edge
from onnxac.algebra.kernel import Array

# Behind the name of the node that an operator took most of its taps from.
SUFFIX = "_fused"


class NotFiniteError(Exception):
    """A fused weight does not fit into the model's dtype."""


class Sheet:
    """Nodes in the order in which they are written.

    dtype   element type of the weights, a TensorProto.DataType
    opset   version of the standard operators
    unique  turns a wish into a name that nothing else has
    """

    def __init__(self, dtype: int, opset: int, unique: Callable[[str], str]) -> None:
        self.nodes: list[gs.Node] = []
        self.unique = unique
        self._opset = opset
        self._dtype: npt.DTypeLike = onnx.helper.tensor_dtype_to_np_dtype(dtype)

    def constant(self, value: Array, owner: str, role: str) -> gs.Constant:
        """An initializer, rounded. Raises NotFiniteError where it overflows."""
        rounded = np.ascontiguousarray(np.asarray(value).astype(self._dtype))
        if not np.all(np.isfinite(rounded.astype(np.float64))):
            raise NotFiniteError(f"the fused {role} does not fit into {self._dtype}")
        return gs.Constant(self.unique(f"{owner.removesuffix(SUFFIX)}.{role}"), rounded)

    def node(
        self,
        op: str,
        inputs: list[gs.Tensor],
        owner: str,
        attrs: Mapping[str, object] | None = None,
    ) -> gs.Tensor:
        """Write a node with one output; returns that."""
        name = self.unique(f"{owner}_{op.lower()}")
        node = gs.Node(op, name, dict(attrs or {}), inputs, [self.fresh(name)])
        self.nodes.append(node)
        return node.outputs[0]

    def fresh(self, name: str) -> gs.Variable:
        """The tensor that the node of this name makes; nothing else is called so."""
        return gs.Variable(name)

    def extend(
        self, source: gs.Tensor, axes: tuple[Axis, ...], extended: list[bool], mode: Edge, name: str
    ) -> gs.Tensor:
        """The source padded in one mode along the axes that are `extended`."""
        begins = [a.pad_begin if x else 0 for a, x in zip(axes, extended, strict=True)]
        ends = [a.pad_end if x else 0 for a, x in zip(axes, extended, strict=True)]
        opset = self._opset
        if mode == "wrap" and opset < 19:
            return self._wrap(source, begins, ends, name)
        amounts = [0, 0, *begins, 0, 0, *ends]
        if opset < 11:
            return self.node("Pad", [source], name, {"mode": mode, "pads": amounts})
        held = gs.Constant(self.unique(f"{name}.pads"), np.asarray(amounts, np.int64))
        return self.node("Pad", [source, held], name, {"mode": mode})

    def _wrap(self, source: gs.Tensor, begins: list[int], ends: list[int], name: str) -> gs.Tensor:
        """Before opset 19 Pad has no mode wrap: the ends are cut off and put in front."""
        for axis, (begin, end) in enumerate(zip(begins, ends, strict=True), start=2):
            parts = [source]
            if begin:
                parts.insert(0, self.slice(source, [axis], [-begin], [2**63 - 1], name))
            if end:
                parts.append(self.slice(source, [axis], [0], [end], name))
            if len(parts) > 1:
                source = self.node("Concat", parts, name, {"axis": axis})
        return source

    def slice(
        self, source: gs.Tensor, axes: list[int], starts: list[int], ends: list[int], name: str
    ) -> gs.Tensor:
        """A Slice with constant bounds."""
        bounds = {"starts": starts, "ends": ends, "axes": axes}
        if self._opset < 10:
            return self.node("Slice", [source], name, bounds)
        held = [
            gs.Constant(self.unique(f"{name}.{k}"), np.asarray(v, np.int64))
            for k, v in bounds.items()
        ]
        return self.node("Slice", [source, *held], name)
