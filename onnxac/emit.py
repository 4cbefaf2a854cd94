"""An arrangement as graphsurgeon nodes and initializers.

The only place where float64 becomes the model's dtype: each fused weight is rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxac.algebra import Axis
from onnxac.algebra.kernel import Array
from onnxac.arrange import Piece, output_padding
from onnxac.facts import Facts, static
from onnxac.plan import Redefinition


class NotFiniteError(Exception):
    """A fused weight does not fit into the model's dtype."""


@dataclass
class Emitted:
    """Nodes of one redefinition, in order; `operators` pairs each operator with its piece."""

    nodes: list[gs.Node]
    operators: list[tuple[gs.Node, Piece]]


class Emitter:
    """Writes redefinitions. `unique` turns a wish into a name that nothing else has."""

    def __init__(
        self, tensors: dict[str, gs.Tensor], facts: Facts, unique: Callable[[str], str],
        names: Callable[[Piece], str],
    ) -> None:
        self._tensors, self._facts, self._unique, self._names = tensors, facts, unique, names

    def emit(self, change: Redefinition) -> Emitted:
        """Nodes that compute the tensor. Raises NotFiniteError where a weight overflows."""
        self._out = Emitted([], [])
        self._dtype = onnx.helper.tensor_dtype_to_np_dtype(self._facts.dtype(change.tensor) or 1)
        shape = self._facts.shape(change.tensor)
        self._rank = None if shape is None else len(shape)
        pieces = change.arrangement.pieces
        bias = None if change.definition.bias is None else change.definition.bias()
        if bias is not None and not np.any(bias):
            bias = None
        hosted = bias is not None and pieces[0].holds_bias
        parts = [
            self._piece(p, bias if hosted and i == 0 else None, change.tensor)
            for i, p in enumerate(pieces)
        ]
        total = parts[0]
        if pieces[0].kind == "negative":
            total = self._node("Neg", [total], change.tensor)
        for piece, part in zip(pieces[1:], parts[1:], strict=True):
            total = self._node("Sub" if piece.kind == "negative" else "Add", [total, part], change.tensor)
        if bias is not None and not hosted:
            layout = change.definition.layout or 0
            shift = self._constant(bias.reshape(-1, *[1] * layout) if bias.ndim else bias, change.tensor, "bias")
            total = self._node("Add", [total, shift], change.tensor)
        self._finish(total, self._tensors[change.tensor])
        return self._out

    def _finish(self, total: gs.Tensor, wanted: gs.Tensor) -> None:
        """Let the last node write the tensor itself."""
        if self._out.nodes and total in self._out.nodes[-1].outputs:
            self._out.nodes[-1].outputs = [wanted]
        else:
            self._out.nodes.append(
                gs.Node("Identity", self._unique(f"{wanted.name}_identity"), inputs=[total], outputs=[wanted])
            )

    def _piece(self, piece: Piece, bias: Array | None, tensor: str) -> gs.Tensor:
        source = self._tensors[piece.source]
        if piece.kind in ("direct", "negative"):
            return source
        if piece.kind == "scale":
            factor = self._constant(piece.conv.kernel(), tensor, "scale")
            return self._node("Mul", [source, factor], tensor)
        name = self._unique(self._names(piece) or f"{tensor}_{piece.kind}")
        writer = {
            "Conv": self._conv, "ConvTranspose": self._conv_transpose,
            "Gemm": self._gemm, "MatMul": self._matmul,
        }[piece.kind]
        node = writer(piece, source, bias, name)
        self._out.operators.append((node, piece))
        return node.outputs[0]

    def _conv(self, piece: Piece, source: gs.Tensor, bias: Array | None, name: str) -> gs.Node:
        axes = piece.conv.axes or ()
        shape = self._facts.shape(piece.source)
        lengths = [None] * len(axes) if shape is None else static(shape[2:])
        extended = [a.edge != "zero" and a.reads_beyond(n) for a, n in zip(axes, lengths, strict=True)]
        if any(extended):
            source = self._extend(source, axes, extended, name)
        pads = [(0, 0) if x else (a.pad_begin, a.pad_end) for a, x in zip(axes, extended, strict=True)]
        attrs = {
            "dilations": [a.dilation for a in axes],
            "group": piece.conv.group,
            "kernel_shape": [a.taps for a in axes],
            "pads": [b for b, _ in pads] + [e for _, e in pads],
            "strides": [a.stride for a in axes],
        }
        return self._operator("Conv", name, source, piece.conv.kernel(), bias, attrs)

    def _extend(
        self, source: gs.Tensor, axes: tuple[Axis, ...], extended: list[bool], name: str
    ) -> gs.Tensor:
        modes = {a.edge for a, x in zip(axes, extended, strict=True) if x}
        (mode,) = modes
        begins = [a.pad_begin if x else 0 for a, x in zip(axes, extended, strict=True)]
        ends = [a.pad_end if x else 0 for a, x in zip(axes, extended, strict=True)]
        opset = self._facts.opset
        if mode == "wrap" and opset < 19:
            return self._wrap(source, begins, ends, name)
        amounts = [0, 0, *begins, 0, 0, *ends]
        if opset < 11:
            return self._node("Pad", [source], name, {"mode": mode, "pads": amounts})
        held = gs.Constant(self._unique(f"{name}.pads"), np.asarray(amounts, np.int64))
        return self._node("Pad", [source, held], name, {"mode": mode})

    def _wrap(self, source: gs.Tensor, begins: list[int], ends: list[int], name: str) -> gs.Tensor:
        """Before opset 19 Pad has no mode wrap: the ends are cut off and put in front."""
        for axis, (begin, end) in enumerate(zip(begins, ends, strict=True), start=2):
            parts = [source]
            if begin:
                parts.insert(0, self._slice(source, axis, -begin, 2**63 - 1, name))
            if end:
                parts.append(self._slice(source, axis, 0, end, name))
            if len(parts) > 1:
                source = self._node("Concat", parts, name, {"axis": axis})
        return source

    def _slice(self, source: gs.Tensor, axis: int, start: int, end: int, name: str) -> gs.Tensor:
        bounds = {"starts": [start], "ends": [end], "axes": [axis]}
        if self._facts.opset < 10:
            return self._node("Slice", [source], name, bounds)
        held = [
            gs.Constant(self._unique(f"{name}.{k}"), np.asarray(v, np.int64)) for k, v in bounds.items()
        ]
        return self._node("Slice", [source, *held], name)

    def _conv_transpose(self, piece: Piece, source: gs.Tensor, bias: Array | None, name: str) -> gs.Node:
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
        if bias is None and self._facts.opset < 11:
            bias = np.zeros(piece.conv.channels[0])
        return self._operator("Gemm", name, source, piece.conv.kernel(), bias, {"transB": 1})

    def _matmul(self, piece: Piece, source: gs.Tensor, bias: Array | None, name: str) -> gs.Node:
        matrix = piece.conv.kernel().reshape(piece.conv.channels)
        if piece.conv.axes:
            weight = self._constant(matrix, name, "weight")
            node = gs.Node("MatMul", name, inputs=[weight, source], outputs=[self._fresh(name)])
        else:
            weight = self._constant(matrix.T, name, "weight")
            node = gs.Node("MatMul", name, inputs=[source, weight], outputs=[self._fresh(name)])
        self._out.nodes.append(node)
        return node

    def _operator(
        self, op: str, name: str, source: gs.Tensor, kernel: Array, bias: Array | None,
        attrs: dict[str, object],
    ) -> gs.Node:
        inputs = [source, self._constant(kernel, name, "weight")]
        if bias is not None:
            inputs.append(self._constant(np.broadcast_to(bias, self._bias_shape(op, kernel, attrs)), name, "bias"))
        node = gs.Node(op, name, attrs, inputs, [self._fresh(name)])
        self._out.nodes.append(node)
        return node

    def _bias_shape(self, op: str, kernel: Array, attrs: dict[str, object]) -> tuple[int]:
        group = attrs.get("group", 1)
        assert isinstance(group, int)
        return (kernel.shape[1] * group if op == "ConvTranspose" else kernel.shape[0],)

    def _constant(self, value: Array, owner: str, role: str) -> gs.Constant:
        with np.errstate(over="ignore"):
            rounded = np.ascontiguousarray(np.asarray(value).astype(self._dtype))
        if not np.all(np.isfinite(rounded.astype(np.float64))):
            raise NotFiniteError(f"the fused {role} does not fit into {self._dtype}")
        return gs.Constant(self._unique(f"{owner}.fused_{role}"), rounded)

    def _node(
        self, op: str, inputs: list[gs.Tensor], owner: str, attrs: dict[str, object] | None = None
    ) -> gs.Tensor:
        name = self._unique(f"{owner}_{op.lower()}")
        node = gs.Node(op, name, attrs or {}, inputs, [self._fresh(name)])
        self._out.nodes.append(node)
        return node.outputs[0]

    def _fresh(self, name: str) -> gs.Variable:
        return gs.Variable(self._unique(f"{name}_output"))
