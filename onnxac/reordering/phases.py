"""A convolution over the phases of a map, which is a dilated one over the map itself.

    SpaceToDepth(b) → Conv → DepthToSpace(b)  =  Conv with b times the dilation

where the blocks go to the batch and come back from it: Σ w[k]·x[b·(p + d·k) + r] for each phase r
is output b·p + r of a convolution whose taps lie b·d apart. TensorFlow computes dilations so
(SpaceToBatchND and BatchToSpaceND), and its exporters write that with Transposes around, which
merge with what is around them. What the convolution pads, each phase is longer by: b times as much.
"""

from __future__ import annotations

from typing import Any

import onnx_graphsurgeon as gs

from onnxac.reordering.editing import Editor

# Batch and channels change places, so that blocks go to the batch.
_SWAPPED = [1, 0, 2, 3]


def without_phases(editor: Editor, last: gs.Node) -> None:
    """Convolve the map that a DepthToSpace puts together of convolved phases of another one."""
    back = _swap(editor, last)
    conv = None if back is None else editor.only_maker(back.inputs[0], "Conv")
    there = None if conv is None else _swap(editor, conv)
    first = None if there is None else editor.only_maker(there.inputs[0], "SpaceToDepth")
    if back is None or conv is None or there is None or first is None:
        return
    block, out = last.attrs.get("blocksize"), last.outputs[0]
    if first.attrs.get("blocksize") != block or last.attrs.get("mode", "DCR") != "DCR":
        return
    attrs = _dilated(conv, int(block))
    if attrs is None or editor.facts.shape(out.name) is None or editor.is_undone(out):
        return
    source = first.inputs[0]
    if editor.facts.shape(source.name) is None:
        return
    inner, made = editor.turned(source, _SWAPPED), editor.turned(out, _SWAPPED)
    wider = gs.Node("Conv", conv.name, attrs, [inner, *conv.inputs[1:]], [made])
    editor.insert_after(conv, wider)
    for node in (first, conv, last):
        node.inputs.clear()
        node.outputs.clear()
    there.inputs, there.outputs = [source], [inner]
    back.inputs, back.outputs = [made], [out]


def _swap(editor: Editor, reader: gs.Node) -> gs.Node | None:
    """The Transpose in front of a node, if it swaps batch and channels."""
    maker = editor.only_maker(reader.inputs[0], "Transpose")
    return maker if maker is not None and maker.attrs.get("perm") == _SWAPPED else None


def _dilated(conv: gs.Node, block: int) -> dict[str, Any] | None:
    """The attributes of the convolution of the whole map; None where it has a stride."""
    attrs = dict(conv.attrs)
    named = attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if named or any(s != 1 for s in attrs.get("strides", ())):
        return None
    attrs["dilations"] = [block * d for d in attrs.get("dilations", (1, 1))]
    attrs["pads"] = [block * p for p in attrs.get("pads", (0, 0, 0, 0))]
    return attrs
