"""Constants: tensors that do not depend on any input, computed when somebody asks.

They are computed one node at a time, by onnx's own reference operators where `direct` has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import AttributeProto, NodeProto, TensorProto, numpy_helper

from onnxac.graph.model import Model
from onnxac.graph.operators import is_standard, traits
from onnxac.inference import direct
from onnxac.inference.casts import outgrows_floats
from onnxac.inference.dims import Extent, Shape
from onnxac.inference.stored import Values, flaw, read
from onnxac.inference.types import TensorTypes

# Larger results are left for the runtime to compute.
_MAX_BYTES = 2**29
# The oldest standard operators that are read: before, Add had an axis of its own.
OLDEST_OPSET = 7
# Larger values are not kept once they were used.
_SMALL = 1024

_SHAPE_ONLY = ("Shape", "Size")
# Nodes with such attributes are no constants: what is inside may depend on anything.
_UNFOLDED = (
    AttributeProto.GRAPH,
    AttributeProto.GRAPHS,
    AttributeProto.SPARSE_TENSOR,
    AttributeProto.SPARSE_TENSORS,
)
_WINDOWS = ("Conv", "MaxPool", "AveragePool", "LpPool")
# Operators that read a second input's type only.
_TYPE_ONLY = {"CastLike": (1,)}


class Constants(TensorTypes):
    """The constants of a model's main graph.

    overridable  initializers that are graph inputs too: a caller may give other values
    failures     constants that can't be computed, and why
    shared       constants of a graph around that more than this graph reads
    exact        weights that were rounded when they were written, as they are
    """

    def __init__(self, model: Model, *, freeze: bool, dequantize: bool = False) -> None:
        super().__init__()
        self._dequantize = dequantize
        self.shared: frozenset[str] = frozenset()
        self.exact = model.exact
        graph = model.proto.graph
        self._folder = model.folder or Path()
        self._initializers = {t.name: t for t in graph.initializer}
        self._functions = {(f.domain, f.name) for f in model.proto.functions}
        self._makers: dict[str, NodeProto] = {}
        self._values: dict[str, Values] = {}
        # Nodes that compute with shapes at run time, by what they make.
        self._followed: dict[str, NodeProto] = {}
        self._opsets = model.opsets
        self.opset = model.opset
        self.failures = {n: why for n, t in self._initializers.items() if (why := flaw(t))}
        old_ir = model.proto.ir_version < 4
        inputs = {i.name for i in graph.input}
        self.overridable = set() if freeze or old_ir else inputs & self._initializers.keys()

    def is_constant(self, name: str) -> bool:
        """Whether the tensor does not depend on any graph input."""
        return name in self._makers or (
            name in self._initializers
            and name not in self.overridable
            and name not in self.failures
        )

    def is_made(self, name: str) -> bool:
        """Whether the tensor is a constant that a node makes, not an initializer."""
        return name in self._makers

    @property
    def makes_constants(self) -> bool:
        """Whether any node makes a constant."""
        return bool(self._makers)

    def is_computed_by(self, node: gs.Node) -> bool:
        """Whether all the node does is to make constants."""
        return all(self.is_constant(t.name) for t in node.outputs if t.name)

    def value(self, name: str) -> Values | None:
        """The constant's value, in its own dtype; None where it is none, or can't be had."""
        if not self.is_constant(name):
            return None
        stack = [name]
        while stack:
            top = stack[-1]
            if top in self._values or top in self.failures:
                stack.pop()
            elif top in self._initializers:
                self._values[top] = read(self._initializers[top], self._folder)
            else:
                maker = self._makers[top]
                needed = [i for i in _computed_from(maker) if i not in self._values]
                missing = [i for i in needed if i not in self.failures]
                stack += missing
                if not missing:
                    self._compute(maker)
        return self._values.get(name)

    def release(self, name: str) -> None:
        """Forget a large value; it is computed again if somebody asks again."""
        if name in self._values and self._values[name].size > _SMALL:
            del self._values[name]

    def is_dequantized(self, name: str) -> bool:
        """Whether a constant is computed from quantized values."""
        return any(traits(n.op_type).quantizes for n in self._chain(name)[0])

    def chain_size(self, name: str) -> tuple[int, int]:
        """The nodes and leaves that compute a constant, and nothing else.

        Returns what they take in the file, and how many of the nodes do more than hold a value.
        """
        nodes, leaves, _ = self._chain(name)
        own = (i for i in leaves if i not in self.shared)
        taken = sum(int(n.ByteSize()) for n in nodes) + sum(self.nbytes(i) or 0 for i in own)
        return taken, sum(n.op_type != "Constant" for n in nodes)

    def weight_bytes(self) -> int:
        """What the initializers take."""
        return sum(self.nbytes(i) or 0 for i in self._initializers)

    def type_reads(self, name: str) -> set[str]:
        """Activations of which a constant's computation reads the type or the shape."""
        return {r for r in self._chain(name)[2] if not self.is_constant(r)}

    def stored(self, name: str) -> TensorProto | None:
        """A constant as a tensor, left in its file where it is; None where it can't be had."""
        if name in self._initializers and self.is_constant(name):
            tensor: TensorProto = self._initializers[name]
            return tensor
        value = self.value(name)
        return None if value is None else numpy_helper.from_array(value, name)

    def store(self, name: str, value: Values) -> None:
        """Add an initializer, which is none of the model's."""
        self._initializers[name] = numpy_helper.from_array(value, name)
        dtype = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
        self.define(name, self.type_of(dtype, value.shape))

    def note_constant(self, node: NodeProto) -> bool:
        """Take the node's outputs as constants, if they are; inputs have to be noted before."""
        if not self._is_foldable(node):
            return False
        self._makers.update((o, node) for o in node.output if o)
        return True

    def note_values(self, node: NodeProto, values: dict[str, Values]) -> None:
        """Take the node's outputs as constants that follow from shapes; they are small."""
        self._makers.update((o, node) for o in values)
        self._values.update(values)

    def note_followed(self, node: NodeProto) -> None:
        """Take the node as one of those that constants may follow from."""
        self._followed.update((o, node) for o in node.output if o)

    def _chain(self, name: str) -> tuple[list[NodeProto], list[str], list[str]]:
        """Nodes, leaves and type-only reads of a constant's computation."""
        nodes: list[NodeProto] = []
        leaves, reads = list[str](), list[str]()
        seen, waiting = set[str](), [name]
        while waiting:
            top = waiting.pop()
            if top in seen:
                continue
            seen.add(top)
            maker = self._makers.get(top) or self._followed.get(top)
            if maker is None:
                (leaves if self.is_constant(top) else reads).append(top)
                continue
            nodes.append(maker)
            followed = _computed_from(maker)
            waiting += followed
            reads += [i for i in maker.input if i and i not in followed]
        return nodes, leaves, reads

    def is_standard(self, domain: str | None, op: str) -> bool:
        """Whether an operator is the standard's, not another domain's or a function's."""
        return is_standard(domain) and (domain or "", op) not in self._functions

    def _is_foldable(self, node: NodeProto) -> bool:
        known = traits(node.op_type)
        dequantized = self._dequantize and node.op_type == "DequantizeLinear"
        if known.random or (known.quantizes and not dequantized):
            return False
        if not self.is_standard(node.domain, node.op_type):
            return False
        if self.opset < OLDEST_OPSET or any(a.type in _UNFOLDED for a in node.attribute):
            return False
        if any(self.dtype(o) == TensorProto.STRING for o in node.output):
            return False
        if node.op_type in _SHAPE_ONLY:
            shape = self.shape(node.input[0]) if node.input else None
            return shape is not None and _dims(node, shape) is not None
        free = _TYPE_ONLY.get(node.op_type, ())
        return all(self.is_constant(i) for i in _computed_from(node)) and all(
            self.dtype(node.input[n]) is not None for n in free
        )

    def _compute(self, node: NodeProto) -> None:
        lost = next((self.failures[i] for i in node.input if i in self.failures), None)
        if lost is None and any(self._is_too_large(o) for o in node.output if o):
            lost = "the result is too large to store"
        if lost is None:
            try:
                results = self._run(node)
            except Exception as error:  # a reference operator may raise anything on odd input
                lost = f"{node.op_type} can't be computed: {' '.join(str(error).split())[:200]}"
            else:
                if node.op_type in _WINDOWS and any(np.size(r) == 0 for r in results):
                    # Runtimes differ over how many outputs there are then.
                    lost = "its window is larger than what it slides over"
                elif any(not self._fits(o, r) for o, r in zip(node.output, results, strict=False)):
                    # NumPy broadcasts what the operator does not take.
                    lost = f"{node.op_type} can't be computed: its operands don't fit"
        if lost is not None:
            self.failures.update((o, lost) for o in node.output if o)
            return
        self._values.update(
            (o, np.asarray(r)) for o, r in zip(node.output, results, strict=False) if o
        )

    def _fits(self, name: str, found: Values) -> bool:
        """Whether a result has the shape that is known of it, as far as that is static."""
        shape = self.shape(name) if name else None
        if shape is None:
            return True
        dims = np.shape(found)
        return len(dims) == len(shape) and all(
            not isinstance(d, int) or d == n for d, n in zip(shape, dims, strict=True)
        )

    def _is_too_large(self, name: str) -> bool:
        size = self.nbytes(name)
        return size is None or size > _MAX_BYTES

    def _run(self, node: NodeProto) -> Sequence[Values]:
        held = held_by(node)
        if held is not None:
            return [read(held, self._folder)]
        if node.op_type in _SHAPE_ONLY:
            dims = _dims(node, self.shape(node.input[0]) or ()) or []
            return [np.asarray(dims if node.op_type == "Shape" else math.prod(dims), np.int64)]
        free = _TYPE_ONLY.get(node.op_type, ())
        inputs = [
            self._blank(i) if n in free else self._values[i] if i else None
            for n, i in enumerate(node.input)
        ]
        return run_node(node, inputs, self._opsets)

    def _blank(self, name: str) -> Values:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(self.dtype(name) or TensorProto.FLOAT)
        return np.zeros((1,), dtype)


def held_by(node: NodeProto) -> TensorProto | None:
    """The tensor that a Constant holds as such; None for one without, or with a flaw."""
    if node.op_type != "Constant" or len(node.attribute) != 1 or len(node.output) != 1:
        return None
    tensor = node.attribute[0].t
    inside = node.attribute[0].HasField("t") and tensor.data_location != TensorProto.EXTERNAL
    return tensor if inside and flaw(tensor) is None else None


def _computed_from(node: NodeProto) -> list[str]:
    """Inputs whose values the node reads, not only their types."""
    if node.op_type in _SHAPE_ONLY:
        return []
    free = _TYPE_ONLY.get(node.op_type, ())
    return [i for n, i in enumerate(node.input) if i and n not in free]


def _dims(node: NodeProto, shape: Shape) -> list[int] | None:
    """What a Shape or Size node reads of the shape; None where that is dynamic."""
    attrs = {a.name: a.i for a in node.attribute}
    dims = shape[attrs.get("start", 0) : attrs.get("end", len(shape))]
    found = [d for d in dims if not isinstance(d, Extent)]
    return found if len(found) == len(dims) else None


def _gather_elements(data: Values, indices: Values, axis: int) -> Values:
    """The operator by its definition; onnx's reference operator fails where shapes differ."""
    axis %= data.ndim
    reach = tuple(
        slice(None) if place == axis else slice(extent)
        for place, extent in enumerate(indices.shape)
    )
    return np.asarray(np.take_along_axis(data[reach], indices.astype(np.int64), axis))


def _cropped(
    node: NodeProto, inputs: Sequence[Values | None]
) -> tuple[NodeProto, list[Values | None]]:
    """A Pad that pads only, behind its own crops; onnx's reference operator knows none."""
    data, *operands = inputs
    attribute = next((a for a in node.attribute if a.name == "pads"), None)
    pads = operands[0] if operands else None if attribute is None else np.asarray(attribute.ints)
    if data is None or pads is None or np.all(pads >= 0):
        return node, [*inputs]
    named = operands[2] if len(operands) > 2 else None
    axes = range(data.ndim) if named is None else named.tolist()
    begins, ends = np.minimum(pads, 0).reshape(2, -1)
    cuts = [slice(None)] * data.ndim
    for axis, begin, end in zip(axes, begins, ends, strict=True):
        cuts[axis] = slice(-begin, max(data.shape[axis] + end, -begin))
    if attribute is None:
        return node, [data[tuple(cuts)], np.maximum(pads, 0), *operands[1:]]
    copy = NodeProto()
    copy.CopyFrom(node)
    place = list(node.attribute).index(attribute)
    copy.attribute[place].ints[:] = np.maximum(pads, 0).tolist()
    return copy, [data[tuple(cuts)]]


def run_node(
    node: NodeProto, inputs: Sequence[Values | None], opsets: dict[str, int]
) -> Sequence[Values]:
    """Outputs of one node as by onnx's reference operator. Raises whatever that raises."""
    at_once = direct.compute(node, inputs)
    if at_once is not None:
        return [at_once]
    if node.op_type == "GatherElements" and inputs[0] is not None and inputs[1] is not None:
        axis = next((int(a.i) for a in node.attribute if a.name == "axis"), 0)
        return [_gather_elements(inputs[0], inputs[1], axis)]
    if node.op_type == "Pad":
        node, inputs = _cropped(node, inputs)
    if node.op_type.startswith("Reduce") and any(map(outgrows_floats, inputs)):
        # Some runtimes take sums of integers in floats, and none says what overflows to what.
        raise ValueError("its integers are beyond 2**53")
    # It loads all operators, which takes as long as numpy and onnx together.
    from onnx.reference.ops import load_op

    version = opsets.get("", 1)
    if node.op_type == "DequantizeLinear":
        # onnx has the operator from this version on only; before, it computed the same.
        version = max(version, 19)
    operator = load_op("", node.op_type, version)
    parameters = {"log": lambda *_: None, "opsets": {"": version}, "verbose": 0, "new_ops": None}
    # Overflow and division by zero are the model's own business.
    with np.errstate(all="ignore"):
        result: Sequence[Values] = operator(node, parameters).run(*inputs)
    return result
