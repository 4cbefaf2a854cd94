"""A recipe as graphsurgeon nodes and initializers: it is walked, and nothing is decided.

The only place where float64 becomes the model's dtype: each fused weight is rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxac.algebra import Lazy
from onnxac.algebra.kernel import Array
from onnxac.recipes.recipe import Recipe
from onnxac.recipes.site import Piece
from onnxac.recipes.steps import ABSENT, Dims, Step, Weight, sliced

# Behind the name of the node that an operator took most of its taps from.
SUFFIX = "_fused"


class NotFiniteError(Exception):
    """A fused weight does not fit into the model's dtype."""


@dataclass
class Built:
    """Nodes of one redefinition, in order.

    operators  pairs each operator that carries weights with the piece it was written for
    dims       of what the added nodes make, by name
    exact      weights as they are before they are rounded, by name
    """

    nodes: list[gs.Node] = field(default_factory=list)
    operators: list[tuple[gs.Node, Piece]] = field(default_factory=list)
    dims: dict[str, Dims] = field(default_factory=dict)
    exact: dict[str, Lazy[Array]] = field(default_factory=dict)


class Builder:
    """Writes one tensor by its recipe.

    target   the tensor; the last node makes it
    closing  the node that made it so far: a sum at the end keeps its name
    kind     element type of the weights, a TensorProto.DataType, and the opset
    source   the tensor of a name
    unique   turns a wish into a name that nothing else has
    wish     the name for the operator of a piece, "" for none
    """

    def __init__(
        self,
        target: gs.Tensor,
        closing: gs.Node,
        kind: tuple[int, int],
        source: Callable[[str], gs.Tensor],
        unique: Callable[[str], str],
        wish: Callable[[Piece], str],
    ) -> None:
        self._target, self._closing, self._source = target, closing, source
        self._unique, self._wish = unique, wish
        self._kind, self._opset = kind
        self._owner = target.name
        self._made: dict[tuple[Any, ...], gs.Tensor] = {}
        self._built = Built()

    def build(self, recipe: Recipe, bias: Array | None, axis: int, rank: int) -> Built:
        """Write the recipe.

        bias  what is added, [size] along `axis` of a result of `rank` axes, or (); or None

        Raises NotFiniteError where a weight overflows.
        """
        total: gs.Tensor | None = None
        hosted = bias if recipe.hosted else None
        for same in recipe.groups:
            subtracted = all(p.negative for p in same)
            part: gs.Tensor | None = None
            for piece in same:
                made = self._piece(piece, hosted)
                hosted = None
                part = self._added(part, made, negative=piece.negative and not subtracted)
            assert part is not None
            for step in same[0].tail:
                part = self._step(step, part)
            total = self._added(total, part, negative=subtracted)
        assert total is not None, "a definition has at least one term"
        if bias is not None and not recipe.hosted:
            shape = () if bias.size == 1 else (-1, *[1] * (rank - 1 - axis))
            shift = self._constant(bias.reshape(shape), self._owner, "bias")
            total = self._node("Add", [total, shift])
        self._finish(total)
        return self._built

    def _added(self, total: gs.Tensor | None, part: gs.Tensor, *, negative: bool) -> gs.Tensor:
        if total is None:
            return self._node("Neg", [part]) if negative else part
        return self._node("Sub" if negative else "Add", [total, part])

    def _piece(self, piece: Piece, bias: Array | None) -> gs.Tensor:
        value = self._source(piece.term.source)
        path: tuple[Any, ...] = (piece.term.source,)
        for place, step in enumerate(piece.steps):
            path = (*path, step.key)
            # What several pieces begin with is written once.
            if step.weighted or path not in self._made:
                held = bias if place == piece.host else None
                made = self._step(step, value, piece, held)
                if step.weighted:
                    value = made
                    continue
                self._made[path] = made
            value = self._made[path]
        return value

    def _step(
        self, step: Step, value: gs.Tensor, piece: Piece | None = None, bias: Array | None = None
    ) -> gs.Tensor:
        if step.op == "Wrap":
            return self._wrap(value, step.attrs["amounts"])
        if not step.weighted or piece is None:
            held = [self._weight(w, self._owner, step.kind) for w in step.weights]
            if bias is not None:
                shape = held[0].shape
                held = [self._constant(bias.reshape(shape), self._owner, "bias", step.kind)]
            made = self._node(step.op, [value, *held], step.attrs)
            self._built.dims[made.name] = step.dims
            return made
        wish = self._wish(piece) or f"{self._owner}_{step.op}"
        name = self._unique(wish.removesuffix(SUFFIX) + SUFFIX)
        held = [self._weight(w, name, step.kind) for w in step.weights]
        if bias is not None:
            width = piece.term.channels.out if piece.term.channels else bias.size
            values = np.repeat(np.broadcast_to(bias, (width // step.copies,)), step.copies)
            if step.op == "BatchNormalization":
                held[1] = self._constant(values, name, "bias", step.kind)
            else:
                held.append(self._constant(values, name, "bias", step.kind))
        inputs = [*held, value] if step.first else [value, *held]
        node = gs.Node(step.op, name, dict(step.attrs), inputs, [gs.Variable(name)])
        self._built.nodes.append(node)
        self._built.operators.append((node, piece))
        self._built.dims[name] = step.dims
        return node.outputs[0]

    def _weight(self, weight: Weight, owner: str, kind: int | None) -> gs.Tensor:
        if weight is ABSENT:
            return gs.Variable.empty()
        if weight.floats is not None:
            kind = kind if weight.kind is None else weight.kind
            made = self._constant(weight.floats(), owner, weight.role, kind)
            self._built.exact[made.name] = weight.floats
            return made
        return self._integers(weight.integers, owner, weight.role)

    def _constant(
        self, value: Array, owner: str, role: str, kind: int | None = None
    ) -> gs.Constant:
        """An initializer, rounded. Raises NotFiniteError where it overflows."""
        dtype = onnx.helper.tensor_dtype_to_np_dtype(self._kind if kind is None else kind)
        rounded = np.asarray(value).astype(dtype, order="C")
        if not np.all(np.isfinite(rounded)):
            raise NotFiniteError(f"the fused {role} does not fit into {dtype}")
        made = gs.Constant(self._unique(f"{owner.removesuffix(SUFFIX)}.{role}"), rounded)
        self._built.exact[made.name] = Lazy.of(np.asarray(value))
        return made

    def _integers(self, values: Sequence[int], owner: str, role: str) -> gs.Constant:
        return gs.Constant(self._unique(f"{owner}.{role}"), np.asarray(values, np.int64))

    def _node(self, op: str, inputs: list[gs.Tensor], attrs: Any = None) -> gs.Tensor:
        """Write a node with one output; returns that."""
        name = self._unique(f"{self._owner}_{op.lower()}")
        node = gs.Node(op, name, dict(attrs or {}), inputs, [gs.Variable(name)])
        self._built.nodes.append(node)
        return node.outputs[0]

    def _wrap(self, source: gs.Tensor, amounts: Sequence[tuple[int, int]]) -> gs.Tensor:
        """Before opset 19 Pad has no mode wrap: the ends are cut off and put in front."""
        for axis, (begin, end) in enumerate(amounts):
            parts = [source]
            if begin:
                before = sliced({axis: (-begin, 2**63 - 1, 1)}, (), self._opset)
                parts.insert(0, self._step(before, source))
            if end:
                parts.append(self._step(sliced({axis: (0, end, 1)}, (), self._opset), source))
            if len(parts) > 1:
                source = self._node("Concat", parts, {"axis": axis})
        return source

    def _finish(self, total: gs.Tensor) -> None:
        """Let the last node write the tensor itself."""
        nodes = self._built.nodes
        if nodes and total in nodes[-1].outputs:
            last = nodes[-1]
            self._built.dims.pop(last.outputs[0].name, None)
            last.outputs = [self._target]
            written = any(last is n for n, _ in self._built.operators)
            if last.op == self._closing.op and not written:
                last.name = self._closing.name
        else:
            name = self._unique(f"{self._target.name}_identity")
            nodes.append(gs.Node("Identity", name, inputs=[total], outputs=[self._target]))
