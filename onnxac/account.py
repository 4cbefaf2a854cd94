"""What was done to a graph, told in the terms of `report`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import onnx_graphsurgeon as gs

from onnxac.algebra import Axis
from onnxac.algebra.affine import Mark
from onnxac.arrange import Piece
from onnxac.report import Branch, FusedOperator, Fusion, NodeRef, Refusal
from onnxac.rewrite import Applied, AppliedChange
from onnxac.search import Blocked

# An obstacle on one of these is told wherever it stands; on others only beside a linear node.
_WEIGHTED = ("Conv", "ConvTranspose", "BatchNormalization")
_ALWAYS = ("keep", "custom", "values", "stack")
# Between other operators it is not worth telling that merging would be dearer, or can't be.
_SUMMED = (*_WEIGHTED, "MatMul", "Gemm", "Add", "Sub", "Sum", "AveragePool")


def fusions(nodes: Sequence[gs.Node], applied: Applied) -> tuple[Fusion, ...]:
    """One fusion per change. `nodes` are the graph's as it was, in order."""
    gone = {id(n) for n in applied.removed}
    return tuple(_fusion(nodes, change, gone) for change in applied.changes)


def _fusion(nodes: Sequence[gs.Node], applied: AppliedChange, gone: set[int]) -> Fusion:
    change = applied.change
    steps = sorted({s for r in change.redefinitions for s in r.definition.steps})
    known = not math.isinf(change.before.macs + change.after.macs)
    return Fusion(
        output=change.redefinitions[-1].tensor,
        removed=tuple(_ref(nodes[s]) for s in steps if id(nodes[s]) in gone),
        added=tuple(_ref(n) for n in applied.added),
        operators=tuple(_operator(nodes, node, piece) for node, piece in applied.operators),
        macs_before=round(change.before.macs) if known else None,
        macs_after=round(change.after.macs) if known else None,
    )


def _ref(node: gs.Node) -> NodeRef:
    return NodeRef(node.name or (node.outputs[0].name if node.outputs else ""), node.op)


def _operator(nodes: Sequence[gs.Node], node: gs.Node, piece: Piece) -> FusedOperator:
    conv = piece.conv
    axes = conv.axes or ()
    out, width = conv.channels
    return FusedOperator(
        node=_ref(node),
        source=piece.source,
        in_channels=width,
        out_channels=out,
        taps=tuple(a.taps for a in axes),
        stride=tuple(a.stride for a in axes),
        dilation=tuple(a.dilation for a in axes),
        pads=tuple(int(p) for p in node.attrs.get("pads", ())),
        group=conv.group,
        branches=tuple(_branch(nodes, mark, axes) for mark in conv.marks),
    )


def _branch(nodes: Sequence[gs.Node], mark: Mark, axes: tuple[Axis, ...]) -> Branch:
    own = mark.axes if len(mark.axes) == len(axes) else (Axis(),) * len(axes)
    return Branch(
        nodes=tuple(_ref(nodes[s]) for s in mark.steps),
        taps=tuple(a.taps for a in own),
        dilation=tuple(max(a.dilation // f.dilation, 1) for a, f in zip(own, axes, strict=True)),
        origin=tuple((a.offset - f.offset) // f.dilation for a, f in zip(own, axes, strict=True)),
        group=mark.group,
    )


def refusals(
    makers: dict[str, gs.Node], linear: Iterable[str], blocked: Sequence[Blocked]
) -> tuple[Refusal, ...]:
    """What was left alone and why, each node once per rule.

    makers  tensor → the node that made it in the graph as it was
    linear  tensors that have a definition
    """
    definitions = set(linear)
    found: dict[tuple[str, str], Refusal] = {}
    for entry in blocked:
        node = makers[entry.tensor]
        if _matters(node, entry, definitions):
            refusal = Refusal(_ref(node), entry.obstacle.rule, entry.obstacle.reason)
            found.setdefault((refusal.node.name, refusal.rule), refusal)
    return tuple(found.values())


def _matters(node: gs.Node, entry: Blocked, definitions: set[str]) -> bool:
    if entry.obstacle.rule in ("cost", "operator", "layout"):
        readers = [r for t in node.outputs if t.name == entry.tensor for r in t.outputs]
        return node.op in _SUMMED and any(r.op in _SUMMED for r in readers)
    if node.op in _WEIGHTED or entry.obstacle.rule in _ALWAYS or entry.tensor in definitions:
        return True
    if any(r.op in _WEIGHTED for t in node.outputs for r in t.outputs):
        return True
    return any(
        t.inputs and t.name in definitions and t.inputs[0].op in _WEIGHTED for t in node.inputs
    )
