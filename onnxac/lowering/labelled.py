"""Running a region with NumPy on labels instead of values, to see what it moves where.

Every element of the source carries its own number; what comes out is read in `labels`, where
the region is a crop or an extension, or in `arrangement`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from onnx import NodeProto
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from onnxac.algebra.kernel import Array
from onnxac.inference.constants import run_node
from onnxac.inference.stored import Values
from onnxac.lowering.context import Context
from onnxac.lowering.labels import Flags, Integers
from onnxac.lowering.trials import Sizes

_MAX_ELEMENTS = 2**23
# Labels start here, twice: far beyond any constant, and exact in float64.
_LOW, _HIGH = 2.0**40, 2.0**41


@dataclass(frozen=True)
class Seen:
    """A region that was run on labels; `copied` are those that came through, of `shape`."""

    labels: Integers
    copied: Flags
    values: Array
    shape: tuple[int, ...]


class RejectedError(Exception):
    """The region can't be computed at these sizes."""


class LabelledRuns:
    """Runs of regions of one graph.

    makers  tensor → the node that makes it
    origin  the protobuf of a node, as it was read
    """

    def __init__(
        self,
        context: Context,
        makers: Mapping[str, gs.Node],
        origin: Callable[[gs.Node], NodeProto | None],
    ) -> None:
        self._context, self._makers, self._origin = context, makers, origin
        self._facts = context.facts

    def seen(self, tensor: str, source: str, sizes: Sizes, region: frozenset[int]) -> Seen | None:
        """Run it twice: what moves by the distance of the labels is a copy.

        None where it is too large. Raises RejectedError where it can't be computed at these sizes.
        """
        shape = self._concrete(source, sizes)
        count = math.prod(shape)
        if count > _MAX_ELEMENTS:
            return None
        numbers = np.arange(count, dtype=np.float64).reshape(shape)
        low = self._run(tensor, source, _LOW + numbers, sizes, region)
        high = self._run(tensor, source, _HIGH + numbers, sizes, region)
        # A border may be infinite; it is no label then, whatever comes of it as an integer.
        with np.errstate(invalid="ignore"):
            copied = high - low == _HIGH - _LOW
            labels = (low - _LOW).astype(np.int64)
        if not np.array_equal(low[~copied], high[~copied]):
            return None
        return Seen(labels, copied, low, shape)

    def _concrete(self, name: str, sizes: Sizes) -> tuple[int, ...]:
        shape = self._facts.shape(name)
        if shape is None:
            raise RejectedError
        try:
            return tuple(d if isinstance(d, int) else d.value(sizes) for d in shape)
        except KeyError:
            raise RejectedError from None

    def _run(
        self, tensor: str, source: str, labels: Array, sizes: Sizes, region: frozenset[int]
    ) -> Array:
        known: dict[str, Values | None] = {source: labels, "": None}
        stack = [tensor]
        while stack:
            name = stack[-1]
            if name in known:
                stack.pop()
            elif self._facts.is_constant(name):
                value = self._facts.value(name)
                # Some operators want one type of both operands, and labels are float64.
                floats = value is not None and self._context.is_float(name)
                known[name] = value.astype(np.float64) if floats and value is not None else value
            else:
                node = self._makers.get(name)
                if node is None or id(node) not in region:
                    # Outside of the region, and read for its shape only.
                    known[name] = np.zeros(self._concrete(name, sizes))
                    continue
                waiting = [t.name for t in node.inputs if t.name not in known]
                if waiting:
                    stack += waiting
                    continue
                results = self._evaluate(node, [known[t.name] for t in node.inputs])
                known.update((t.name, r) for t, r in zip(node.outputs, results, strict=False))
        result = known[tensor]
        if result is None or result.dtype != np.float64:
            raise RejectedError
        return result

    def _evaluate(self, node: gs.Node, inputs: list[Values | None]) -> Sequence[Values]:
        # What another order of operators brought is not in the file.
        origin = self._origin(node) or OnnxExporter.export_node(node)
        try:
            return run_node(origin, inputs, {"": self._context.opset})
        except Exception as error:  # whatever the reference operator says: not at these sizes
            raise RejectedError from error
