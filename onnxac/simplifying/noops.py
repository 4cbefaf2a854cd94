"""Nodes that hand on what they read: readers read that instead.

A pass over the graph before lowering; it decides what goes, hence in this room.

Requires  nodes in topological order; facts by tensor name.
Ensures   every tensor that is needed by name is still there by that name; every tensor that
          is left has the value that it had, so facts stay true; no node is added.

Each rule is a function of one node: the tensor that the node's first output equals, to the bit but
for the sign of a zero, or None. Shapes that are compared come from constants and from inference
over operators.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_graphsurgeon as gs

from onnxac.graph.model import Model
from onnxac.graph.rewiring import Rewiring
from onnxac.inference.casts import holds
from onnxac.inference.constants import OLDEST_OPSET
from onnxac.inference.dims import Dim, Shape
from onnxac.inference.facts import Facts
from onnxac.simplifying.uniform import holds_only

_ONE_OF_ONE = ("Concat", "Sum", "Max", "Min", "Mean")


def drop_noops(
    model: Model, facts: Facts, named: frozenset[str], kept: frozenset[str]
) -> list[gs.Node]:
    """Drop the nodes that do nothing; returns them.

    named  tensors needed by their very name: outputs, and what subgraphs read
    kept   outputs of nodes to leave alone
    """
    if facts.opset < OLDEST_OPSET:
        return []
    rewiring = Rewiring(model.graph, named, kept)
    for node in model.graph.nodes:
        rule = _RULES.get(node.op) if facts.is_standard(node.domain, node.op) else None
        single = [t.name for t in node.outputs if t.name] == [t.name for t in node.outputs[:1]]
        if rule is None or not single or facts.fault(node.outputs[0].name) is not None:
            continue
        if node.inputs and node.inputs[0].name:
            equal = rule(_Noop(node, model, facts, rewiring))
            if equal is not None and equal.name:
                rewiring.drop(node, [(node.outputs[0], equal)])
    return rewiring.apply()


class _Noop:
    """A node, what it reads once the nodes before it that do nothing are gone, and facts."""

    def __init__(self, node: gs.Node, model: Model, facts: Facts, rewiring: Rewiring) -> None:
        self.node, self.facts, self._rewiring = node, facts, rewiring
        self._model = model
        self.inputs = [rewiring.resolve(t) for t in node.inputs]

    @property
    def data(self) -> gs.Tensor:
        """What the node reads first."""
        return self.inputs[0]

    @property
    def shape(self) -> Shape | None:
        """The shape of what it reads first."""
        return self.facts.shape(self.data.name)

    def operand(self, index: int, name: str, default: list[int] | None = None) -> list[int] | None:
        """Integers given as an input, or as an attribute before the opset that changed that.

        default  what they are where they are left out

        Returns None where they are not known.
        """
        if index < len(self.inputs) and self.inputs[index].name:
            value = self.facts.value(self.inputs[index].name)
            return None if value is None else [int(v) for v in value.reshape(-1)]
        value = self.node.attrs.get(name)
        return default if value is None else [int(v) for v in value]

    def dims(self, index: int, name: str) -> list[Dim | None] | None:
        """As `operand`, where dynamic extents of the model's inputs may be among the integers."""
        if index < len(self.inputs) and self.inputs[index].name:
            held = self.facts.symbol(self.inputs[index].name)
            return None if held is None else list(held)
        attribute = self.operand(index, name)
        return None if attribute is None else list(attribute)

    def before(self, *ops: str) -> _Noop | None:
        """The node that makes what this one reads first, if it is one of these operators."""
        makers = self.data.inputs
        if len(makers) != 1 or makers[0].op not in ops or not makers[0].inputs:
            return None
        if not self.facts.is_standard(makers[0].domain, makers[0].op):
            return None
        return _Noop(makers[0], self._model, self.facts, self._rewiring)

    def is_all(self, index: int, number: float) -> bool:
        """Whether an input holds one number only, and is no larger than what the node makes."""
        shape, made = (self.facts.shape(t.name) for t in (self.inputs[index], self.node.outputs[0]))
        if not shape or made is None or len(shape) > len(made):
            return False
        # What lies along one axis merges with what is around it, whatever it holds.
        tail = made[len(made) - len(shape) :]
        return (
            sum(d != 1 for d in shape) > 1
            and all(d in (1, m) for d, m in zip(shape, tail, strict=True))
            and holds_only(self.inputs[index], number, self._model, self.facts)
        )


def _identity(noop: _Noop) -> gs.Tensor | None:
    return noop.data


def _dropout(noop: _Noop) -> gs.Tensor | None:
    if len(noop.inputs) < 3 or not noop.inputs[2].name:
        return noop.data
    training = noop.facts.value(noop.inputs[2].name)
    return noop.data if training is not None and not training.any() else None


def _one_of_one(noop: _Noop) -> gs.Tensor | None:
    return noop.data if len(noop.inputs) == 1 else None


def _cast(noop: _Noop) -> gs.Tensor | None:
    made = noop.facts.dtype(noop.node.outputs[0].name)
    if made is None:
        return None
    own = noop.facts.dtype(noop.data.name)
    if own is None:
        return None
    if own == made:
        return noop.data
    before = noop.before("Cast", "CastLike")
    if before and holds(own, made) and noop.facts.dtype(before.data.name) == made:
        return before.data
    return None


def _reshape(noop: _Noop) -> gs.Tensor | None:
    target = noop.dims(1, "shape")
    if target is None or noop.shape is None or len(target) != len(noop.shape):
        return None
    copies = not noop.node.attrs.get("allowzero", 0)
    open_ends = 0
    for wanted, have in zip(target, noop.shape, strict=True):
        if wanted is None or wanted == -1:
            open_ends += 1
        elif wanted != have and not (wanted == 0 and copies):
            return None
    # With one extent left open it is what remains, which is its own.
    return noop.data if open_ends <= 1 else None


def _flatten(noop: _Noop) -> gs.Tensor | None:
    axis = int(noop.node.attrs.get("axis", 1))
    return noop.data if noop.shape is not None and len(noop.shape) == 2 and axis % 2 else None


def _transpose(noop: _Noop) -> gs.Tensor | None:
    perm = _perm(noop)
    if perm is None:
        return None
    if perm == sorted(perm):
        return noop.data
    before = noop.before("Transpose")
    inner = None if before is None else _perm(before)
    if before and inner and [inner[p] for p in perm] == sorted(perm):
        return before.data
    return None


def _perm(noop: _Noop) -> list[int] | None:
    if "perm" in noop.node.attrs:
        return [int(p) for p in noop.node.attrs["perm"]]
    return None if noop.shape is None else [*reversed(range(len(noop.shape)))]


def _squeeze(noop: _Noop) -> gs.Tensor | None:
    return _undone(noop, "Unsqueeze")


def _unsqueeze(noop: _Noop) -> gs.Tensor | None:
    return _undone(noop, "Squeeze")


def _undone(noop: _Noop, inverse: str) -> gs.Tensor | None:
    """What `inverse` reads, where both name the same axes of the larger tensor."""
    before = noop.before(inverse)
    if before is None:
        return None
    larger = noop.shape if inverse == "Unsqueeze" else before.shape
    axes, others = noop.operand(1, "axes"), before.operand(1, "axes")
    if not larger or axes is None or others is None:
        return None
    rank = len(larger)
    return before.data if {a % rank for a in axes} == {a % rank for a in others} else None


def _slice(noop: _Noop) -> gs.Tensor | None:
    starts, ends = noop.operand(1, "starts"), noop.dims(2, "ends")
    if starts is None or ends is None or noop.shape is None:
        return None
    axes = noop.operand(3, "axes", [*range(len(starts))])
    steps = noop.operand(4, "steps", [1] * len(starts))
    if axes is None or steps is None:
        return None
    if not len(starts) == len(ends) == len(axes) == len(steps):
        return None
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not -len(noop.shape) <= axis < len(noop.shape):
            return None
        extent = noop.shape[axis]
        # No tensor has an extent of 2³¹ − 1; exporters write that, or more, for "to the end".
        last = extent if isinstance(extent, int) else 2**31 - 1
        whole = end == extent or (isinstance(end, int) and end >= last)
        if step != 1 or start != 0 or not whole:
            return None
    return noop.data


def _pad(noop: _Noop) -> gs.Tensor | None:
    pads = noop.operand(1, "pads")
    return noop.data if pads is not None and not any(pads) else None


def _expand(noop: _Noop) -> gs.Tensor | None:
    target = noop.dims(1, "shape")
    if target is None or noop.shape is None or len(target) > len(noop.shape):
        return None
    tail = noop.shape[len(noop.shape) - len(target) :]
    return noop.data if all(t in (1, d) for t, d in zip(target, tail, strict=True)) else None


def _added(noop: _Noop) -> gs.Tensor | None:
    return _neutral(noop, 0, either=noop.node.op == "Add")


def _multiplied(noop: _Noop) -> gs.Tensor | None:
    return _neutral(noop, 1, either=noop.node.op == "Mul")


def _neutral(noop: _Noop, number: float, *, either: bool) -> gs.Tensor | None:
    """The operand that comes out, where the other one changes nothing."""
    made = noop.facts.shape(noop.node.outputs[0].name)
    for place in (0, 1) if either else (0,):
        data = noop.inputs[place]
        if noop.facts.shape(data.name) == made and noop.is_all(1 - place, number):
            return data
    return None


def _tile(noop: _Noop) -> gs.Tensor | None:
    repeats = noop.operand(1, "repeats")
    return noop.data if repeats and set(repeats) == {1} else None


_RULES: dict[str, Callable[[_Noop], gs.Tensor | None]] = {
    "Identity": _identity,
    "Dropout": _dropout,
    **dict.fromkeys(_ONE_OF_ONE, _one_of_one),
    "Cast": _cast,
    "CastLike": _cast,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Pad": _pad,
    "Expand": _expand,
    "Tile": _tile,
    "Add": _added,
    "Sub": _added,
    "Mul": _multiplied,
    "Div": _multiplied,
}
