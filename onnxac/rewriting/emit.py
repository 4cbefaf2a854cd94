"""An arrangement as graphsurgeon nodes and initializers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxac.algebra import AffineConv, AffineSum
from onnxac.algebra.frame import Perm
from onnxac.algebra.kernel import Array
from onnxac.inference.dims import static
from onnxac.inference.facts import Facts
from onnxac.planning.recipes import Piece, extensions, framed, output_padding
from onnxac.planning.search import Redefinition
from onnxac.rewriting.builder import SUFFIX, Sheet


@dataclass
class Emitted:
    """Nodes of one redefinition, in order; `operators` pairs each operator with its piece."""

    nodes: list[gs.Node]
    operators: list[tuple[gs.Node, Piece]]


class Emitter:
    """Writes redefinitions.

    unique      turns a wish into a name that nothing else has
    names       the wish for an operator's name, "" for none
    transposed  a tensor that is there already and is the given one transposed
    """

    def __init__(
        self,
        tensors: dict[str, gs.Tensor],
        facts: Facts,
        unique: Callable[[str], str],
        names: Callable[[Piece], str],
        transposed: Callable[[gs.Tensor, Perm], gs.Tensor | None],
    ) -> None:
        self._tensors, self._facts, self._unique, self._names = tensors, facts, unique, names
        self._transposed = transposed

    def emit(self, change: Redefinition, closing: gs.Node) -> Emitted:
        """Nodes that compute the tensor; a sum at the end keeps the name of the one that was.

        closing  the node that made the tensor

        Raises NotFiniteError where a weight overflows.
        """
        dtype = self._facts.dtype(change.tensor) or TensorProto.FLOAT
        self._sheet = Sheet(dtype, self._facts.opset, self._unique)
        self._operators: list[tuple[gs.Node, Piece]] = []
        self._closing = closing
        self._shape = framed(self._facts.shape(change.tensor), change.definition.perm)
        self._turned: dict[tuple[str, Perm], gs.Tensor] = {}
        definition, pieces = change.definition, change.arrangement.pieces
        bias = None if definition.bias is None else definition.bias()
        if bias is not None and not np.any(bias):
            bias = None
        hosted = bias is not None and pieces[0].holds_bias
        parts = [
            (p, self._piece(p, bias if hosted and i == 0 else None, change.tensor))
            for i, p in enumerate(pieces)
        ]
        total = self._sum(None, parts, change.tensor)
        if bias is not None and not hosted:
            shape = bias.shape if bias.ndim == 0 else (-1, *[1] * self._behind(definition))
            shift = self._sheet.constant(bias.reshape(shape), change.tensor, "bias")
            total = self._sheet.node("Add", [total, shift], change.tensor)
        if definition.perm is not None:
            total = self._sheet.node(
                "Transpose", [total], change.tensor, {"perm": list(definition.perm)}
            )
        late = [(p, self._tensors[p.source]) for p in change.arrangement.late]
        self._finish(self._sum(total, late, change.tensor), self._tensors[change.tensor])
        return Emitted(self._sheet.nodes, self._operators)

    def _behind(self, definition: AffineSum) -> int:
        """Axes behind the channel axis of the sum."""
        squeezed = self._shape is not None and len(self._shape) == 2
        return 0 if squeezed else definition.layout or 0

    def _sum(
        self, total: gs.Tensor | None, parts: list[tuple[Piece, gs.Tensor]], owner: str
    ) -> gs.Tensor:
        for piece, part in parts:
            if total is None:
                total = self._sheet.node("Neg", [part], owner) if piece.kind == "negative" else part
            else:
                op = "Sub" if piece.kind == "negative" else "Add"
                total = self._sheet.node(op, [total, part], owner)
        assert total is not None, "a definition has at least one term"
        return total

    def _finish(self, total: gs.Tensor, wanted: gs.Tensor) -> None:
        """Let the last node write the tensor itself."""
        if self._sheet.nodes and total in self._sheet.nodes[-1].outputs:
            last = self._sheet.nodes[-1]
            last.outputs = [wanted]
            if last.op == self._closing.op and not any(last is n for n, _ in self._operators):
                last.name = self._closing.name
        else:
            name = self._unique(f"{wanted.name}_identity")
            self._sheet.nodes.append(gs.Node("Identity", name, inputs=[total], outputs=[wanted]))

    def _piece(self, piece: Piece, bias: Array | None, tensor: str) -> gs.Tensor:
        source = self._viewed(piece, tensor)
        if piece.conv.mean:
            source = self._sheet.node("GlobalAveragePool", [source], tensor)
        rows = piece.conv.axes == ()
        first = rows or piece.kind == "Gemm"
        if piece.flatten and first:
            axis = len(self._facts.shape(piece.source) or ()) - 1 if rows else 1
            source = self._sheet.node("Flatten", [source], tensor, {"axis": axis})
        made = self._operation(piece, source, bias, tensor)
        if piece.flatten and not first:
            made = self._sheet.node("Flatten", [made], tensor, {"axis": 1})
        return self._reshaped(made, tensor) if piece.reshape else made

    def _operation(
        self, piece: Piece, source: gs.Tensor, bias: Array | None, tensor: str
    ) -> gs.Tensor:
        kind = piece.kind
        if kind in ("direct", "negative"):
            return source
        if kind == "scale" or (kind == "BatchNormalization" and bias is None):
            return self._sheet.node("Mul", [source, self._factor(piece, tensor)], tensor)
        name = self._unique((self._names(piece) or f"{tensor}_{kind}") + SUFFIX)
        if kind == "Gemm" and bias is None:
            kind = "MatMul"
        writer = {
            "Conv": self._conv,
            "ConvTranspose": self._conv_transpose,
            "Gemm": self._gemm,
            "MatMul": self._matmul,
            "BatchNormalization": self._normalization,
        }[kind]
        node = writer(piece, source, bias, name)
        self._operators.append((node, piece))
        # As many elements, whatever the shape: enough to count multiply-adds.
        self._facts.define_like(node.outputs[0].name, tensor)
        return node.outputs[0]

    def _viewed(self, piece: Piece, tensor: str) -> gs.Tensor:
        """The source in the axis order of the sum."""
        source, view = self._tensors[piece.source], piece.conv.view
        if view is None:
            return source
        key = (piece.source, view)
        if key not in self._turned:
            self._turned[key] = self._transposed(source, view) or self._sheet.node(
                "Transpose", [source], tensor, {"perm": list(view)}
            )
        return self._turned[key]

    def _reshaped(self, made: gs.Tensor, tensor: str) -> gs.Tensor:
        assert self._shape is not None
        dims = [d if isinstance(d, int) else -1 for d in self._shape]
        held = gs.Constant(self._unique(f"{tensor}.shape"), np.asarray(dims, np.int64))
        return self._sheet.node("Reshape", [made, held], tensor)

    def _factor(self, piece: Piece, tensor: str) -> gs.Constant:
        factor = piece.conv.kernel()
        if piece.conv.axes is not None:
            factor = factor.reshape(-1, *[1] * len(piece.conv.axes))
        return self._sheet.constant(factor, tensor, "scale")

    def _normalization(
        self, piece: Piece, source: gs.Tensor, bias: Array | None, name: str
    ) -> gs.Node:
        """y = scale·x + bias, as a normalization by mean 0 and variance 1."""
        assert bias is not None
        (width, _), scale = piece.conv.channels, piece.conv.kernel().reshape(-1)
        roles = {
            "weight": scale,
            "bias": np.broadcast_to(bias, (width,)),
            "mean": np.zeros(width),
            "variance": np.ones(width),
        }
        held = [self._sheet.constant(v, name, k) for k, v in roles.items()]
        node = gs.Node(
            "BatchNormalization", name, {"epsilon": 0.0}, [source, *held], [self._sheet.fresh(name)]
        )
        self._sheet.nodes.append(node)
        return node

    def _conv(self, piece: Piece, source: gs.Tensor, bias: Array | None, name: str) -> gs.Node:
        shape = self._facts.shape(piece.source)
        if piece.conv.view is not None and shape is not None:
            shape = tuple(shape[i] for i in piece.conv.view)
        count = len(piece.conv.axes or ())
        lengths = [None] * count if shape is None else static(shape[2:])
        if piece.crop:
            source, conv = self._cropped(source, piece.conv, name)
            lengths = [None] * count
        else:
            conv = piece.conv.without_crop(lengths)
        axes = conv.axes or ()
        beyond = [
            a.edge != "zero" and a.reads_beyond(n) for a, n in zip(axes, lengths, strict=True)
        ]
        for mode in extensions(axes, lengths):
            here = [x and a.edge == mode for a, x in zip(axes, beyond, strict=True)]
            source = self._sheet.extend(source, axes, here, mode, name)
        pads = [
            (0, 0) if x else (a.pad_begin, a.pad_end) for a, x in zip(axes, beyond, strict=True)
        ]
        attrs = {
            "dilations": [a.dilation for a in axes],
            "group": conv.group,
            "kernel_shape": [a.taps for a in axes],
            "pads": [b for b, _ in pads] + [e for _, e in pads],
            "strides": [a.stride for a in axes],
        }
        return self._operator("Conv", name, source, conv.kernel(), bias, attrs)

    def _cropped(
        self, source: gs.Tensor, conv: AffineConv, name: str
    ) -> tuple[gs.Tensor, AffineConv]:
        """A Slice that takes off what negative pads skip, and the convolution without them."""
        axes = conv.axes or ()
        cuts = [(max(-a.pad_begin, 0), max(-a.pad_end, 0)) for a in axes]
        bounds = [(b, -e if e else 2**63 - 1, i + 2) for i, (b, e) in enumerate(cuts) if b or e]
        source = self._sheet.slice(
            source,
            [i for *_, i in bounds],
            [b for b, *_ in bounds],
            [e for _, e, _ in bounds],
            name,
        )
        rest = tuple(
            replace(a, offset=a.offset - b, extent=a.extent + b + e)
            for a, (b, e) in zip(axes, cuts, strict=True)
        )
        return source, replace(conv, axes=rest)

    def _conv_transpose(
        self, piece: Piece, source: gs.Tensor, bias: Array | None, name: str
    ) -> gs.Node:
        conv, axes = piece.conv, piece.conv.axes or ()
        (out, width), group = conv.channels, conv.group
        kernel = np.flip(conv.kernel(), tuple(range(2, 2 + len(axes))))
        taps = kernel.shape[2:]
        stored = kernel.reshape(group, out // group, width // group, *taps).swapaxes(1, 2)
        pads = [output_padding(a) for a in axes]
        attrs = {
            "dilations": [a.dilation for a in axes],
            "group": group,
            "kernel_shape": list(taps),
            "output_padding": [p[2] for p in pads if p],
            "pads": [p[0] for p in pads if p] + [p[1] for p in pads if p],
            "strides": [a.up for a in axes],
        }
        weight = stored.reshape(width, out // group, *taps)
        return self._operator("ConvTranspose", name, source, weight, bias, attrs)

    def _gemm(self, piece: Piece, source: gs.Tensor, bias: Array | None, name: str) -> gs.Node:
        matrix = piece.conv.kernel().reshape(piece.conv.channels[0], -1)
        return self._operator("Gemm", name, source, matrix, bias, {"transB": 1})

    def _matmul(self, piece: Piece, source: gs.Tensor, bias: Array | None, name: str) -> gs.Node:
        matrix = piece.conv.kernel().reshape(piece.conv.channels[0], -1)
        if piece.conv.axes and not piece.flatten:
            weight = self._sheet.constant(matrix, name, "weight")
            node = gs.Node(
                "MatMul", name, inputs=[weight, source], outputs=[self._sheet.fresh(name)]
            )
        else:
            weight = self._sheet.constant(matrix.T, name, "weight")
            node = gs.Node(
                "MatMul", name, inputs=[source, weight], outputs=[self._sheet.fresh(name)]
            )
        self._sheet.nodes.append(node)
        return node

    def _operator(
        self,
        op: str,
        name: str,
        source: gs.Tensor,
        kernel: Array,
        bias: Array | None,
        attrs: dict[str, object],
    ) -> gs.Node:
        inputs = [source, self._sheet.constant(kernel, name, "weight")]
        if bias is not None:
            inputs.append(
                self._sheet.constant(
                    np.broadcast_to(bias, self._bias_shape(op, kernel, attrs)), name, "bias"
                )
            )
        node = gs.Node(op, name, attrs, inputs, [self._sheet.fresh(name)])
        self._sheet.nodes.append(node)
        return node

    def _bias_shape(self, op: str, kernel: Array, attrs: dict[str, object]) -> tuple[int]:
        group = attrs.get("group", 1)
        assert isinstance(group, int)
        return (kernel.shape[1] * group if op == "ConvTranspose" else kernel.shape[0],)
