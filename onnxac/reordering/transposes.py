"""Elementwise operators between a Transpose and its opposite, in the order of axes outside.

    Transpose → u → Transpose  =  u        u elementwise, the orders opposite
    u(Transpose, Transpose)    =  u → Transpose

An exporter that is channels last writes Transpose → Conv → Transpose for each convolution, with
normalization, sums and activations between. What stands between is a region of elementwise
operators all of whose inputs are transposed alike; in the other order of axes it computes the
same, and only what somebody else reads is transposed behind it. Concats and means over axes are
such operators too, along other axes then.
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
_REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")
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
    _turned_back(editor, tuple(list(back).index(i) for i in range(len(back))), last.inputs[0])


def turn_once(editor: Editor, node: gs.Node) -> None:
    """Transpose what an operator makes of several tensors, and not each of them, where it pays."""
    perm = _perm_in_front(editor, node)
    if perm is not None and not editor.is_undone(*node.inputs, *node.outputs):
        _turned_back(editor, perm, node.outputs[0])


def _perm_in_front(editor: Editor, node: gs.Node) -> tuple[int, ...] | None:
    """The order of a Transpose in front of all elementwise operators in front of a node."""
    for _ in range(_MOST_NODES):
        shape = editor.facts.shape(node.outputs[0].name)
        flowing = None if shape is None else _flowing(editor, node, len(shape))
        if not flowing or len(flowing[0].inputs) != 1:
            return None
        node = flowing[0].inputs[0]
        if node.op == "Transpose":
            perm = node.attrs.get("perm")
            return None if perm is None else tuple(perm)
    return None


def _turned_back(editor: Editor, perm: tuple[int, ...], tensor: gs.Tensor) -> None:
    region = _Region(perm)
    if not _grows(editor, region, tensor):
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
    if node.op == "Concat" or node.op in _REDUCTIONS:
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
    if node.op in _REDUCTIONS:
        return node.inputs[:1] if _reduced(editor, node, rank) else None
    if node.op not in (*_SUMS, *_PRODUCTS, *_BENT) or len(node.outputs) != 1:
        return None
    found = [t for t in node.inputs if not editor.facts.is_constant(t.name)]
    held = [t for t in node.inputs if editor.facts.is_constant(t.name)]
    # An operand of fewer axes would get the others in front.
    if not found or any(len(editor.facts.shape(t.name) or ()) != rank for t in found):
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


def _reduced(editor: Editor, node: gs.Node, rank: int) -> list[int] | None:
    """The axes that a reduction which keeps them is over; None where that can't be said."""
    if node.attrs.get("keepdims", 1) != 1 or node.attrs.get("noop_with_empty_axes"):
        return None
    axes = node.attrs.get("axes")
    if len(node.inputs) > 1:
        axes = editor.facts.value(node.inputs[1].name)
    if axes is None or not len(axes) or any(not -rank <= a < rank for a in axes):
        return None
    return [int(a) % rank for a in axes]


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
            editor.set_attribute(node, "axis", region.perm[node.attrs["axis"]])
        elif node.op in _REDUCTIONS:
            _reduce_there(editor, node, region.perm)
        for at, tensor in enumerate(node.inputs):
            if tensor.name in inner:
                node.inputs[at] = inner[tensor.name]
            elif at and (traits(node.op).elementwise or node.op in _REDUCTIONS):
                continue
            elif size(editor.facts.shape(tensor.name)) != 1:
                node.inputs[at] = _turned(editor, tensor, region.back)
        node.outputs = [inner[out.name]]
        name = editor.name(f"{node.name or out.name}_transpose")
        turn = gs.Node("Transpose", name, {"perm": list(region.perm)}, [inner[out.name]], [out])
        editor.insert_after(node, turn)


def _reduce_there(editor: Editor, node: gs.Node, perm: Sequence[int]) -> None:
    """Let a reduction be over the axes that its own are in another order."""
    axes = sorted(perm[a] for a in _reduced(editor, node, len(perm)) or ())
    if "axes" in node.attrs:
        editor.set_attribute(node, "axes", axes)
        return
    held = gs.Constant(editor.name(f"{node.inputs[1].name}_turned"), np.array(axes, np.int64))
    editor.facts.store(held.name, held.values)
    node.inputs[1] = held


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
