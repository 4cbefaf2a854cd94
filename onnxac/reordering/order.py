"""Changing the order of operators, where that lets something merge that stood apart.

    u(a), u(b) → Concat        =  u(Concat(a, b))      u the same channel by channel
    Transpose → u → Transpose  =  u                    u elementwise, the orders opposite
    u(Transpose, Transpose)    =  u → Transpose        u elementwise, or Concat
    Conv of phases             =  dilated Conv         phases that go to the batch
    Add → Add                  =  Add                  of tables, which are no biases
    AveragePool → affine       =  affine → AveragePool  unless it pads
    scale → shift → window     =  shift → scale → window  where only the scale can go in
    patches → product          =  product → patches       both a convolution, so that it is one
    DepthToSpace → affine, 1×1 =  affine, 1×1 → DepthToSpace  where a convolution is before it

Runs before the survey, on the graph itself. Each change is exact whatever comes of it, and
is made only where it pays: the first by an estimate of the time that the merged convolution
takes, the others because an operator less is left. `stacking`, `transposes`, `scales`,
`patches` and `blocks` have rules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxac.algebra import Obstacle
from onnxac.graph.fixed import Fixed
from onnxac.graph.model import Model
from onnxac.inference.constants import OLDEST_OPSET
from onnxac.inference.facts import Facts
from onnxac.kinds import kind_of
from onnxac.reordering.blocks import through_blocks
from onnxac.reordering.constants import join_constants
from onnxac.reordering.editing import AFFINE, Editor
from onnxac.reordering.horizontal import Stack
from onnxac.reordering.patches import patches_first
from onnxac.reordering.phases import without_phases
from onnxac.reordering.scales import scale_last
from onnxac.reordering.stacking import Stacker
from onnxac.reordering.transposes import turn_back, turn_once

# What several Transposes may stand in front of.
_SEVERAL = {"Concat", "Mul", "Div", "Max", "Min"}


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
    kinds: Collection[str] = (),
    tries: Callable[[Iterable[str]], bool] = lambda _: False,
) -> Reordered:
    """Apply all rules once, in graph order, to the graph itself.

    left     outputs of nodes to leave alone
    without  tensors that nothing is moved for: a change that ended in one did not hold
    kinds    those of rewrites (`onnxac.kinds`) that are left out
    tries    whether branches of a Concat are joined though the estimate is against it

    Ensures that every tensor which keeps its name keeps its value. `facts` are not touched.
    """
    editor = Editor(model, facts.copy(), fixed.named, left, without)
    stacker, stacks = Stacker(editor, tries), list[Stack]()
    for node in list(editor.graph.nodes if facts.opset >= OLDEST_OPSET else ()):
        if not facts.is_standard(node.domain, node.op):
            continue
        if any(t.name in left for t in node.outputs) or kind_of(node.op) in kinds:
            continue
        through_blocks(editor, node, kinds)
        if node.op == "Transpose":
            turn_back(editor, node)
        elif node.op == "DepthToSpace":
            without_phases(editor, node)
        elif node.op in ("MatMul", "Einsum") and not {"focus", "layout"}.intersection(kinds):
            patches_first(editor, node)
        elif node.op in _SEVERAL and sum(not facts.is_constant(t.name) for t in node.inputs) > 1:
            turn_once(editor, node)
        if node.op == "Concat":
            stacks += stacker.stack(node)
        elif node.op in AFFINE:
            join_constants(editor, node)
            _before_pool(editor, node)
            scale_last(editor, node)
    return Reordered(editor.facts, tuple(stacks), stacker.declined)


def _before_pool(editor: Editor, node: gs.Node) -> None:
    """AveragePool → affine: the affine first, where a convolution takes it in."""
    at = editor.flowing(node)
    pool = None if at is None else editor.only_maker(node.inputs[at], "AveragePool")
    if (
        at is None
        or pool is None
        or editor.only_maker(pool.inputs[0], "Conv", "ConvTranspose") is None
    ):
        return
    if (
        any(pool.attrs.get("pads", ()))
        or pool.attrs.get("ceil_mode")
        or (pool.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"))
    ):
        return
    if not editor.is_per_channel(node, len(editor.facts.shape(pool.inputs[0].name) or ())):
        return
    source, out = pool.inputs[0], node.outputs[0]
    if editor.is_undone(out):
        return
    inner = editor.like(source, out.name)
    pool.outputs.clear()
    node.inputs[at] = source
    node.outputs = [inner]
    pool.inputs[0] = inner
    pool.outputs = [out]
    editor.move_before(node, pool)
