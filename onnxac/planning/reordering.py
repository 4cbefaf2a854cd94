"""Changing the order of operators, where that lets something merge that stood apart.

    u(a), u(b) → Concat        =  u(Concat(a, b))      u the same channel by channel
    Transpose → u → Transpose  =  u                    u elementwise, the orders opposite
    AveragePool → affine       =  affine → AveragePool  unless it pads

Runs before the survey, on the graph itself. Each change is exact whatever comes of it, and
is made only where it pays: the first by an estimate of the time that the merged convolution
takes, the others because an operator less is left. `stack` has the estimate.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.algebra import Obstacle
from onnxac.graph.fixed import Fixed
from onnxac.graph.model import Model
from onnxac.graph.names import Names
from onnxac.graph.operators import is_standard, traits
from onnxac.inference.constants import OLDEST_OPSET
from onnxac.inference.dims import static
from onnxac.inference.facts import Facts
from onnxac.inference.windows import window_axes
from onnxac.planning.cost import Cost
from onnxac.planning.horizontal import Branch, Stack, lengths, weigh
from onnxac.planning.steps import size

_AFFINE = {"BatchNormalization", "Mul", "Div", "Add", "Sub"}


def _moved(name: str) -> str:
    """The name, as far as it is free, of what stands in for a tensor in another place."""
    return f"{name}_moved"


def _bends(node: gs.Node) -> bool:
    """Whether the operator is one channel by channel, and not linear."""
    known = traits(node.op, node.domain)
    return known.channelwise and not known.averages


@dataclass(frozen=True)
class Reordered:
    """What is known after the order of operators was changed.

    facts     those of before, and of the tensors that are new
    stacks    Concats whose branches were put together
    declined  output of a Concat whose branches stay apart → why
    """

    facts: Facts
    stacks: tuple[Stack, ...]
    declined: dict[str, Obstacle]


def reorder(
    model: Model,
    facts: Facts,
    fixed: Fixed,
    left: Collection[str],
    without: frozenset[str] = frozenset(),
) -> Reordered:
    """Apply all rules once, in graph order, to the graph itself.

    left     outputs of nodes to leave alone
    without  tensors that nothing is moved for: a change that ended in one did not hold

    Ensures that every tensor which keeps its name keeps its value. `facts` are not touched.
    """
    commuter = _Commuter(model, facts.copy(), fixed.named, left, without)
    stacks = commuter.run() if facts.opset >= OLDEST_OPSET else []
    return Reordered(commuter.facts, tuple(stacks), commuter.declined)


class _Commuter:
    """The rules, and the graph that they change.

    facts    its own: tensors that it makes are added
    named    tensors needed by name
    left     outputs of nodes to leave alone
    without  tensors that nothing is moved for
    """

    def __init__(
        self,
        model: Model,
        facts: Facts,
        named: frozenset[str],
        left: Collection[str],
        without: frozenset[str],
    ) -> None:
        self._graph, self.facts, self._without = model.graph, facts, without
        self._fixed, self._left = named.union(left), left
        self._name = Names(model).unique
        self.declined: dict[str, Obstacle] = {}

    def run(self) -> list[Stack]:
        stacks: list[Stack] = []
        for node in list(self._graph.nodes):
            if not self.facts.is_standard(node.domain, node.op):
                continue
            if any(t.name in self._left for t in node.outputs):
                continue
            if traits(node.op).elementwise:
                self._through_transpose(node)
            elif node.op in _AFFINE:
                self._before_pool(node)
            elif node.op == "Concat":
                stacks += self._behind_concat(node)
        return stacks

    # Transpose → u → Transpose.

    def _through_transpose(self, node: gs.Node) -> None:
        turn = self._only_maker(node.inputs[0], "Transpose")
        perm = None if turn is None else turn.attrs.get("perm")
        if turn is None or perm is None or not self._is_unary(node):
            return
        out = node.outputs[0]
        back = tuple(perm.index(i) for i in range(len(perm)))
        opposite = [
            n for n in out.outputs if n.op == "Transpose" and tuple(n.attrs.get("perm", ())) == back
        ]
        if not opposite or self._is_undone(out, *(t for n in opposite for t in n.outputs)):
            return
        source = turn.inputs[0]
        inner = self._like(source, node.outputs[0].name)
        node.inputs[0] = source
        node.outputs = [inner]
        name = self._name(f"{node.name or out.name}_transpose")
        self._insert_after(node, gs.Node("Transpose", name, {"perm": list(perm)}, [inner], [out]))

    # AveragePool → affine.

    def _before_pool(self, node: gs.Node) -> None:
        flowing = [
            i for i, t in enumerate(node.inputs) if t.name and not self.facts.is_constant(t.name)
        ]
        if len(flowing) != 1 or (node.op == "Div" and flowing[0]):
            return
        pool = self._only_maker(node.inputs[flowing[0]], "AveragePool")
        if pool is None or self._only_maker(pool.inputs[0], "Conv", "ConvTranspose") is None:
            return
        if (
            any(pool.attrs.get("pads", ()))
            or pool.attrs.get("ceil_mode")
            or (pool.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"))
        ):
            return
        if not self._is_per_channel(node, len(self.facts.shape(pool.inputs[0].name) or ())):
            return
        source, out = pool.inputs[0], node.outputs[0]
        if self._is_undone(out):
            return
        inner = self._like(source, out.name)
        pool.outputs.clear()
        node.inputs[flowing[0]] = source
        node.outputs = [inner]
        pool.inputs[0] = inner
        pool.outputs = [out]
        self._move_before(node, pool)

    def _is_per_channel(self, node: gs.Node, rank: int) -> bool:
        if node.op == "BatchNormalization":
            return len(node.outputs) == 1
        for tensor in node.inputs:
            if self.facts.is_constant(tensor.name):
                shape = static(self.facts.shape(tensor.name) or (0, 0))
                wide = [i - len(shape) for i, d in enumerate(shape) if d != 1]
                if len(shape) > rank or wide not in ([], [1 - rank]):
                    return False
        return True

    # u(a), u(b) → Concat.

    def _behind_concat(self, node: gs.Node) -> list[Stack]:
        shape = self.facts.shape(node.outputs[0].name)
        if (
            shape is None
            or len(node.inputs) < 2
            or int(node.attrs.get("axis", 0)) % len(shape) != 1
        ):
            return []
        branches = [self._branch(t) for t in node.inputs]
        if self._is_undone(node.outputs[0], *(b.top for b in branches if b is not None)):
            return []
        stacks: list[Stack] = []
        at = 0
        while at < len(branches):
            run, credit = self._worthwhile(self._run(branches[at:]), node)
            if credit is not None:
                whole = len(run) == len(branches)
                if run[0].chain or not whole:
                    stacks.append(self._stacked(node, run, whole, credit))
                    branches = [self._branch(t) for t in node.inputs] if not whole else []
                    run = run[:1]
                else:
                    stacks.append(Stack(node.outputs[0].name, credit))
            at += max(len(run), 1)
        return stacks

    def _worthwhile(self, run: list[Branch], node: gs.Node) -> tuple[list[Branch], Cost | None]:
        """As many of the branches as pay. Where all of them would be too dear, fewer may do."""
        declined: Obstacle | None = None
        for count in range(len(run), 1, -1):
            whole = count == len(node.inputs)
            if whole or self._bends(run[0], node):
                found = weigh(run[:count], self.facts, whole=whole)
                if isinstance(found, Cost):
                    return run[:count], found
                declined = declined or found
        if declined is not None:
            self.declined[node.outputs[0].name] = declined
        return run[:1], None

    def _branch(self, tensor: gs.Tensor) -> Branch | None:
        """conv → affine … → chain of channelwise operators → tensor, nobody else reading."""
        chain: list[gs.Node] = []
        node = self._only_maker(tensor)
        while node is not None and self._is_channelwise(node):
            chain.insert(0, node)
            node = self._only_maker(node.inputs[0])
        top = chain[0].inputs[0] if chain else tensor
        while node is not None and node.op in ("BatchNormalization", "Identity"):
            node = self._only_maker(node.inputs[0])
        if node is None or node.op != "Conv" or not self.facts.is_constant(node.inputs[1].name):
            return None
        weight = static(self.facts.shape(node.inputs[1].name) or ())
        source = self.facts.shape(node.inputs[0].name)
        if source is None or len(weight) < 3 or node.attrs.get("group", 1) != 1:
            return None
        axes = window_axes(node.attrs, [int(k or 0) for k in weight[2:]], static(source[2:]))
        if isinstance(axes, Obstacle):
            return None
        return Branch(top, tuple(chain), node, axes, int(weight[0] or 0))

    def _run(self, branches: Sequence[Branch | None]) -> list[Branch]:
        """Branches from the first on that can be one convolution, and one chain behind it."""
        first = branches[0]
        if first is None:
            return []
        run = [first]
        known = lengths(first, self.facts)
        for branch in branches[1:]:
            if branch is None or branch.conv.inputs[0] is not first.conv.inputs[0]:
                break
            if not all(
                a.agrees_with(b, n) for a, b, n in zip(first.axes, branch.axes, known, strict=True)
            ):
                break
            if len(branch.chain) != len(first.chain) or not all(
                self._same_operator(a, b) for a, b in zip(first.chain, branch.chain, strict=True)
            ):
                break
            run.append(branch)
        return run

    def _bends(self, branch: Branch, concat: gs.Node) -> bool:
        """Whether what follows a branch is not linear: otherwise it may merge further yet."""
        readers = concat.outputs[0].outputs
        return any(map(_bends, branch.chain)) or all(map(_bends, readers))

    def _stacked(self, node: gs.Node, run: Sequence[Branch], whole: bool, credit: Cost) -> Stack:
        """Join the branches before their chain, and let one chain follow."""
        first, ends = run[0], [b.end for b in run]
        channels = sum(b.channels for b in run)
        at = next(i for i, t in enumerate(node.inputs) if t is ends[0])
        rest = [t for t in node.inputs if not any(t is e for e in ends)]
        result = joined = self._like(first.top, first.top.name, channels)
        name = self._name(f"{node.name or node.outputs[0].name}_stacked")
        made = gs.Node("Concat", name, {"axis": 1}, [b.top for b in run], [joined])
        self._graph.nodes.insert(self._position(node), made)
        for step in first.chain:
            step.inputs[0] = result
            result = self._like(step.outputs[0], step.outputs[0].name, channels)
            step.outputs = [result]
            self._move_before(step, node)
            made = step
        if whole:
            out = node.outputs[0]
            node.outputs.clear()
            made.outputs = [out]
        else:
            node.inputs = [*rest[:at], result, *rest[at:]]
        moved = [n for b in run[1:] for n in b.chain] + [node] * whole
        return Stack(joined.name, credit, tuple(moved), not whole)

    # Small questions.

    def _is_undone(self, *tensors: gs.Tensor) -> bool:
        """Whether a change that ended in one of the tensors, or in one moved there, is left out."""
        return any(t.name in self._without or _moved(t.name) in self._without for t in tensors)

    def _only_maker(self, tensor: gs.Tensor, *ops: str) -> gs.Node | None:
        """The node that makes a tensor which one node only reads, once."""
        if self.facts.fault(tensor.name) is not None:
            return None
        if tensor.name in self._fixed or len(tensor.outputs) != 1 or len(tensor.inputs) != 1:
            return None
        maker: gs.Node = tensor.inputs[0]
        if sum(t is tensor for t in tensor.outputs[0].inputs) != 1 or not is_standard(maker.domain):
            return None
        return maker if not ops or maker.op in ops else None

    def _is_unary(self, node: gs.Node) -> bool:
        """Whether all further operands are constants of one element."""
        return len(node.outputs) == 1 and all(
            not t.name or (self.facts.is_constant(t.name) and size(self.facts.shape(t.name)) == 1)
            for t in node.inputs[1:]
        )

    def _is_channelwise(self, node: gs.Node) -> bool:
        return traits(node.op).channelwise and self._is_unary(node)

    def _same_operator(self, a: gs.Node, b: gs.Node) -> bool:
        def constants(node: gs.Node) -> list[object]:
            values = [self.facts.value(t.name) if t.name else None for t in node.inputs[1:]]
            return [None if v is None else np.asarray(v).tolist() for v in values]

        return a.op == b.op and a.attrs == b.attrs and constants(a) == constants(b)

    def _like(self, tensor: gs.Tensor, wish: str, channels: int | None = None) -> gs.Variable:
        """A new tensor of the same type, but for the number of channels."""
        made = gs.Variable(self._name(_moved(wish)))
        self.facts.define_like(made.name, tensor.name, channels)
        return made

    def _position(self, node: gs.Node) -> int:
        return next(i for i, n in enumerate(self._graph.nodes) if n is node)

    def _move_before(self, node: gs.Node, other: gs.Node) -> None:
        del self._graph.nodes[self._position(node)]
        self._graph.nodes.insert(self._position(other), node)

    def _insert_after(self, node: gs.Node, new: gs.Node) -> None:
        self._graph.nodes.insert(self._position(node) + 1, new)
