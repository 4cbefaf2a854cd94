"""Branches behind a Concat as one convolution.

    u(a), u(b) → Concat  =  u(Concat(a, b))      u the same channel by channel

`horizontal` says whether it pays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import onnx_graphsurgeon as gs

from onnxac.algebra import Obstacle
from onnxac.graph.operators import traits
from onnxac.inference.dims import static
from onnxac.inference.windows import window_axes
from onnxac.recipes.cost import Cost
from onnxac.reordering.editing import Editor, moved_name
from onnxac.reordering.horizontal import Branch, Stack, lengths, weigh


def _bends(node: gs.Node) -> bool:
    """Whether the operator is one channel by channel, and not linear."""
    known = traits(node.op, node.domain)
    return known.channelwise and not known.averages


class Stacker:
    """Joins the branches of Concats.

    tries     whether what ends in one of some tensors is joined though the estimate is against it
    declined  output of a Concat whose branches stay apart → why
    """

    def __init__(
        self, editor: Editor, tries: Callable[[Iterable[str]], bool] = lambda _: False
    ) -> None:
        self._edit, self._facts, self._tries = editor, editor.facts, tries
        self.declined: dict[str, Obstacle] = {}

    def stack(self, node: gs.Node) -> list[Stack]:
        """Join what pays of the branches of one Concat."""
        shape = self._facts.shape(node.outputs[0].name)
        if not shape or len(node.inputs) < 2 or int(node.attrs.get("axis", 0)) % len(shape) != 1:
            return []
        branches = [self._branch(t) for t in node.inputs]
        if self._edit.is_undone(node.outputs[0], *(b.top for b in branches if b is not None)):
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
        eager = bool(run) and self._tries({node.outputs[0].name, moved_name(run[0].top.name)})
        for count in range(len(run), 1, -1):
            whole = count == len(node.inputs)
            if whole or self._bends(run[0], node):
                found = weigh(run[:count], self._facts, whole=whole, eager=eager)
                if isinstance(found, Cost):
                    return run[:count], found
                declined = declined or found
        if declined is not None:
            self.declined[node.outputs[0].name] = declined
        return run[:1], None

    def _branch(self, tensor: gs.Tensor) -> Branch | None:
        """conv → affine … → chain of channelwise operators → tensor, nobody else reading."""
        chain: list[gs.Node] = []
        node = self._edit.only_maker(tensor)
        while node is not None and self._edit.is_channelwise(node):
            chain.insert(0, node)
            node = self._edit.only_maker(node.inputs[0])
        top = chain[0].inputs[0] if chain else tensor
        while node is not None and node.op in ("BatchNormalization", "Identity"):
            node = self._edit.only_maker(node.inputs[0])
        if node is None or node.op != "Conv" or not self._facts.is_constant(node.inputs[1].name):
            return None
        weight = static(self._facts.shape(node.inputs[1].name) or ())
        source = self._facts.shape(node.inputs[0].name)
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
        known = lengths(first, self._facts)
        for branch in branches[1:]:
            if branch is None or branch.conv.inputs[0] is not first.conv.inputs[0]:
                break
            if not all(
                a.agrees_with(b, n) for a, b, n in zip(first.axes, branch.axes, known, strict=True)
            ):
                break
            if len(branch.chain) != len(first.chain) or not all(
                self._edit.same_operator(a, b)
                for a, b in zip(first.chain, branch.chain, strict=True)
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
        result = joined = self._edit.like(first.top, first.top.name, channels)
        name = self._edit.name(f"{node.name or node.outputs[0].name}_stacked")
        made = gs.Node("Concat", name, {"axis": 1}, [b.top for b in run], [joined])
        self._edit.graph.nodes.insert(self._edit.position(node), made)
        for step in first.chain:
            step.inputs[0] = result
            result = self._edit.like(step.outputs[0], step.outputs[0].name, channels)
            step.outputs = [result]
            self._edit.move_before(step, node)
            made = step
        if whole:
            out = node.outputs[0]
            node.outputs.clear()
            made.outputs = [out]
        else:
            node.inputs = [*rest[:at], result, *rest[at:]]
        moved = [n for b in run[1:] for n in b.chain] + [node] * whole
        return Stack(joined.name, credit, tuple(moved), not whole)
