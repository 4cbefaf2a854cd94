"""Patches, each multiplied with a matrix: the product first, and the order of axes last.

    Reshape → Transpose → Reshape → MatMul    [N, C, H, W] → [N, H'·W', O], of patches p × p

is a convolution with a stride of p, but for where its channels stand. Transpose and product may be
Einsums. It is written here as what it is: space to depth, with all elements of a patch as channels;
a product of these; and then the spatial axes merged, and the channels last.

The product is an Einsum, which has the matrix as it is stored: no weight is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.graph.operators import runs
from onnxac.inference.dims import Dim, Shape, equal, product
from onnxac.reordering.editing import Editor

# What moves the elements of a larger tensor is not looked into (`lowering.relocation`).
_MOST = 2**23
# Labels of spatial axes in the Einsum.
_SPATIAL = "abd"


@dataclass(frozen=True)
class _Patches:
    """[N, C, *L] cut into patches, and their elements put last.

    source  what is cut into patches
    cut     it, with each spatial axis in two: [N, C, L'₀, p₀, L'₁, p₁, …]
    inner   axes of `cut` that are the elements of a patch, in their order there
    sizes   extents of a patch
    outer   extents L'
    width   elements of a patch
    merged  whether the L' are one axis in the end
    """

    source: gs.Tensor
    cut: gs.Tensor
    inner: tuple[int, ...]
    sizes: tuple[int, ...]
    outer: Shape
    width: int
    merged: bool


def patches_first(editor: Editor, node: gs.Node) -> None:
    """Product of patches: an Einsum of what is there before the axes are put in that order."""
    if len(node.inputs) != 2 or not editor.facts.is_constant(node.inputs[1].name):
        return
    if node.op == "Einsum" and not _is_product(node):
        return
    source, matrix = node.inputs
    weight = editor.facts.shape(matrix.name)
    found = _patches(editor, source)
    if found is None or weight is None or len(weight) != 2 or weight[0] != found.width:
        return
    out = node.outputs[0]
    if not isinstance(weight[1], int) or editor.is_undone(out) or editor.facts.opset < 12:
        return
    if not runs("Conv", editor.facts.dtype(source.name)):
        return
    batch, count = (editor.facts.shape(found.source.name) or (0,))[0], len(found.outer)
    turned = _to_depth(editor, node, found)
    if turned is None:
        return
    labels = _SPATIAL[:count]
    turned.add(
        "Einsum",
        [batch, weight[1], *found.outer],
        {"equation": f"nk{labels},ko->no{labels}"},
        [matrix],
    )
    biased = _bias(editor, out, weight[1])
    if biased is not None:
        out = turned.bias(biased, count)
    if found.merged and count > 1:
        turned.reshape([batch, weight[1], product(found.outer)])
        count = 1
    node.outputs.clear()
    turned.end({"perm": [0, *range(2, 2 + count), 1]}, out)
    editor.graph.nodes.remove(node)


def _to_depth(editor: Editor, node: gs.Node, found: _Patches) -> _Nodes | None:
    """Space to depth, [N, C, *L] → [N, width, *L'], in front of a node."""
    batch = (editor.facts.shape(found.cut.name) or (0,))[0]
    whole = [batch, found.width, *found.outer]
    if found.inner == (3, 5, 1) and len(set(found.sizes)) == 1:
        made = _Nodes(editor, node, found.source)
        made.add("SpaceToDepth", whole, {"blocksize": found.sizes[0]})
        return made
    if editor.facts.count(found.source.name) > _MOST and not _is_open(editor, found.source):
        return None
    made = _Nodes(editor, node, found.cut)
    axes = (2 * i + 2 for i in range(len(found.outer)))
    dims = [(editor.facts.shape(found.cut.name) or ())[i] for i in found.inner]
    made.add("Transpose", [batch, *dims, *found.outer], {"perm": [0, *found.inner, *axes]})
    made.reshape(whole)
    return made


def _is_open(editor: Editor, tensor: gs.Tensor) -> bool:
    """Whether an extent is dynamic."""
    return any(not isinstance(d, int) for d in editor.facts.shape(tensor.name) or ())


def _bias(editor: Editor, tensor: gs.Tensor, channels: int) -> tuple[gs.Node, gs.Tensor] | None:
    """An Add of one number per channel that alone reads the tensor, and these numbers."""
    if len(tensor.outputs) != 1 or editor.is_fixed(tensor):
        return None
    node = tensor.outputs[0]
    others = [t for t in node.inputs if t is not tensor]
    if node.op != "Add" or not editor.facts.is_standard(node.domain, node.op) or len(others) != 1:
        return None
    shape = editor.facts.shape(others[0].name)
    if not editor.facts.is_constant(others[0].name) or not shape or shape[-1] != channels:
        return None
    if product(shape) != channels or len(shape) > len(editor.facts.shape(tensor.name) or ()):
        return None
    if node.outputs[0].name in editor.left or editor.is_undone(node.outputs[0]):
        return None
    return None if editor.facts.value(others[0].name) is None else (node, others[0])


def _patches(editor: Editor, tensor: gs.Tensor) -> _Patches | None:
    joined = editor.only_maker(tensor, "Reshape")
    turned = joined and editor.only_maker(joined.inputs[0], "Transpose", "Einsum")
    parted = turned and editor.only_maker(turned.inputs[0], "Reshape")
    if parted is None or turned is None:
        return None
    names = (parted.inputs[0].name, parted.outputs[0].name, tensor.name)
    source, cut, last = (editor.facts.shape(n) for n in names)
    if source is None or cut is None or last is None or len(source) < 3:
        return None
    count = len(source) - 2
    if count > len(_SPATIAL) or not _is_cut(source, cut):
        return None
    perm = _order(turned)
    axes = [2 * i + 2 for i in range(count)]
    if perm[: count + 1] != [0, *axes]:
        return None
    inner, outer = tuple(perm[count + 1 :]), tuple(cut[i] for i in axes)
    width = math.prod(int(str(cut[i])) for i in inner)
    merged = equal(product(outer), last[1]) is True and len(last) == 3
    kept = len(last) == count + 2 and all(
        equal(a, b) is True for a, b in zip(outer, last[1:-1], strict=True)
    )
    # A Reshape has to say their extents: one of them may be left to it.
    told = sum(not isinstance(d, int) for d in outer) <= 1
    if not told or not (merged or kept) or last[-1] != width:
        return None
    if equal(source[0], last[0]) is not True:
        return None
    sizes = tuple(int(str(cut[i + 1])) for i in axes)
    return _Patches(parted.inputs[0], parted.outputs[0], inner, sizes, outer, width, merged)


def _labels(node: gs.Node) -> tuple[list[str], str]:
    """The labels of an Einsum's operands and of its result."""
    equation = node.attrs.get("equation", "")
    text = equation.decode() if isinstance(equation, bytes) else str(equation)
    operands, _, result = text.replace(" ", "").partition("->")
    return operands.split(","), result


def _is_product(node: gs.Node) -> bool:
    """Whether an Einsum is the product of the last axis with a matrix."""
    operands, result = _labels(node)
    if len(operands) != 2 or len(operands[1]) != 2:
        return False
    rows, summed, made = operands[0], operands[1][0], operands[1][1]
    alone = len({*rows, made}) == len(rows) + 1
    return alone and rows[-1:] == summed and result == rows[:-1] + made


def _order(node: gs.Node) -> list[int]:
    """Which axis comes when, of a Transpose or of an Einsum that is one; empty if it is none."""
    if node.op == "Transpose":
        return list(node.attrs.get("perm", ()))
    operands, result = _labels(node)
    labels = operands[0]
    if len(operands) > 1 or len({*labels}) != len(labels) or sorted(labels) != sorted(result):
        return []
    return [labels.index(c) for c in result]


def _is_cut(source: Shape, cut: Shape) -> bool:
    """Whether every spatial axis is two in `cut`, and both others are what they were."""
    if len(cut) != 2 * len(source) - 2 or not isinstance(source[1], int):
        return False
    pairs = [(cut[i], cut[i + 1]) for i in range(2, len(cut), 2)]
    return (
        equal(source[0], cut[0]) is True
        and source[1] == cut[1]
        and all(isinstance(p, int) for _, p in pairs)
        and all(equal(product(p), n) is True for p, n in zip(pairs, source[2:], strict=True))
    )


class _Nodes:
    """A chain of new nodes, each of what the one before it makes, in front of a node."""

    def __init__(self, editor: Editor, before: gs.Node, source: gs.Tensor) -> None:
        self._editor, self._before, self._last = editor, before, source
        self._like = source.name

    def add(
        self,
        op: str,
        dims: Sequence[Dim | None],
        attrs: dict[str, object],
        more: Sequence[gs.Tensor] = (),
    ) -> None:
        """A node that makes a tensor of these extents."""
        out = self._before.outputs[0].name
        # A change that ends in the product is known by its tensor.
        made = self._editor.like(self._last, out if op == "Einsum" else f"{out}.{op}")
        dtype = self._editor.facts.dtype(self._like)
        assert dtype is not None
        self._editor.facts.define(made.name, self._editor.facts.type_of(dtype, dims))
        self._put(gs.Node(op, "", attrs, [self._last, *more], [made]))
        self._last = made

    def bias(self, biased: tuple[gs.Node, gs.Tensor], spatial: int) -> gs.Tensor:
        """Put an Add here, of the channels on axis 1; returns what it made where it was."""
        node, values = biased
        facts = self._editor.facts
        held = facts.value(values.name)
        assert held is not None
        name = self._editor.name(f"{values.name}_moved")
        held = held.reshape(-1, *[1] * spatial)
        facts.store(name, held)
        (out,) = node.outputs
        made = self._editor.like(self._last, out.name)
        node.inputs, node.outputs = [self._last, gs.Constant(name, held)], [made]
        self._editor.move_before(node, self._before)
        self._last = made
        return out

    def reshape(self, dims: Sequence[Dim | None]) -> None:
        """A Reshape to these extents; the first one is what it was."""
        target = [0, *(d if isinstance(d, int) else -1 for d in dims[1:])]
        name = self._editor.name(f"{self._before.outputs[0].name}.shape")
        values = np.asarray(target, np.int64)
        self._editor.facts.store(name, values)
        self.add("Reshape", dims, {}, [gs.Constant(name, values)])

    def end(self, attrs: dict[str, object], out: gs.Tensor) -> None:
        """The Transpose that makes `out`."""
        self._put(gs.Node("Transpose", "", attrs, [self._last], [out]))

    def _put(self, node: gs.Node) -> None:
        node.name = self._editor.name(f"{self._before.name or self._like}/{node.op}")
        self._editor.graph.nodes.insert(self._editor.position(self._before), node)
