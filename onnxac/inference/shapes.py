"""Shapes along dynamic extents, which onnx's own inference loses; and shapes as values.

Sliding windows, Slice, Pad and Concat keep extents as formulas over the model's inputs
(`windows`, `dims`); operators that take a shape as an operand are followed through what that
operand holds (`symbols`, `sizes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, TypeProto

from onnxac.algebra import Obstacle
from onnxac.graph.model import Model
from onnxac.inference import sizes, symbols
from onnxac.inference.constants import OLDEST_OPSET, Constants, held_by
from onnxac.inference.dims import Dim, Extent, Shape, joined, product, static
from onnxac.inference.symbols import LONGEST, Known, Symbol
from onnxac.inference.windows import (
    OPERANDS,
    pad_axes,
    slice_axes,
    takes_one,
    transposed_axes,
    window_axes,
)

_WEIGHTED = ("Conv", "ConvTranspose", "BatchNormalization", "MatMul", "Gemm")
_WINDOWS = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool")
# Of ONNX Runtime: what weight-only quantization makes of a MatMul.
_PACKED = ("com.microsoft", "MatMulNBits")
# The largest number that a type holds exactly.
_MOST: dict[int, int] = {
    TensorProto.BOOL: 1,
    TensorProto.INT32: 2**31 - 1,
    TensorProto.INT64: 2**63 - 1,
    TensorProto.FLOAT: 2**24,
    TensorProto.DOUBLE: 2**53,
}


class Shapes(Constants):
    """Shapes by this project's own rules, and what small integer tensors hold."""

    def __init__(self, model: Model, *, freeze: bool, dequantize: bool = False) -> None:
        super().__init__(model, freeze=freeze, dequantize=dequantize)
        self._symbols: dict[str, Symbol] = {}

    def symbol(self, name: str) -> Symbol | None:
        """What a number or a short vector holds, one entry per element; None for no such thing.

        An entry is a number, a dynamic extent, or None where it is not known.
        """
        if name not in self._symbols and self._is_vector(name):
            value = self.value(name)
            if value is not None and value.dtype.kind in "iufb" and _is_whole(value):
                self._symbols[name] = tuple(int(v) for v in value.reshape(-1))
        return self._symbols.get(name)

    def _is_vector(self, name: str) -> bool:
        shape = self.shape(name)
        return shape is not None and len(shape) <= 1 and self.count(name) <= LONGEST

    def follow(self, node: NodeProto) -> bool:
        """Note what the node's outputs hold, if that follows; whether they are constants then."""
        if self.opset < OLDEST_OPSET or not self.is_standard(node.domain, node.op_type):
            return False
        found = self._followed_by(node)
        if not found:
            return False
        outputs = [(o, s) for o, s in zip(node.output, found, strict=False) if o]
        if any(self.count(o) != len(s) or not self._holds(o, s) for o, s in outputs):
            return False
        if all(isinstance(e, int) for _, s in outputs for e in s):
            self.note_values(node, {o: self._array(o, s) for o, s in outputs})
            return True
        known = [(o, s) for o, s in outputs if any(e is not None for e in s)]
        self._symbols.update(known)
        if known:
            self.note_followed(node)
        return False

    def _holds(self, name: str, symbol: Symbol) -> bool:
        """Whether the tensor's type holds the numbers."""
        most = _MOST.get(self.dtype(name) or 0, 0)
        numbers = [e for e in symbol if isinstance(e, int)]
        return self._is_vector(name) and all(-most <= n <= most for n in numbers)

    def _followed_by(self, node: NodeProto) -> list[Symbol] | None:
        if node.op_type in ("Shape", "Size"):
            shape = self.shape(node.input[0]) if node.input else None
            if shape is None:
                return None
            attrs = attributes(node)
            if node.op_type == "Size":
                return [(product(shape),)]
            return [shape[attrs.get("start", 0) : attrs.get("end", len(shape))]]
        rule = symbols.RULES.get(node.op_type)
        if rule is None or all(i == "" or self.symbol(i) is None for i in node.input):
            return None
        if not symbols.is_exact(node.op_type, self.dtype(node.output[0])):
            return None
        attrs = {**attributes(node), "outputs": len(node.output)}
        return rule([self._known(i) for i in node.input], attrs)

    def _known(self, name: str) -> Known | None:
        """What an operand holds; of a short one of which only the length is known, no entry."""
        if not name or not self._is_vector(name):
            return None
        held = self.symbol(name)
        unknown = (None,) * int(self.count(name))
        return Known(unknown if held is None else held, len(self.shape(name) or ()) == 1)

    def _array(self, name: str, symbol: Symbol) -> Any:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(self.dtype(name) or TensorProto.INT64)
        return np.asarray(symbol, dtype).reshape([-1] * len(self.shape(name) or ()))

    # Types.

    def own_type(self, node: NodeProto) -> TypeProto | None:
        """Type of the node's only output, where this class knows more than onnx; else None."""
        if node.op_type == "Constant":
            held = held_by(node) if self.is_standard(node.domain, node.op_type) else None
            return None if held is None else self.type_of(held.data_type, held.dims)
        if (node.domain, node.op_type) == _PACKED:
            return self._packed(node)
        return self._disputed(node) or self._window(node) or self._moved(node) or self._sized(node)

    def _packed(self, node: NodeProto) -> TypeProto | None:
        """Type of a product with a matrix in few bits: [..., K] → [..., N]. onnx knows none."""
        shape, columns = self.shape(node.input[0]), attributes(node).get("N")
        if not shape or not isinstance(columns, int):
            return None
        return self.type_of(self.dtype(node.input[0]) or 0, [*shape[:-1], columns])

    def _disputed(self, node: NodeProto) -> TypeProto | None:
        """Type of a pool whose last window, in ceil_mode, would begin in the padding behind.

        ONNX Runtime leaves that window out; onnx's inference counts it before opset 22.
        """
        attrs, shape = attributes(node), self.shape(node.input[0]) if node.input else None
        taps = attrs.get("kernel_shape", ())
        if not attrs.get("ceil_mode") or shape is None or len(shape) != len(taps) + 2:
            return None
        count = len(taps)
        pads, strides = attrs.get("pads", [0] * 2 * count), attrs.get("strides", [1] * count)
        dilations = attrs.get("dilations", [1] * count)
        if node.op_type not in _WINDOWS or len(node.output) != 1 or min(strides) < 1:
            return None
        for dim, k, s, d, begin, end in zip(
            shape[2:], taps, strides, dilations, pads, pads[count:], strict=False
        ):
            if isinstance(dim, int) and -(-(dim + begin + end - d * (k - 1) - 1) // s) * s >= (
                dim + begin
            ):
                return self.type_of(self.dtype(node.input[0]) or 0, [*shape[:2], *[None] * count])
        return None

    def told_by_weight(self, node: NodeProto) -> dict[str, TypeProto]:
        """What only the weight tells of an input: its channels, and a convolution's rank."""
        if node.op_type not in _WEIGHTED or not self._is_own(node) or len(node.input) < 2:
            return {}
        source = node.input[0]
        shape, weight = self.shape(source), self.shape(node.input[1])
        dtype = self.dtype(source) or self.dtype(node.input[1])
        if not weight or not dtype:
            return {}
        place, channels = self._taken_in(node, weight)
        if shape is None and node.op_type.startswith("Conv") and len(weight) > 2:
            dims: list[Dim | None] = [None] * len(weight)
        elif shape and not isinstance(shape[place % len(shape)], int):
            dims = list(shape)
        else:
            return {}
        if not isinstance(channels, int) or channels < 1 or len(dims) <= max(place, 0):
            return {}
        dims[place] = channels
        return {source: self.define(source, self.type_of(dtype, dims))}

    @staticmethod
    def _taken_in(node: NodeProto, weight: Shape) -> tuple[int, Dim | None]:
        """The axis along which a node with this weight reads channels, and how many there are."""
        attrs = attributes(node)
        if len(weight) < 2 and node.op_type in ("Conv", "Gemm"):
            # A weight of too few axes is no model's, and nothing to conclude from.
            return 1, None
        if node.op_type == "Conv":
            return 1, product([weight[1], attrs.get("group", 1)])
        if node.op_type in ("ConvTranspose", "BatchNormalization"):
            return 1, weight[0]
        if node.op_type == "MatMul":
            return -1, weight[max(len(weight) - 2, 0)]
        at = 0 if attrs.get("transA") else 1
        return at, weight[1 if attrs.get("transB") else 0]

    def _window(self, node: NodeProto) -> TypeProto | None:
        """Output type of a sliding window over an input with dynamic extents."""
        if node.op_type not in _WINDOWS or not self._is_own(node) or len(node.output) != 1:
            return None
        shape = self.shape(node.input[0])
        if shape is None or len(shape) < 3 or all(isinstance(d, int) for d in shape[2:]):
            return None
        attrs = attributes(node)
        channels: Dim = shape[1]
        taps = attrs.get("kernel_shape")
        if node.op_type.startswith("Conv"):
            weight = static(self.shape(node.input[1]) or ())
            if len(weight) != len(shape) or None in weight:
                return None
            first, second, *taps = [int(d or 0) for d in weight]
            channels = first if node.op_type == "Conv" else second * attrs.get("group", 1)
        if taps is None:
            return None
        rule = transposed_axes if node.op_type == "ConvTranspose" else window_axes
        axes = rule(attrs, taps, static(shape[2:]))
        if isinstance(axes, Obstacle):
            return None
        dims = [
            a.length(d) if isinstance(d, int) else d.through(a)
            for a, d in zip(axes, shape[2:], strict=True)
        ]
        return self.type_of(self.dtype(node.input[0]) or 0, [shape[0], channels, *dims])

    def _moved(self, node: NodeProto) -> TypeProto | None:
        """Output type of a Slice, Pad or Concat along dynamic extents."""
        if node.op_type not in ("Slice", "Pad", "Concat") or not self._is_own(node):
            return None
        sources = node.input if node.op_type == "Concat" else node.input[:1]
        shapes = [s for i in sources if (s := self.shape(i)) is not None]
        if len(shapes) < len(sources) or not any(isinstance(d, Extent) for s in shapes for d in s):
            return None
        if node.op_type == "Concat":
            dims = self._joined(node, shapes)
        else:
            dims = self._cut(node, shapes[0])
            if dims is None and node.op_type == "Slice" and self.opset == 10:
                # onnx's inference for this opset keeps the name of an extent that it cuts.
                dims = [None] * len(shapes[0])
        return None if dims is None else self.type_of(self.dtype(node.input[0]) or 0, dims)

    def _joined(self, node: NodeProto, shapes: Sequence[Shape]) -> list[Dim | None] | None:
        rank, axis = len(shapes[0]), attributes(node).get("axis")
        if axis is None or not -rank <= axis < rank or any(len(s) != rank for s in shapes):
            return None
        return joined(shapes, axis % rank)

    def _cut(self, node: NodeProto, shape: Shape) -> list[Dim | None] | None:
        attrs = attributes(node)
        operands = [attrs.get(k) for k in OPERANDS[node.op_type]]
        for n, name in enumerate(node.input[1 : 1 + len(operands)]):
            operands[n] = self.value(name) if name else None
            if name and operands[n] is None:
                operands[n] = (
                    self._whole_ends(node, shape) if OPERANDS[node.op_type][n] == "ends" else None
                )
                if operands[n] is None:
                    return None
        if node.op_type == "Slice":
            single = takes_one(operands, len(shape))
            left = [1 if one else d for d, one in zip(shape, single, strict=True)]
            axes = slice_axes(operands, static(left))
            shape = tuple(left)
        else:
            axes = pad_axes(operands, static(shape))
        if isinstance(axes, Obstacle):
            return None
        return [
            a.length(d) if isinstance(d, int) else d.through(a)
            for a, d in zip(axes, shape, strict=True)
        ]

    def _whole_ends(self, node: NodeProto, shape: Shape) -> list[int] | None:
        """Ends of a Slice that hold a dynamic extent, where that is all there is to the end."""
        held = self.symbol(node.input[2])
        axes = self.symbol(node.input[3]) if len(node.input) > 3 else tuple(range(len(held or ())))
        if held is None or axes is None or len(axes) != len(held):
            return None
        ends = []
        for end, axis in zip(held, axes, strict=True):
            if not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
                return None
            if not isinstance(end, int) and end != shape[axis]:
                return None
            ends.append(end if isinstance(end, int) else 2**63 - 1)
        return ends

    def _sized(self, node: NodeProto) -> TypeProto | None:
        """Output type where an operand holds the shape, or an axis is a product of others."""
        rule = sizes.RULES.get(node.op_type)
        if rule is None or not self._is_own(node, 1) or self._is_closed(node):
            return None
        attrs = attributes(node)
        dims = rule(
            sizes.Operands(
                [self.shape(i) if i else None for i in node.input],
                [self.symbol(i) if i else None for i in node.input],
                [self.value(i) if i and self._is_vector(i) else None for i in node.input],
                attrs,
            )
        )
        if dims is None:
            return None
        dtype = self.dtype(node.input[0])
        if node.op_type == "ConstantOfShape":
            dtype = attrs["value"].data_type if "value" in attrs else TensorProto.FLOAT
        return self.type_of(dtype or 0, dims)

    def _is_closed(self, node: NodeProto) -> bool:
        """Whether no dynamic extent plays a part: onnx knows as much, and what is wrong, too."""
        shape = self.shape(node.input[0])
        data = node.op_type not in ("ConstantOfShape", "Range")
        known = shape is not None and all(isinstance(d, int) for d in shape)
        return (known or not data) and all(
            not i or self.is_constant(i) for i in node.input[int(data) :]
        )

    def _is_own(self, node: NodeProto, needed: int = 2) -> bool:
        """Whether the rules of this class may read the node: its operands are there."""
        operands = node.input[:needed]
        return (
            self.is_standard(node.domain, node.op_type)
            and bool(operands and node.output)
            and all(operands)
        )


def _is_whole(value: Any) -> bool:
    """Whether a constant holds whole numbers only."""
    if value.dtype.kind != "f":
        return True
    # Beyond that, and infinite, it holds no extents. Half precision can't hold the limit itself.
    wide = value.astype(np.float64)
    return bool(np.all((wide == np.floor(wide)) & (abs(wide) < 2**53)))


def attributes(node: NodeProto) -> dict[str, Any]:
    """Values of the node's attributes, as onnx gives them."""
    given = (a for a in node.attribute if not a.ref_attr_name)
    return {a.name: onnx.helper.get_attribute_value(a) for a in given}


def is_order(node: NodeProto) -> bool:
    """Whether a Transpose's perm, where it has one, is a permutation."""
    perm = list(attributes(node).get("perm", ()))
    return sorted(perm) == list(range(len(perm)))
