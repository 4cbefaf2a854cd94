"""One walk over a graph: which channels share a factor, what it scales, and where it stops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxac.equalizing.channels import Channels, Slots, Stop, Union, Values
from onnxac.equalizing.passing import Scene, passed
from onnxac.equalizing.scaled import Offset, Weight
from onnxac.equalizing.spread import UNKNOWN, Spread, beside, total
from onnxac.equalizing.weighted import Form, form_of
from onnxac.graph.operators import traits
from onnxac.inference.dims import Shape
from onnxac.inference.facts import Facts

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Scaled by a power of two, these keep every digit; float16 soon has none left to keep.
_WIDE = (TensorProto.FLOAT, TensorProto.DOUBLE)
_QUANTIZED = "its weight is quantized"


@dataclass
class Walk:
    """What came of the walk.

    channels  tensor → its channels, for those that have slots
    spreads   tensor → what these are likely to hold
    readers   tensor → operators that read it
    unusable  operators whose constant weight can't be scaled
    """

    scene: Scene
    facts: Facts
    named: frozenset[str]
    kept: frozenset[str]
    union: Union = field(default_factory=Union)
    channels: dict[str, Channels] = field(default_factory=dict)
    spreads: dict[str, Spread] = field(default_factory=dict)
    weights: list[Weight] = field(default_factory=list)
    offsets: list[Offset] = field(default_factory=list)
    unusable: list[Stop] = field(default_factory=list)
    readers: dict[str, set[str]] = field(default_factory=dict)
    _uses: Counter[str] = field(default_factory=Counter)

    def run(self, graph: gs.Graph) -> None:
        """Go through the nodes, in order."""
        for node in graph.nodes:
            for tensor in node.inputs:
                self._uses[tensor.name] += 1
                self.readers.setdefault(tensor.name, set()).add(node.op)
        for node in graph.nodes:
            self._visit(node)
            for tensor in node.outputs:
                if tensor.name in self.named:
                    told = f"{tensor.name} is an output of the model, or read in a body"
                    self._stop_at(tensor, Stop(node, told))

    def _visit(self, node: gs.Node) -> None:
        own = [self.channels.get(t.name) for t in node.inputs]
        fault = next((f for t in node.outputs if (f := self.facts.fault(t.name))), None)
        if any(t.name in self.kept for t in node.outputs):
            self._stop(node, "it is kept as it is, as asked")
        elif fault is not None:
            self._stop(node, fault)
        elif not self.facts.is_standard(node.domain, node.op):
            if any(own):
                self._stop(node, f"what {node.domain}.{node.op} computes is not known")
        elif node.op in _WEIGHTED:
            self._weighted(node)
        elif not any(own):
            return
        elif node.op in ("Add", "Sub", "Sum"):
            self._added(node)
        elif node.op in ("Mul", "Div"):
            self._multiplied(node)
        elif node.op == "Concat":
            self._joined(node)
        elif node.op == "BatchNormalization":
            self._normalized(node)
        else:
            self._passed(node)

    # Operators with weights.

    def _weighted(self, node: gs.Node) -> None:
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        values = None if weight is None else self.scene.constant(weight)
        shape = self.scene.shape(node.inputs[0].name)
        why = self._unusable(weight, values) if weight is not None else "it has no weight"
        form = None if why or values is None else form_of(node, values.shape)
        if isinstance(form, str) or form is None or values is None:
            why = form if isinstance(form, str) else why
            self._stop(node, why)
            if values is not None or why == _QUANTIZED:
                self.unusable.append(Stop(node, why))
            return
        if shape is None:
            self._stop(node, "the shape of what it reads is not known")
            return
        blocks = form.blocks(values)
        columns = self._columns(node, form, len(shape), blocks.shape[0] * blocks.shape[2])
        rows = self._rows(node, form, blocks)
        # What is known of other channels than those that it reads as its own says nothing here.
        source = UNKNOWN if columns is None else self._spread(node.inputs[0])
        if rows is not None:
            self.spreads[node.outputs[0].name] = source.weighted(blocks, self._bias(node, form))
        self.weights.append(
            Weight(
                node,
                form,
                np.abs(blocks).max(axis=3, initial=0.0),
                np.square(blocks, dtype=np.float64).sum(axis=3),
                blocks.shape[3],
                values.ndim,
                source,
                columns,
                rows,
            )
        )
        self.facts.release(node.inputs[1].name)

    def _unusable(self, weight: gs.Tensor, values: Values | None) -> str:
        """Why a weight can't be scaled; empty where it can."""
        if _is_quantized(weight):
            return _QUANTIZED
        if values is None:
            return "its weight is no constant"
        if self._uses[weight.name] > 1 or weight.name in self.named:
            return "its weight is shared, and would have to be stored twice"
        kind = self.facts.dtype(weight.name) if not isinstance(weight, gs.Constant) else None
        if values.dtype not in (np.float32, np.float64) or kind not in (None, *_WIDE):
            return f"a factor would cost {values.dtype} digits that it has not got"
        return ""

    def _columns(self, node: gs.Node, form: Form, rank: int, count: int) -> Slots | None:
        for index, tensor in enumerate(node.inputs):
            if index and tensor.name in self.channels:
                self._stop_at(tensor, Stop(node, "it reads it as a weight or a bias"))
        own = self.channels.get(node.inputs[0].name)
        if own is None:
            return None
        if own.axis != form.axis(rank) or own.slots.size != count:
            told = f"it does not read the channels, on axis {own.axis}, as its own"
            self._stop_at(node.inputs[0], Stop(node, told))
            return None
        return own.slots

    def _rows(self, node: gs.Node, form: Form, blocks: Values) -> Slots | None:
        output = node.outputs[0]
        shape = self.scene.shape(output.name)
        if shape is None:
            return None
        count = blocks.shape[0] * blocks.shape[1]
        own = Channels(form.axis(len(shape)), self.union.new(count))
        self.channels[output.name] = own
        if len(node.inputs) > form.bias > 0 and node.inputs[form.bias].name:
            self._offset(node, form.bias, own, len(shape), of_weight=node.op != "Gemm")
        return own.slots

    def _bias(self, node: gs.Node, form: Form) -> Values:
        known = len(node.inputs) > form.bias > 0
        values = self.scene.constant(node.inputs[form.bias]) if known else None
        return np.zeros(1) if values is None or values.ndim > 1 else values.astype(np.float64)

    def _spread(self, tensor: gs.Tensor) -> Spread:
        return self.spreads.get(tensor.name, UNKNOWN)

    def _offset(
        self, node: gs.Node, index: int, own: Channels, rank: int, *, of_weight: bool = False
    ) -> None:
        """Note a constant to be divided as the channels are, or pin them where that can't be.

        of_weight  it has one axis, which is the channels'
        """
        tensor = node.inputs[index]
        values = self.scene.constant(tensor)
        axis, count = -1 if of_weight else own.axis - rank, own.slots.size
        why = ""
        if _is_quantized(tensor):
            why = "what it adds is quantized"
        elif values is None:
            why = "what it adds is computed"
        elif values.dtype not in (np.float32, np.float64):
            why = f"a factor would cost {values.dtype} digits that it has not got"
        elif values.size > 1 and (values.ndim < -axis or values.shape[axis] not in (1, count)):
            why = "what it adds does not fit the channels"
        elif self._uses[tensor.name] > 1 and values.size > own.slots.size:
            why = "the constant that it adds is shared, and would have to be stored twice"
        if why or values is None:
            self.union.pin(own.slots, Stop(node, why))
            return
        self.offsets.append(Offset(node, index, values, axis, own.slots))

    # Operators that several tensors meet in.

    def _added(self, node: gs.Node) -> None:
        made = self.scene.shape(node.outputs[0].name)
        if made is None:
            self._stop(node, "the shape that it makes is not known")
            return
        live = [(t, self.channels.get(t.name)) for t in node.inputs]
        first = next(c for _, c in live if c is not None)
        place = {t.name: self._from_end(t, c) for t, c in live if c is not None}
        at = next(iter(place.values()))
        alike = all(
            c.slots.size == first.slots.size and place[t.name] == at
            for t, c in live
            if c is not None
        )
        if not alike or at is None or made[at] != first.slots.size:
            self._stop(node, "what it adds has its channels elsewhere")
            return
        own = Channels(at + len(made), first.slots)
        for index, (tensor, channels) in enumerate(live):
            if channels is not None:
                self.union.join(first.slots, channels.slots)
            elif self.scene.constant(tensor) is not None:
                self._offset(node, index, own, len(made))
            else:
                told = f"it adds {tensor.name}, which no weight makes that could be scaled"
                self.union.pin(first.slots, Stop(node, told))
        self.channels[node.outputs[0].name] = own
        parts = [self._spread(t) for t, c in live if c is not None]
        self.spreads[node.outputs[0].name] = total(parts)

    def _from_end(self, tensor: gs.Tensor, channels: Channels) -> int | None:
        shape = self.scene.shape(tensor.name)
        return None if shape is None else channels.axis - len(shape)

    def _multiplied(self, node: gs.Node) -> None:
        """A product with what has no factor: a constant, or a gate."""
        made = self.scene.shape(node.outputs[0].name)
        own = [(t, c) for t in node.inputs if (c := self.channels.get(t.name)) is not None]
        if len(own) > 1:
            self._stop(node, "both of its operands would be scaled")
            return
        ((tensor, channels),) = own
        at = self._from_end(tensor, channels)
        if node.op == "Div" and tensor is not node.inputs[0]:
            self._stop(node, "it divides by it")
        elif made is None or at is None or made[at] != channels.slots.size:
            self._stop(node, "the shape that it makes is not known")
        else:
            self.channels[node.outputs[0].name] = Channels(at + len(made), channels.slots)
            self.spreads[node.outputs[0].name] = self._spread(tensor)

    def _joined(self, node: gs.Node) -> None:
        shapes = [self.scene.shape(t.name) for t in node.inputs]
        known = [s for s in shapes if s is not None]
        own = [self.channels.get(t.name) for t in node.inputs]
        axes = {c.axis for c in own if c is not None}
        if len(known) < len(shapes) or len(axes) > 1:
            self._stop(node, "what it joins has its channels elsewhere")
            return
        (at,) = axes
        if int(node.attrs["axis"]) % len(known[0]) != at:
            slots = next(c.slots for c in own if c is not None)
            for channels in own:
                if channels is None:
                    self.union.pin(slots, Stop(node, "it joins it to what no weight makes"))
                else:
                    self.union.join(slots, channels.slots)
        else:
            parts: list[Slots] = []
            for channels, shape in zip(own, known, strict=True):
                size = shape[at]
                if channels is not None:
                    parts.append(channels.slots)
                elif isinstance(size, int):
                    parts.append(self.union.new(size))
                    self.union.pin(parts[-1], Stop(node, "no weight makes what it joins"))
                else:
                    self._stop(node, "how many channels it joins is not known")
                    return
            slots = np.concatenate(parts)
            self.spreads[node.outputs[0].name] = beside(
                [(self._spread(t), p.size) for t, p in zip(node.inputs, parts, strict=True)]
            )
        self.channels[node.outputs[0].name] = Channels(at, slots)

    def _normalized(self, node: gs.Node) -> None:
        """(x − mean)·γ/σ + β: with x, mean and β divided by a factor, so is the result."""
        own = self.channels.get(node.inputs[0].name)
        shape = self.scene.shape(node.inputs[0].name)
        single = not any(t.name for t in node.outputs[1:]) and not node.attrs.get("training_mode")
        if own is None or own.axis != 1 or shape is None or not single:
            self._stop(node, "its statistics are no constants of the same channels")
            return
        for index in (2, 3):
            self._offset(node, index, own, len(shape), of_weight=True)
        self.channels[node.outputs[0].name] = own
        self.spreads[node.outputs[0].name] = self._spread(node.inputs[0])

    def _passed(self, node: gs.Node) -> None:
        own = [self.channels.get(t.name) for t in node.inputs]
        if own[0] is None or any(own[1:]):
            self._stop(node, f"{node.op} reads it as something else than channels")
            return
        found = passed(self.scene, node, own[0].axis, own[0].slots.size)
        if isinstance(found, str):
            self._stop(node, found)
            return
        for tensor, made in zip(node.outputs, found, strict=True):
            if tensor.name:
                slots = np.append(own[0].slots, -1)[made.slots]
                slots[made.slots < 0] = self.union.new(int(np.sum(made.slots < 0)))
                self.channels[tensor.name] = Channels(made.axis, slots)
                spread = self._spread(node.inputs[0])
                self.spreads[tensor.name] = spread.through(node.op, made.slots)

    # Where factors stop.

    def _stop(self, node: gs.Node, reason: str) -> None:
        for tensor in node.inputs:
            self._stop_at(tensor, Stop(node, reason))

    def _stop_at(self, tensor: gs.Tensor, stop: Stop) -> None:
        own = self.channels.get(tensor.name)
        if own is not None:
            self.union.pin(own.slots, stop)


def _is_quantized(tensor: gs.Tensor) -> bool:
    return bool(tensor.inputs) and traits(tensor.inputs[0].op).quantizes


def walk(
    graph: gs.Graph,
    facts: Facts,
    added: Mapping[str, Shape],
    named: frozenset[str],
    kept: frozenset[str],
) -> Walk:
    """Walk over a graph.

    added  shapes of tensors that `facts` does not know
    named  tensors needed by their very name: outputs, and what subgraphs read
    kept   outputs of nodes to leave alone
    """
    found = Walk(Scene(facts, added), facts, named, kept)
    found.run(graph)
    return found
