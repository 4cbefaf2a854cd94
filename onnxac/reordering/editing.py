"""A graph whose operators are moved about: small questions, and small changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxac.graph.model import Model
from onnxac.graph.names import Names
from onnxac.graph.operators import is_standard, traits
from onnxac.inference.facts import Facts
from onnxac.recipes.steps import size

# Operators that scale or shift, where all but one of their operands are constants.
AFFINE = frozenset({"BatchNormalization", "Mul", "Div", "Add", "Sub"})


def moved_name(name: str) -> str:
    """The name, as far as it is free, of what stands in for a tensor in another place."""
    return f"{name}_moved"


class Editor:
    """The graph, and what is known of it.

    facts    its own: tensors that it makes are added
    named    tensors needed by name
    left     outputs of nodes to leave alone
    without  tensors that nothing is moved for
    joined   sums that were put where one convolution computes all of them
    """

    def __init__(
        self,
        model: Model,
        facts: Facts,
        named: frozenset[str],
        left: Collection[str],
        without: frozenset[str],
    ) -> None:
        self._model, self._without = model, without
        self.joined: set[str] = set()
        self.graph, self.facts, self.left = model.graph, facts, left
        self._fixed = named.union(left)
        self.name = Names(model).unique

    def is_fixed(self, tensor: gs.Tensor) -> bool:
        """Whether the tensor has to stay what it is, or nothing sure is known of it."""
        return tensor.name in self._fixed or self.facts.fault(tensor.name) is not None

    def is_undone(self, *tensors: gs.Tensor) -> bool:
        """Whether a change that ended in one of the tensors, or in one moved there, is left out."""
        return any(t.name in self._without or moved_name(t.name) in self._without for t in tensors)

    def only_maker(self, tensor: gs.Tensor, *ops: str) -> gs.Node | None:
        """The node that makes a tensor which one node only reads, once."""
        if self.is_fixed(tensor) or len(tensor.outputs) != 1 or len(tensor.inputs) != 1:
            return None
        maker: gs.Node = tensor.inputs[0]
        if sum(t is tensor for t in tensor.outputs[0].inputs) != 1 or not is_standard(maker.domain):
            return None
        return maker if not ops or maker.op in ops else None

    def is_unary(self, node: gs.Node) -> bool:
        """Whether all further operands are constants of one element."""
        return len(node.outputs) == 1 and all(
            not t.name or (self.facts.is_constant(t.name) and size(self.facts.shape(t.name)) == 1)
            for t in node.inputs[1:]
        )

    def is_channelwise(self, node: gs.Node) -> bool:
        """Whether it does the same to every channel, each for itself."""
        return traits(node.op).channelwise and self.is_unary(node)

    def same_operator(self, a: gs.Node, b: gs.Node) -> bool:
        """Whether both compute the same of what they read."""

        def constants(node: gs.Node) -> list[object]:
            values = [self.facts.value(t.name) if t.name else None for t in node.inputs[1:]]
            return [None if v is None else np.asarray(v).tolist() for v in values]

        return a.op == b.op and a.attrs == b.attrs and constants(a) == constants(b)

    def flowing(self, node: gs.Node) -> int | None:
        """Which operand of a scale or a shift is no constant; None where it is none."""
        found = [
            i for i, t in enumerate(node.inputs) if t.name and not self.facts.is_constant(t.name)
        ]
        if len(found) != 1 or (node.op == "Div" and found[0]):
            return None
        return found[0]

    def is_per_channel(self, node: gs.Node, rank: int) -> bool:
        """Whether the constants of a scale or a shift have one number per channel, or one."""
        if node.op == "BatchNormalization":
            return len(node.outputs) == 1
        for tensor in node.inputs:
            if self.facts.is_constant(tensor.name):
                shape = self.facts.shape(tensor.name)
                if shape is None:
                    return False
                wide = [i - len(shape) for i, d in enumerate(shape) if d != 1]
                if len(shape) > rank or wide not in ([], [1 - rank]):
                    return False
        return True

    def constant(self, wish: str, values: NDArray[Any]) -> gs.Constant:
        """A new constant, known from now on."""
        held = gs.Constant(self.name(wish), values)
        self.facts.store(held.name, values)
        return held

    def like(self, tensor: gs.Tensor, wish: str, channels: int | None = None) -> gs.Variable:
        """A new tensor of the same type, but for the number of channels."""
        made = gs.Variable(self.name(moved_name(wish)))
        self.facts.define_like(made.name, tensor.name, channels)
        return made

    def turned(self, tensor: gs.Tensor, order: Sequence[int]) -> gs.Variable:
        """A new tensor for another one's elements, its axes in another order."""
        made = self.like(tensor, tensor.name)
        dtype, shape = self.facts.dtype(tensor.name), self.facts.shape(tensor.name)
        if dtype is not None and shape is not None:
            self.facts.define(made.name, self.facts.type_of(dtype, [shape[i] for i in order]))
        return made

    def set_attribute(self, node: gs.Node, name: str, value: int | list[int]) -> None:
        """Give an attribute that a node has another value."""
        node.attrs[name] = value
        origin = self._model.origin(node)
        if origin is not None:
            changed = NodeProto()
            changed.CopyFrom(origin)
            for place, attribute in enumerate(changed.attribute):
                if attribute.name == name:
                    changed.attribute[place].CopyFrom(helper.make_attribute(name, value))
            self._model.adopt(node, changed)

    def position(self, node: gs.Node) -> int:
        """The node's place in the graph."""
        return next(i for i, n in enumerate(self.graph.nodes) if n is node)

    def move_before(self, node: gs.Node, other: gs.Node) -> None:
        """Put a node that is in the graph before another one."""
        if node is other:
            return
        del self.graph.nodes[self.position(node)]
        self.graph.nodes.insert(self.position(other), node)

    def discard(self, *nodes: gs.Node) -> None:
        """Take nodes out, and all that was there only for them."""
        waiting = list(nodes)
        while waiting:
            node = waiting.pop()
            makers = [m for t in node.inputs for m in t.inputs]
            node.inputs.clear()
            node.outputs.clear()
            waiting += [
                m for m in makers if not any(t.outputs or self.is_fixed(t) for t in m.outputs)
            ]

    def insert_after(self, node: gs.Node, new: gs.Node) -> None:
        """Put a new node behind one that is in the graph."""
        self.graph.nodes.insert(self.position(node) + 1, new)
