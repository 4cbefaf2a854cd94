"""What was done to a graph, told in the terms of `report`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import onnx_graphsurgeon as gs
from onnx import NodeProto

from onnxac.algebra import Axis, Channels, Term
from onnxac.algebra.term import Mark
from onnxac.graph.model import Model
from onnxac.planning.outcome import Blocked
from onnxac.recipes.site import Piece
from onnxac.report import Branch, FusedOperator, Fusion, NodeRef, Refusal
from onnxac.rewriting.rewrite import Applied, AppliedChange

# An obstacle on one of these is told wherever it stands; on others only beside a linear node.
_WEIGHTED = ("Conv", "ConvTranspose", "BatchNormalization")
_ALWAYS = ("keep", "without", "custom", "values", "stack")
# Between other operators it is not worth telling that merging would be dearer, or can't be.
_BETWEEN = ("cost", "operator", "layout")
# Where a pattern that runtimes fuse ends, told once: in front of what would have taken it in.
_TAKES_IN = (*_WEIGHTED, "MatMul", "Gemm")
# What stands between two that could be one, if it could be moved.
_MOVED = ("Slice", "Transpose", "Resize", "Upsample")
_SUMMED = (*_WEIGHTED, "MatMul", "Gemm", "Add", "Sub", "Sum", "Mul", "Div", "Pad", "AveragePool")


class Roll:
    """The nodes of a graph before it is rewritten: afterwards some have lost their outputs."""

    def __init__(self, model: Model, place: str = "") -> None:
        nodes = model.graph.nodes
        self.place = place
        self.nodes = tuple(nodes)
        # Nodes that only came with another order of operators: nobody knows them.
        self.unknown = frozenset(i for i, n in enumerate(nodes) if model.origin(n) is None)
        self.refs = tuple(_ref(n, model.origin(n)) for n in nodes)
        self.makers = {t.name: i for i, n in enumerate(nodes) for t in n.outputs if t.name}
        self.readers: dict[str, list[str]] = defaultdict(list)
        # What Casts make of a tensor.
        self.casts: dict[str, list[str]] = defaultdict(list)
        for node in nodes:
            for tensor in node.inputs:
                self.readers[tensor.name].append(node.op)
                if node.op == "Cast":
                    self.casts[tensor.name] += [t.name for t in node.outputs]
        self._ids = {id(n) for n in nodes}

    def knows(self, node: gs.Node) -> bool:
        """Whether the node was there before."""
        return id(node) in self._ids


def fusions(roll: Roll, applied: Applied, kinds: Mapping[int, str]) -> tuple[Fusion, ...]:
    """One fusion per change.

    kinds  number of a node → the kind of rewrite that it takes part in
    """
    gone = {id(n) for n in applied.removed}
    return tuple(_fusion(roll, change, gone, kinds) for change in applied.changes)


def _fusion(roll: Roll, applied: AppliedChange, gone: set[int], kinds: Mapping[int, str]) -> Fusion:
    change = applied.change
    steps = sorted({s for r in change.redefinitions for s in r.definition.steps})
    known = not math.isinf(change.before.macs + change.after.macs)
    return Fusion(
        output=change.redefinitions[-1].tensor,
        removed=tuple(
            roll.refs[s] for s in steps if id(roll.nodes[s]) in gone and s not in roll.unknown
        ),
        added=tuple(_ref(n) for n in applied.added),
        operators=tuple(_operator(roll, node, piece) for node, piece in applied.operators),
        macs_before=round(change.before.macs) if known else None,
        macs_after=round(change.after.macs) if known else None,
        kinds=tuple(sorted({kinds[s] for s in steps if s in kinds})),
        place=roll.place,
    )


def _ref(node: gs.Node, origin: NodeProto | None = None) -> NodeRef:
    """How a node is called: as it was read, whatever it makes by now."""
    outputs = [t.name for t in node.outputs] if origin is None else origin.output
    return NodeRef(node.name or next(iter(outputs), ""), node.op)


def _operator(roll: Roll, node: gs.Node, piece: Piece) -> FusedOperator:
    term = piece.term
    spatial = _spatial(term)
    axes = tuple((term.axes or ())[i] for i in spatial)
    channels = term.channels or Channels(1, 1, 1, 1)
    return FusedOperator(
        node=_ref(node),
        source=term.source,
        in_channels=channels.width,
        out_channels=channels.out,
        taps=tuple(a.taps for a in axes),
        stride=tuple(a.stride for a in axes),
        dilation=tuple(a.dilation for a in axes),
        pads=tuple(int(p) for p in node.attrs.get("pads", ())),
        group=channels.group,
        branches=tuple(_branch(roll, mark, spatial, axes) for mark in term.marks),
    )


def _spatial(term: Term) -> list[int]:
    """Axes of the frame along which a kernel is drawn: neither the channels nor the batch."""
    axes = term.axes or ()
    at = None if term.channels is None else term.channels.axis
    rest = [i for i in range(len(axes)) if i != at]
    batch = next((i for i in rest if axes[i].is_identity), None)
    return [i for i in rest if i != batch] if len(axes) > 2 else []


def _branch(roll: Roll, mark: Mark, spatial: list[int], axes: tuple[Axis, ...]) -> Branch:
    own = tuple(mark.axes[i] if i < len(mark.axes) else Axis() for i in spatial)
    return Branch(
        nodes=tuple(roll.refs[s] for s in mark.steps if s not in roll.unknown),
        taps=tuple(a.taps for a in own),
        dilation=tuple(max(a.dilation // f.dilation, 1) for a, f in zip(own, axes, strict=True)),
        origin=tuple((a.offset - f.offset) // f.dilation for a, f in zip(own, axes, strict=True)),
        group=mark.group,
    )


def refusals(roll: Roll, linear: Iterable[str], blocked: Sequence[Blocked]) -> tuple[Refusal, ...]:
    """What was left alone and why, each node once per rule.

    linear  tensors that have a definition
    """
    definitions = set(linear)
    found: dict[tuple[int, str], Refusal] = {}
    for entry in blocked:
        step = roll.makers[entry.tensor]
        if step not in roll.unknown and _matters(roll, step, entry, definitions):
            refusal = Refusal(
                roll.refs[step], entry.obstacle.rule, entry.obstacle.reason, roll.place
            )
            found.setdefault((step, refusal.rule), refusal)
    return tuple(found.values())


def _matters(roll: Roll, step: int, entry: Blocked, definitions: set[str]) -> bool:
    node, readers = roll.nodes[step], roll.readers[entry.tensor]
    if entry.obstacle.rule == "fused":
        return any(op in _TAKES_IN for op in readers)
    if entry.obstacle.rule in _BETWEEN:
        moved = node.op in _MOVED and any(op in (*_TAKES_IN, *_MOVED) for op in readers)
        return moved or (node.op in _SUMMED and any(op in _SUMMED for op in readers))
    made = [roll.nodes[roll.makers[t.name]].op for t in node.inputs if t.name in definitions]
    if entry.obstacle.rule == "cast":
        behind = [op for t in roll.casts[entry.tensor] for op in roll.readers[t]]
        return any(op in _SUMMED for op in (node.op, *made)) and any(
            op in _SUMMED for op in (*readers, *behind)
        )
    if entry.obstacle.rule == "constant" and node.op in _TAKES_IN:
        return True
    if node.op in _WEIGHTED or entry.obstacle.rule in _ALWAYS or entry.tensor in definitions:
        return True
    return any(op in _WEIGHTED for op in (*readers, *made))
