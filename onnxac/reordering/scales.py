"""A scale that is applied last, so that a window behind it can take it in.

    s·x + t  =  s·(x + t/s)

A window that pads can't take a shift in: what it reads beyond the border is zero, and not t.
A scale it can. So the learnable affine block of PP-LCNetV3 and PP-HGNetV2 (Mul, Add behind an
activation) leaves an Add only. Where no reader pads, all of it goes in, and nothing is moved.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxac.lowering.context import FLOATS
from onnxac.reordering.editing import Editor

# A shift divided by less would be large against what it is added to.
_LEAST_SCALE = 2.0**-10

_WINDOWS = ("Conv", "ConvTranspose")
_TAKE_A_SCALE = (*_WINDOWS, "BatchNormalization")
# Where what comes in is linear already, the shift goes the other way.
_TAKE_A_SHIFT = (*_TAKE_A_SCALE, "Gemm", "MatMul", "Add", "Sub", "Sum", "Neg")


def scale_last(editor: Editor, shift: gs.Node) -> None:
    """Let a shift go before the scale whose result it reads, where the scale then goes."""
    facts, out = editor.facts, shift.outputs[0]
    found = _constant_operand(editor, shift, "Add", "Sub")
    scale = None if found is None else editor.only_maker(shift.inputs[1 - found], "Mul", "Div")
    at = None if scale is None else _constant_operand(editor, scale, "Mul", "Div")
    if found is None or scale is None or at is None or not _pays(editor, out):
        return
    source = scale.inputs[1 - at]
    if any(_takes_a_shift(editor, n) for n in source.inputs):
        return
    shape = facts.shape(source.name)
    if shape is None or any(facts.shape(t.name) != shape for t in (scale.outputs[0], out)):
        return
    divided = _divided(editor, shift.inputs[found], scale, at)
    if divided is None:
        return
    held = gs.Constant(editor.name(f"{shift.inputs[found].name}_divided"), divided)
    facts.store(held.name, divided)
    inner = editor.like(source, scale.outputs[0].name)
    shift.inputs[found], shift.inputs[1 - found] = held, source
    scale.outputs.clear()
    shift.outputs = [inner]
    scale.inputs[1 - at] = inner
    scale.outputs = [out]
    editor.move_before(shift, scale)


def _takes_a_shift(editor: Editor, node: gs.Node) -> bool:
    product = _constant_operand(editor, node, "Mul", "Div") is not None
    return product or node.op in _TAKE_A_SHIFT


def _constant_operand(editor: Editor, node: gs.Node, *ops: str) -> int | None:
    """Which operand is a constant; None where none is, or it is what is divided."""
    if node.op not in ops or len(node.inputs) != 2 or node.outputs[0].name in editor.left:
        return None
    found = [i for i, t in enumerate(node.inputs) if editor.facts.is_constant(t.name)]
    if len(found) != 1 or (node.op in ("Sub", "Div") and found[0] == 0):
        return None
    return found[0]


def _divided(editor: Editor, shift: gs.Tensor, scale: gs.Node, at: int) -> NDArray[Any] | None:
    """t/s in the type of the tensors; None where it would lose precision, or be larger."""
    kind = editor.facts.dtype(shift.name)
    added, factor = (editor.facts.value(t.name) for t in (shift, scale.inputs[at]))
    if added is None or factor is None or kind not in FLOATS:
        return None
    wide = factor.astype(np.float64)
    with np.errstate(all="ignore"):
        wide = 1 / wide if scale.op == "Div" else wide
        found = np.asarray(added.astype(np.float64) / wide).astype(added.dtype)
    if not (np.isfinite(wide).all() and np.abs(wide).min(initial=np.inf) >= _LEAST_SCALE):
        return None
    if found.size > max(added.size, factor.size):
        return None
    return found if np.isfinite(found.astype(np.float64)).all() else None


def _pays(editor: Editor, tensor: gs.Tensor) -> bool:
    """Whether all that reads the tensor takes a scale in, and something of it no shift."""
    windows = _windows(editor, tensor)
    return windows is not None and any(map(_pads, windows)) and not _is_undone(editor, windows)


def _is_undone(editor: Editor, readers: list[gs.Node]) -> bool:
    """Whether the change that takes the scale in, here or in a sum behind, is left out."""
    waiting, seen = [*readers], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if editor.is_undone(*node.outputs):
            return True
        waiting += [n for t in node.outputs for n in t.outputs if _takes_a_shift(editor, n)]
    return False


def _windows(editor: Editor, tensor: gs.Tensor) -> list[gs.Node] | None:
    """What reads the tensor, through Pad and Transpose; None where a scale could not go in."""
    if editor.is_fixed(tensor) or not tensor.outputs:
        return None
    found: list[gs.Node] = []
    for node in _readers(editor, tensor):
        if not editor.facts.is_standard(node.domain, node.op) or len(node.outputs) != 1:
            return None
        if _constant_operand(editor, node, "Mul", "Div") is not None:
            further = _windows(editor, node.outputs[0])
            if further is None:
                return None
            found += further
            continue
        if node.inputs[0] is not tensor or node.outputs[0].name in editor.left:
            return None
        if node.op == "Transpose" or (node.op == "Pad" and _pads_with_zeros(editor, node)):
            further = _windows(editor, node.outputs[0])
            if further is None:
                return None
            found += [*further, node]
        elif node.op in _TAKE_A_SCALE and _owns_its_weights(editor, node):
            found.append(node)
        else:
            return None
    return found


def _readers(editor: Editor, tensor: gs.Tensor) -> list[gs.Node]:
    """What reads the tensor's values, and not its type or its shape only."""
    return [
        n
        for n in tensor.outputs
        if n.op not in ("Shape", "Size") and not editor.facts.is_computed_by(n)
    ]


def _owns_its_weights(editor: Editor, node: gs.Node) -> bool:
    """Whether the weights are constants, and no other node's."""
    weight = node.inputs[1]
    return editor.facts.is_constant(weight.name) and len(_readers(editor, weight)) == 1


def _pads_with_zeros(editor: Editor, node: gs.Node) -> bool:
    amounts = [t.name for t in node.inputs[1:2]]
    if node.attrs.get("mode", "constant") != "constant" or not all(
        map(editor.facts.is_constant, amounts)
    ):
        return False
    value: Any = node.attrs.get("value", 0)
    if len(node.inputs) > 2 and node.inputs[2].name:
        value = editor.facts.value(node.inputs[2].name)
    return value is not None and not np.any(value)


def _pads(node: gs.Node) -> bool:
    """Whether a window or a Pad may read beyond the border."""
    if node.op == "Pad":
        return True
    same = str(node.attrs.get("auto_pad", "NOTSET")).startswith("SAME")
    return node.op in _WINDOWS and (
        node.op == "ConvTranspose" or same or any(node.attrs.get("pads", ()))
    )
