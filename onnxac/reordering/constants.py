"""Two constants that are added one after the other, as one.

    (x + c) + d  =  x + (c + d)

A constant that lies along one axis is a bias, and merges with what is around it. What is left are
tables: embeddings of positions and of token types, whose indices are constants. Their sum is
rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxac.lowering.context import FLOATS
from onnxac.reordering.editing import Editor


def join_constants(editor: Editor, last: gs.Node) -> None:
    """Let an Add of a table take in the Add of another one that it reads."""
    outer = _table(editor, last)
    first = None if outer is None else editor.only_maker(last.inputs[1 - outer], "Add")
    inner = None if first is None else _table(editor, first)
    if outer is None or first is None or inner is None or editor.is_undone(*last.outputs):
        return
    source, shape = first.inputs[1 - inner], editor.facts.shape(last.outputs[0].name)
    if shape is None or editor.facts.shape(source.name) != shape:
        return
    added = _sum(editor, first.inputs[inner], last.inputs[outer])
    if added is None:
        return
    held = gs.Constant(editor.name(f"{last.inputs[outer].name}_added"), added)
    editor.facts.store(held.name, added)
    last.inputs[outer], last.inputs[1 - outer] = held, source
    first.inputs.clear()
    first.outputs.clear()


def _table(editor: Editor, node: gs.Node) -> int | None:
    """Which operand of an Add is a constant that differs along several axes."""
    if node.op != "Add" or not editor.facts.is_standard(node.domain, node.op):
        return None
    found = [i for i, t in enumerate(node.inputs) if editor.facts.is_constant(t.name)]
    if len(found) != 1 or any(t.name in editor.left for t in node.outputs):
        return None
    constant = node.inputs[found[0]]
    shape = editor.facts.shape(constant.name)
    alone = len(constant.outputs) == 1 and not editor.is_fixed(constant)
    wide = shape is not None and sum(d != 1 for d in shape) > 1
    return found[0] if alone and wide and editor.facts.dtype(constant.name) in FLOATS else None


def _sum(editor: Editor, *constants: gs.Tensor) -> NDArray[Any] | None:
    """The sum, where it takes no more of a file than what it is made of."""
    facts = editor.facts
    taken = sum(
        facts.chain_size(c.name)[0] if facts.is_made(c.name) else facts.nbytes(c.name) or 0
        for c in constants
    )
    values = [facts.value(c.name) for c in constants]
    if any(v is None for v in values):
        return None
    first, second = (np.asarray(v) for v in values)
    if first.dtype != second.dtype or np.broadcast(first, second).size * first.itemsize > taken:
        return None
    with np.errstate(over="ignore"):
        wide = first.astype(np.float64) + second.astype(np.float64)
        total = wide.astype(first.dtype)
    return total if np.isfinite(total.astype(np.float64)).all() else None
