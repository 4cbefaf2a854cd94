"""Chains of nodes that only give a tensor another shape, and of Transposes: one node does.

A pass over the graph behind the rewriting, so that it stands in nobody's way: what could be
merged through such a chain is merged by then.

Requires  nodes in topological order; facts on the tensors that the file had, dims of those that
          the rewriting added.
Ensures   every tensor that is left has the value that it had; names that are needed stay; the
          graph has no node more; what was added is still known as added.

A chain is followed by its operators alone, with at most one extent left open, which becomes the
−1 of the Reshape that stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.graph.model import Model
from onnxac.graph.names import Names
from onnxac.graph.rewiring import Rewiring
from onnxac.inference.dims import Dim, Shape
from onnxac.inference.facts import Facts

# None is an extent that only the Reshape itself works out.
Dims = list[Dim | None]


@dataclass(frozen=True)
class Joined:
    """What came of it.

    gone   the nodes that went
    stand  id of a node → the one that does its work now, if any does
    """

    gone: tuple[gs.Node, ...]
    stand: Mapping[int, gs.Node]

    def stands(self, node: gs.Node) -> gs.Node:
        """The node that does a node's work now: itself, if it was left."""
        while id(node) in self.stand:
            node = self.stand[id(node)]
        return node


def join_reshapes(
    model: Model,
    facts: Facts,
    named: frozenset[str],
    kept: frozenset[str],
    added: Mapping[str, Shape],
) -> Joined:
    """Let the last node of each chain read what the first one reads.

    named  tensors needed by their very name: outputs, and what subgraphs read
    kept   outputs of nodes to leave alone
    added  dims of what the rewriting added, by name
    """
    rewiring = Rewiring(model.graph, named, kept)
    joiner = _Joiner(model, facts, named | kept, added, rewiring)
    for node in model.graph.nodes:
        if len(node.outputs) == 1 and node.outputs[0].name not in kept:
            joiner.visit(node)
    model.graph.nodes = [joiner.made.get(id(n), n) for n in model.graph.nodes]
    gone = rewiring.apply()
    return Joined(tuple(gone), {**joiner.swallowed, **joiner.made})


class _Joiner:
    """Walks the nodes in order, so that what a node reads is joined already.

    made       what stands for a node now, by the id of the node
    swallowed  what does the work of a node that nothing reads any more, likewise
    """

    def __init__(
        self,
        model: Model,
        facts: Facts,
        fixed: frozenset[str],
        added: Mapping[str, Shape],
        rewiring: Rewiring,
    ) -> None:
        self._facts, self._fixed, self._added = facts, fixed, added
        self._rewiring, self._names = rewiring, Names(model)
        self.made: dict[int, gs.Node] = {}
        self.swallowed: dict[int, gs.Node] = {}

    def visit(self, node: gs.Node) -> None:
        """Join the node with the one in front, where nothing else reads what is between.

        Where others do, and both together do nothing, the node goes alone.
        """
        if not node.inputs or not self._facts.is_standard(node.domain, node.op):
            return
        between = self._rewiring.resolve(node.inputs[0])
        if len(between.inputs) != 1 or between.name in self._fixed:
            return
        front = between.inputs[0]
        if not front.inputs or not self._facts.is_standard(front.domain, front.op):
            return
        alone = len(between.outputs) == 1 and between is node.inputs[0]
        if node.op == front.op == "Transpose":
            self._transpose(node, front, alone=alone)
        elif node.op in _RULES and front.op in _RULES:
            self._reshape(node, front, alone=alone)

    def _transpose(self, node: gs.Node, front: gs.Node, *, alone: bool) -> None:
        inner, outer = front.attrs.get("perm"), node.attrs.get("perm")
        if inner is None or outer is None or len(inner) != len(outer):
            return
        perm = [inner[p] for p in outer]
        if perm == sorted(perm):
            self._rewiring.drop(node, [(node.outputs[0], front.inputs[0])])
        elif alone:
            self._replace(node, front, "Transpose", [], perm=perm)

    def _reshape(self, node: gs.Node, front: gs.Node, *, alone: bool) -> None:
        source = front.inputs[0]
        shape = self._facts.shape(source.name) or self._added.get(source.name)
        dims = None if shape is None else self._through(front, list(shape))
        dims = None if dims is None else self._through(node, dims)
        if dims is None or 0 in dims:
            return
        if dims == list(shape or ()):
            self._rewiring.drop(node, [(node.outputs[0], source)])
        elif alone and sum(not isinstance(d, int) for d in dims) < 2:
            target = np.array([d if isinstance(d, int) else -1 for d in dims], np.int64)
            name = self._names.unique(f"{node.outputs[0].name}.shape")
            self._replace(node, front, "Reshape", [gs.Constant(name, target)])

    def _through(self, node: gs.Node, dims: Dims) -> Dims | None:
        """The shape behind a node, given the one in front; None where it can't be told."""
        operand = None
        if len(node.inputs) > 1 and node.inputs[1].name:
            held = node.inputs[1]
            constant = held.values if isinstance(held, gs.Constant) else None
            value = self._facts.value(held.name) if constant is None else constant
            if value is None:
                return None
            operand = [int(v) for v in value.reshape(-1)]
        elif "axes" in node.attrs:
            operand = [int(v) for v in node.attrs["axes"]]
        return _RULES[node.op](node, dims, operand)

    def _replace(
        self, node: gs.Node, front: gs.Node, op: str, operands: list[gs.Tensor], **attrs: object
    ) -> None:
        """Make the node another one in place, of the same name and output, and without `front`."""
        output, source = node.outputs[0], front.inputs[0]
        node.inputs.clear()
        node.outputs.clear()
        made = gs.Node(op, node.name, attrs, [source, *operands], [output])
        self.made[id(node)] = made
        self.swallowed[id(front)] = made


def _reshaped(node: gs.Node, dims: Dims, target: list[int] | None) -> Dims | None:
    if target is None or target.count(-1) > 1:
        return None
    if 0 in target and node.attrs.get("allowzero"):
        return None
    if any(t == 0 and place >= len(dims) for place, t in enumerate(target)):
        return None
    found: Dims = [dims[p] if t == 0 else None if t == -1 else t for p, t in enumerate(target)]
    return _closed(found, dims)


def _closed(found: Dims, dims: Dims) -> Dims:
    """The extent that is left open filled in, where the others of both shapes tell it."""
    open_ends = [d for d in dims if not isinstance(d, int)]
    rest = [d for d in found if not isinstance(d, int)]
    if rest != [None] or len(open_ends) > 1:
        return found
    whole, known = (math.prod(d for d in part if isinstance(d, int)) for part in (dims, found))
    if known == 0 or whole % known or (open_ends and whole != known):
        return found
    last = open_ends[0] if open_ends else whole // known
    return [last if d is None else d for d in found]


def _unsqueezed(node: gs.Node, dims: Dims, axes: list[int] | None) -> Dims | None:
    if axes is None:
        return None
    rank = len(dims) + len(axes)
    places = {a % rank for a in axes}
    if len(places) < len(axes):
        return None
    rest = iter(dims)
    return [1 if place in places else next(rest) for place in range(rank)]


def _squeezed(node: gs.Node, dims: Dims, axes: list[int] | None) -> Dims | None:
    if axes is None or not dims:
        return None
    places = {a % len(dims) for a in axes}
    return [d for place, d in enumerate(dims) if place not in places]


def _flattened(node: gs.Node, dims: Dims, _: list[int] | None) -> Dims | None:
    axis = int(node.attrs.get("axis", 1))
    axis = axis + len(dims) if axis < 0 else axis
    found: Dims = []
    for part in (dims[:axis], dims[axis:]):
        sizes = [d for d in part if isinstance(d, int)]
        found.append(int(np.prod(sizes)) if len(sizes) == len(part) else None)
    return found


_RULES: dict[str, Callable[[gs.Node, Dims, list[int] | None], Dims | None]] = {
    "Reshape": _reshaped,
    "Unsqueeze": _unsqueezed,
    "Squeeze": _squeezed,
    "Flatten": _flattened,
}
