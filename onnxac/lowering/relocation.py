"""Chains of operators that only move data: recognised by what they compute.

Exporters write one and the same border in hundreds of ways: Pad, then four ScatterND with
indices from Shape, Range and Expand; Transposes around them; Slice and Concat for a circular
padding. So such a region is not matched but run, with NumPy, on labels instead of values:
every source element carries its own number. What comes out says where each output element
comes from, or which constant it holds. If that is a crop or an extension of the source, the
region is one `Axis` per spatial axis and, where the border holds constants, a fill.

With dynamic extents it is run at several sizes, all larger than any integer in the region, each
extent being once the larger and once the smaller of any two, and the geometry has to be the same.
Sizes that the region itself rejects (a border width that an exporter baked in) don't count, as
long as one is left. What is computed from extents by rule (rounding, the larger of two) would be
told by no number of sizes: where such a result does not follow from shapes, nothing is concluded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import onnx_graphsurgeon as gs
from onnx import NodeProto

from onnxac.algebra import Axis, Lazy, Sum, Term
from onnxac.graph.operators import traits
from onnxac.inference.constants import OLDEST_OPSET
from onnxac.lowering import arrangement
from onnxac.lowering.arrangement import Arranged, arrange
from onnxac.lowering.channels import selections
from onnxac.lowering.context import Context, moved
from onnxac.lowering.labelled import LabelledRuns, RejectedError
from onnxac.lowering.labels import Located, locate
from onnxac.lowering.trials import Sizes, TrialSizes

# A region without any of these is lowered operator by operator.
_TELLING = {"ScatterND", "ScatterElements", "Concat", "Where", "Gather", "GatherND"}
_TELLING_WITH_RESHAPE = {"Transpose", "Expand", "Tile"}
_MAX_NODES = 20_000
# So many nodes are looked at for regions, as a multiple of the graph's and beside it. A chain in
# which no region begins anywhere would be looked at once from each of its nodes; in all exports
# that were looked at, twice the graph was enough.
_LOOKED_AT, _AND = 8, 2_000

_Role = Literal["data", "shape", "index"]


@dataclass(frozen=True)
class Region:
    """Nodes that compute `tensor` from `source`; `inner` are needed for nothing else.

    kind  of rewrite that it is a part of (`onnxac.kinds`)
    """

    tensor: str
    source: str
    inner: frozenset[int]
    definition: Sum
    kind: str


class Regions:
    """Finds the regions of a graph.

    nodes   those that matter; readers that are not among them don't count
    origin  the protobuf of a node, as it was read
    fixed   tensors that are needed by name
    """

    def __init__(
        self,
        nodes: Sequence[gs.Node],
        context: Context,
        origin: Callable[[gs.Node], NodeProto | None],
        fixed: frozenset[str],
    ) -> None:
        self._nodes, self._context, self._fixed = nodes, context, fixed
        self._facts = context.facts
        self._trials = TrialSizes(context)
        self._known = {id(n) for n in nodes}
        self._left = _LOOKED_AT * len(nodes) + _AND
        self._makers = {t.name: n for n in nodes for t in n.outputs if t.name}
        self._labels = LabelledRuns(context, self._makers, origin)

    def find(self) -> list[Region]:
        """All regions, the last of the graph first; none lies inside another."""
        if self._context.opset < OLDEST_OPSET:
            return []
        found: list[Region] = []
        inside: set[int] = set()
        for node in reversed(self._nodes):
            if (
                self._moves(node)
                and id(node) not in inside
                and self._context.is_float(node.outputs[0].name)
                and self._left > 0
            ):
                region = self._region(node)
                if region is not None:
                    found.append(region)
                    inside |= region.inner
        return found

    def _moves(self, node: gs.Node) -> bool:
        """Whether the node only moves data; a reduction computes with what is there."""
        return (
            traits(node.op).moves != ()
            and self._context.is_standard(node)
            and node.attrs.get("reduction", "none") == "none"
            and all(self._facts.fault(t.name) is None for t in node.outputs)
        )

    def _region(self, head: gs.Node) -> Region | None:
        nodes, source = self._trace(head)
        self._left -= len(nodes)
        if source is None:
            return None
        while _tells(nodes):
            found = self._found(head, nodes, source)
            first = [n for n in nodes if any(t.name == source for t in n.inputs)]
            if found is not None or len(first) != 1 or first[0].op != "Transpose":
                return found
            # Another order of axes is not theirs: they may begin behind it.
            nodes = [n for n in nodes if n is not first[0]]
            source = first[0].outputs[0].name
        return None

    def _found(self, head: gs.Node, nodes: list[gs.Node], source: str) -> Region | None:
        """What the nodes do with the source, if that can be said."""
        tensor = head.outputs[0].name
        shape, output = self._facts.shape(source), self._facts.shape(tensor)
        if shape is None or output is None or len(shape) != len(output) or len(shape) < 3:
            return None
        if shape[0] != output[0]:
            return None
        step = self._context.step(head)
        terms: tuple[Term, ...] | None = None
        if shape[1] == output[1]:
            if not isinstance(shape[1], int):
                return None
            terms = self._displaced(self._located(tensor, source, nodes), source, shape[1], step)
        elif shape[-1] == output[-1]:
            terms = self._displaced(self._located(tensor, source, nodes, 1), source, None, step)
            if len(shape) > 3 and all(
                a.is_identity for t in terms or () for a in (t.axes or ())[2:]
            ):
                # What only the second axis is longer by are channels, of whatever is joined.
                terms = None
        repeats = any(a.sampling for t in terms or () for a in t.axes or ())
        kind = "upsample" if repeats else "borders"
        if terms is None and isinstance(shape[1], int):
            terms = self._arranged(tensor, source, nodes, step)
            strides = any(a.stride > 1 for t in terms or () for a in t.axes or ())
            kind = "focus" if strides else "shuffles"
        if terms is None:
            return None
        inner = self._inner(head, nodes)
        steps = frozenset(self._context.step(n) for n in nodes)
        return Region(tensor, source, inner, Sum(terms, (), steps), kind)

    @staticmethod
    def _displaced(
        located: Located | None, source: str, channels: int | None, step: int
    ) -> tuple[Term, ...] | None:
        """The term of a crop or an extension; None of `channels` where they are the last axis."""
        if located is None:
            return None
        lead = (Axis(),) if channels is None else (Axis(), Axis())
        term = moved(source, (*lead, *located.axes), step)
        if located.fill is not None:
            if channels is None:
                return None
            mixed = term.mixing(1, channels)
            assert isinstance(mixed, Term)
            term = replace(mixed, fill=Lazy.of(located.fill))
        return (term,)

    def _trace(self, head: gs.Node) -> tuple[list[gs.Node], str | None]:
        """Nodes of the region that ends in `head`, and the one tensor whose data it moves.

        A tensor is followed for its data, as an index, or only for its shape.
        """
        found: dict[int, gs.Node] = {}
        seen: set[tuple[str, str]] = set()
        sources: set[str] = set()
        waiting: list[tuple[str, _Role]] = [(head.outputs[0].name, "data")]
        while waiting and len(found) <= _MAX_NODES:
            name, role = waiting.pop()
            if not name or (name, role) in seen or self._facts.is_constant(name):
                continue
            seen.add((name, role))
            node = self._makers.get(name)
            if role != "index" and (node is None or not self._moves(node)):
                if role == "data":
                    sources.add(name)
                continue
            if node is None or not self._context.is_standard(node):
                return [], None
            if role == "index" and self._context.is_float(name):
                return [], None
            found[id(node)] = node
            waiting += self._followed(node, role)
        if waiting or len(sources) != 1:
            return [], None
        return list(found.values()), sources.pop()

    def _followed(self, node: gs.Node, role: _Role) -> list[tuple[str, _Role]]:
        if node.op in ("Shape", "Size"):
            name = node.inputs[0].name
            return [(name, "shape" if self._context.is_float(name) else "index")]
        moved = traits(node.op).moves if role != "index" else ()
        return [
            (t.name, role if moved is None or n in moved else "index")
            for n, t in enumerate(node.inputs)
        ]

    def _inner(self, head: gs.Node, nodes: list[gs.Node]) -> frozenset[int]:
        """Nodes that nobody outside the region reads, without the head."""
        inner = {id(n) for n in nodes} - {id(head)}
        region = inner | {id(head)}
        changed = True
        while changed:
            outside = {
                id(n)
                for n in nodes
                if id(n) in inner
                and any(
                    t.name in self._fixed
                    or any(id(r) in self._known and id(r) not in region for r in t.outputs)
                    for t in n.outputs
                )
            }
            inner -= outside
            region -= outside
            changed = bool(outside)
        return frozenset(inner)

    # What the labels say.

    def _located(
        self, tensor: str, source: str, nodes: list[gs.Node], lead: int = 2
    ) -> Located | None:
        """The region's geometry, if it is the same at all sizes at which it can be computed.

        lead  axes that stay as they are: the batch, and the channels where they come next
        """
        region = frozenset(id(n) for n in nodes)
        found: Located | None = None
        if not self._trials.tell(nodes, source):
            return None
        for sizes in self._trials.varied(nodes, source):
            try:
                here = self._at(tensor, source, sizes, region, lead)
            except RejectedError:
                continue
            if here is None or (found is not None and not here.equals(found)):
                return None
            found = here
        return found

    def _arranged(
        self, tensor: str, source: str, nodes: list[gs.Node], step: int
    ) -> tuple[Term, ...] | None:
        """One term for each position that channels are read at, if that is so at all sizes."""
        region = frozenset(id(n) for n in nodes)
        found: Arranged | None = None
        counts: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        if not self._trials.tell(nodes, source, rounded=True):
            return None
        for sizes in self._trials.residues(nodes, source):
            try:
                seen = self._labels.seen(tensor, source, sizes, region)
            except RejectedError:
                continue
            if seen is None:
                return None
            here = arrange(seen.labels, seen.copied, seen.shape)
            if here is None or (found is not None and here != found):
                return None
            found = here
            counts.append((seen.shape[2:], seen.labels.shape[2:]))
        if found is None:
            return None
        lines: list[Axis] = []
        for i, stride in enumerate(found.strides):
            line = arrangement.line(stride, ((n[i], p[i]) for n, p in counts))
            if line is None:
                return None
            lines.append(line)
        shape, output = self._facts.shape(source), self._facts.shape(tensor)
        assert shape is not None
        assert output is not None
        return selections(found, lines, source, (int(str(output[1])), int(str(shape[1]))), step)

    def _at(
        self, tensor: str, source: str, sizes: Sizes, region: frozenset[int], lead: int
    ) -> Located | None:
        """What the labels say at some sizes."""
        seen = self._labels.seen(tensor, source, sizes, region)
        if seen is None:
            return None
        return locate(seen.labels, seen.copied, seen.values, seen.shape, lead)


def _tells(nodes: Sequence[gs.Node]) -> bool:
    """Whether operators one by one might not show what the nodes do together."""
    ops = {n.op for n in nodes}
    return bool(ops & _TELLING) or ("Reshape" in ops and bool(ops & _TELLING_WITH_RESHAPE))
