"""Elementwise operators and Concats between a Transpose and its opposite, in the outer order.

    Transpose → u → Transpose  =  u        u elementwise, the orders opposite

An exporter that is channels last writes Transpose → Conv → Transpose for each convolution, with
normalization, sums and activations between. What stands between is a region of elementwise
operators all of whose inputs are transposed alike; in the other order of axes it computes the
same, and only what somebody else reads is transposed behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.graph.operators import traits
from onnxac.recipes.steps import size
from onnxac.reordering.editing import Editor

# Elementwise operators of several tensors, which have to be transposed alike. Of the second,
# only a product with a constant is linear.
_SUMS, _PRODUCTS, _BENT = ("Add", "Sub", "Sum"), ("Mul", "Div"), ("Max", "Min", "Pow")
_MOST_NODES = 64


@dataclass
class _Region:
    """Elementwise nodes whose inputs are all transposed by `perm`.

    turns  the Transposes, by the tensor that they make
    read   tensors that are not transposed, but read by an opposite Transpose anyway: that one
    """

    perm: tuple[int, ...]
    nodes: dict[int, gs.Node] = field(default_factory=dict)
    turns: dict[str, gs.Node] = field(default_factory=dict)
    read: dict[str, gs.Node] = field(default_factory=dict)

    @property
    def back(self) -> tuple[int, ...]:
        """The opposite order."""
        return tuple(self.perm.index(i) for i in range(len(self.perm)))


def turn_back(editor: Editor, last: gs.Node) -> None:
    """Let the operators in front of a Transpose work in the order that it makes, where it pays."""
    back = last.attrs.get("perm")
    if back is None or sorted(back) != list(range(len(back))):
        return
    if editor.is_undone(*last.inputs, *last.outputs):
        return
    region = _Region(tuple(list(back).index(i) for i in range(len(back))))
    if not _grows(editor, region, last.inputs[0]):
        return
    # What is linear merges with what is around it.
    if any(_bends(editor, n) for n in region.nodes.values()) and _pays(editor, region):
        _move(editor, region)


def _grows(editor: Editor, region: _Region, tensor: gs.Tensor) -> bool:
    """Add what makes the tensor, up to Transposes; False where something else is met."""
    waiting = [tensor]
    while waiting:
        top = waiting.pop()
        maker = top.inputs[0] if len(top.inputs) == 1 else None
        shape = editor.facts.shape(top.name)
        if shape is None or len(shape) != len(region.perm) or editor.facts.fault(top.name):
            return False
        if id(maker) in region.nodes or top.name in region.turns or top.name in region.read:
            continue
        if maker is not None and _turns(maker, region.perm):
            region.turns[top.name] = maker
            continue
        ends = [n for n in top.outputs if _turns(n, region.back) and not _is_left(editor, n)]
        if ends and top is not tensor:
            region.read[top.name] = ends[0]
            continue
        flowing = None if maker is None else _flowing(editor, maker, len(region.perm))
        if maker is None or flowing is None or len(region.nodes) == _MOST_NODES:
            return False
        region.nodes[id(maker)] = maker
        waiting += flowing
    return True


def _turns(node: gs.Node, perm: tuple[int, ...]) -> bool:
    return node.op == "Transpose" and tuple(node.attrs.get("perm", ())) == perm


def _bends(editor: Editor, node: gs.Node) -> bool:
    if node.op == "Concat":
        return True
    flowing = sum(not editor.facts.is_constant(t.name) for t in node.inputs)
    return node.op not in _SUMS and (node.op not in _PRODUCTS or flowing > 1)


def _is_left(editor: Editor, node: gs.Node) -> bool:
    return any(t.name in editor.left for t in node.outputs)


def _flowing(editor: Editor, node: gs.Node, rank: int) -> list[gs.Tensor] | None:
    """Inputs of an elementwise operator that are no constants; None where it is none of these."""
    if not editor.facts.is_standard(node.domain, node.op) or _is_left(editor, node):
        return None
    if traits(node.op).elementwise:
        return [node.inputs[0]] if editor.is_unary(node) else None
    if node.op == "Concat":
        return list(node.inputs) if _joins(editor, node, rank) else None
    if node.op not in (*_SUMS, *_PRODUCTS, *_BENT) or len(node.outputs) != 1:
        return None
    shape = editor.facts.shape(node.outputs[0].name)
    found = [t for t in node.inputs if not editor.facts.is_constant(t.name)]
    held = [t for t in node.inputs if editor.facts.is_constant(t.name)]
    # What broadcasts is left: an operand of another shape has axes of its own.
    if not found or any(editor.facts.shape(t.name) != shape for t in found):
        return None
    return None if any(not _can_turn(editor, t, rank) for t in held) else found


def _joins(editor: Editor, node: gs.Node, rank: int) -> bool:
    """Whether a Concat says which of so many axes it is along, and what it joins is computed."""
    axis = node.attrs.get("axis")
    return (
        isinstance(axis, int)
        and -rank <= axis < rank
        and not any(editor.facts.is_constant(t.name) for t in node.inputs)
    )


def _can_turn(editor: Editor, constant: gs.Tensor, rank: int) -> bool:
    """Whether a constant operand is small, and its value known."""
    shape = editor.facts.shape(constant.name)
    if shape is None or len(shape) > rank or sum(d != 1 for d in shape) > 1:
        return False
    return editor.facts.value(constant.name) is not None


def _is_read_outside(editor: Editor, region: _Region, tensor: gs.Tensor) -> bool:
    """Whether others need the tensor than the region and opposite Transposes."""
    return editor.is_fixed(tensor) or any(
        id(n) not in region.nodes
        and not _turns(n, region.back)
        and not editor.facts.is_computed_by(n)
        for n in tensor.outputs
    )


def _pays(editor: Editor, region: _Region) -> bool:
    """Whether fewer Transposes are left."""
    made = [t for n in region.nodes.values() for t in n.outputs]
    ends = [n for t in made for n in t.outputs if _turns(n, region.back)]
    if editor.is_undone(*made, *(t for n in ends for t in n.outputs)):
        return False
    gone = [t for n in region.turns.values() for t in n.outputs]
    gone = [t for t in gone if not _is_read_outside(editor, region, t)]
    # An opposite Transpose whose result has to keep its name is an operator still.
    return len(gone) + len(ends) > sum(_is_read_outside(editor, region, t) for t in made)


def _move(editor: Editor, region: _Region) -> None:
    """Read what the Transposes read, and transpose behind the region for everybody else."""
    inner: dict[str, gs.Tensor] = {name: n.inputs[0] for name, n in region.turns.items()}
    for name, node in region.read.items():
        inner[name] = node.outputs[0]
        readers = [n for n in node.inputs[0].outputs if id(n) in region.nodes]
        editor.move_before(node, min((*readers, node), key=editor.position))
    for node in region.nodes.values():
        out = node.outputs[0]
        inner[out.name] = _known(editor, region, out) or editor.turned(out, region.back)
    for node in region.nodes.values():
        out = node.outputs[0]
        if node.op == "Concat":
            editor.turn_axis(node, region.perm[node.attrs["axis"]])
        for at, tensor in enumerate(node.inputs):
            if tensor.name in inner:
                node.inputs[at] = inner[tensor.name]
            elif at and traits(node.op).elementwise:
                continue
            elif size(editor.facts.shape(tensor.name)) != 1:
                node.inputs[at] = _turned(editor, tensor, region.back)
        node.outputs = [inner[out.name]]
        name = editor.name(f"{node.name or out.name}_transpose")
        turn = gs.Node("Transpose", name, {"perm": list(region.perm)}, [inner[out.name]], [out])
        editor.insert_after(node, turn)


def _known(editor: Editor, region: _Region, tensor: gs.Tensor) -> gs.Tensor | None:
    """What an opposite Transpose makes of the tensor, which the region then makes itself."""
    for end in tensor.outputs:
        if _turns(end, region.back) and not _is_left(editor, end):
            found: gs.Tensor = end.outputs[0]
            end.outputs.clear()
            return found
    return None


def _turned(editor: Editor, constant: gs.Tensor, order: Sequence[int]) -> gs.Constant:
    """A constant operand in another order of axes; leading axes of extent 1 are left out."""
    value = np.asarray(editor.facts.value(constant.name))
    whole = value.reshape((1,) * (len(order) - value.ndim) + value.shape).transpose(order)
    first = next((i for i, d in enumerate(whole.shape) if d != 1), len(order))
    turned = np.ascontiguousarray(whole.reshape(whole.shape[first:]))
    held = gs.Constant(editor.name(f"{constant.name}_turned"), turned)
    editor.facts.store(held.name, turned)
    return held
