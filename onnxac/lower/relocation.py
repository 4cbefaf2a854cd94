"""Chains of operators that only move data: recognised by what they compute.

Exporters write one and the same border in hundreds of ways: Pad, then four ScatterND with
indices from Shape, Range and Expand; Transposes around them; Slice and Concat for a circular
padding. So such a region is not matched but run, with NumPy, on labels instead of values:
every source element carries its own number. What comes out says where each output element
comes from, or which constant it holds. If that is a crop or an extension of the source, the
region is one `Axis` per spatial axis and, where the border holds constants, a fill.

With dynamic extents it is run at several sizes, all larger than any integer in the region,
and the geometry has to be the same. Sizes that the region itself rejects (a border width
that an exporter baked in) don't count, as long as one is left.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs
from onnx import NodeProto

from onnxac.algebra import AffineSum, Axis, Deferred, Edge, Obstacle
from onnxac.algebra.kernel import Array
from onnxac.facts import Extent, Values, run_node
from onnxac.lower.context import Context, shifted

# Operators that move data, and the inputs that are moved; None for all of them.
_MOVED: dict[str, tuple[int, ...] | None] = {
    "Pad": (0,), "ScatterND": (0, 2), "ScatterElements": (0, 2), "Transpose": (0,),
    "Slice": (0,), "Concat": None, "Gather": (0,), "Reshape": (0,), "Identity": (0,),
    "Squeeze": (0,), "Unsqueeze": (0,), "Flatten": (0,), "Expand": (0,), "Where": (1, 2),
}  # fmt: skip
# A region without any of these is lowered operator by operator.
_TELLING = {"ScatterND", "ScatterElements", "Concat", "Where", "Gather"}
_MAX_NODES = 20_000
_MAX_ELEMENTS = 2**25
_MAX_TRIES = 256

Sizes = dict[str, int]
_Role = Literal["data", "shape", "index"]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """Nodes that compute `tensor` from `source`; `inner` are needed for nothing else."""

    tensor: str
    source: str
    inner: frozenset[int]
    definition: AffineSum


class _Rejected(Exception):
    """The region can't be computed at these sizes."""


class Regions:
    """Finds the regions of a graph.

    nodes   those that matter; readers that are not among them don't count
    origin  the protobuf of a node, as it was read
    fixed   tensors that are needed by name
    """

    def __init__(
        self, nodes: Sequence[gs.Node], context: Context,
        origin: Callable[[gs.Node], NodeProto | None], fixed: frozenset[str],
    ) -> None:
        self._nodes, self._context, self._fixed, self._origin = nodes, context, fixed, origin
        self._facts = context.facts
        self._known = {id(n) for n in nodes}
        self._makers = {t.name: n for n in nodes for t in n.outputs if t.name}

    def find(self) -> list[Region]:
        """All regions, the last of the graph first; none lies inside another."""
        found: list[Region] = []
        inside: set[int] = set()
        for node in reversed(self._nodes):
            if node.op in _MOVED and id(node) not in inside and self._context.is_float(node.outputs[0].name):
                region = self._region(node)
                if region is not None:
                    found.append(region)
                    inside |= region.inner
        return found

    def _region(self, head: gs.Node) -> Region | None:
        nodes, source = self._trace(head)
        if source is None or not any(n.op in _TELLING for n in nodes):
            return None
        shape = self._facts.shape(source)
        output = self._facts.shape(head.outputs[0].name)
        if shape is None or output is None or len(shape) != len(output) or len(shape) < 3:
            return None
        if shape[1] != output[1] or not isinstance(shape[1], int):
            return None
        region = frozenset(id(n) for n in nodes)
        results: list[tuple[tuple[Axis, ...], Array | None]] = []
        for sizes in self._sizes(nodes, source):
            try:
                results.append(self._located(head.outputs[0].name, source, sizes, region))
            except _Rejected:
                continue
            if results[-1][0] == ():
                return None
        if not results or any(not _same(r, results[0]) for r in results):
            return None
        axes, fill = results[0]
        step = self._context.step(head)
        conv = shifted(axes, shape[1], step)
        if fill is not None:
            conv = replace(conv, fill=Deferred.of(fill))
        inner = self._inner(head, nodes)
        steps = frozenset(self._context.step(n) for n in nodes)
        return Region(
            head.outputs[0].name, source, inner, AffineSum(((source, conv),), None, steps)
        )

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
            if role != "index" and (node is None or node.op not in _MOVED or node.domain):
                if role == "data":
                    sources.add(name)
                continue
            if role == "index" and (node is None or self._context.is_float(name)):
                return [], None
            assert node is not None
            found[id(node)] = node
            waiting += self._followed(node, role)
        if waiting or len(sources) != 1:
            return [], None
        return list(found.values()), sources.pop()

    def _followed(self, node: gs.Node, role: _Role) -> list[tuple[str, _Role]]:
        if node.op in ("Shape", "Size"):
            name = node.inputs[0].name
            return [(name, "shape" if self._context.is_float(name) else "index")]
        moved = _MOVED[node.op] if role != "index" else ()
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
                id(n) for n in nodes if id(n) in inner and any(
                    t.name in self._fixed or any(
                        id(r) in self._known and id(r) not in region for r in t.outputs
                    )
                    for t in n.outputs
                )
            }
            inner -= outside
            region -= outside
            changed = bool(outside)
        return frozenset(inner)

    # Sizes to try.

    def _sizes(self, nodes: list[gs.Node], source: str) -> Iterator[Sizes]:
        inside = {t.name for n in nodes for t in n.outputs}
        outside = [
            t.name for n in nodes for t in n.inputs
            if t.name not in inside and not self._facts.is_constant(t.name)
        ]
        roots = sorted({
            d.root for t in (source, *outside) for d in self._facts.shape(t) or ()
            if isinstance(d, Extent)
        })
        extents = {
            d for n in nodes for t in (*n.inputs, *n.outputs) for d in self._facts.shape(t.name) or ()
            if isinstance(d, Extent) and d.root in roots
        }
        if not roots:
            yield {}
            return
        baked = self._integers(nodes)
        start = 2 * max(baked, default=0) + 9
        for n in range(2):
            yield {r: (2 + n if self._is_batch(r) else start + 7 * n + i) for i, r in enumerate(roots)}
        options = [[2] if self._is_batch(r) else _fitting(r, extents, baked) or [start] for r in roots]
        for combination in itertools.islice(itertools.product(*options), _MAX_TRIES):
            yield dict(zip(roots, combination, strict=True))

    def _is_batch(self, root: str) -> bool:
        return any(
            (shape := self._facts.shape(t.name)) and isinstance(shape[0], Extent) and shape[0].root == root
            for t in self._context.inputs
        )

    def _integers(self, nodes: list[gs.Node]) -> set[int]:
        """Integers that the region's own constants hold, where a size may be baked in."""
        found: set[int] = set()
        for name in {t.name for n in nodes for t in n.inputs if self._facts.is_constant(t.name)}:
            value = self._facts.value(name)
            if value is not None and value.dtype.kind == "i" and value.size <= 64:
                found |= {abs(int(v)) for v in value.reshape(-1) if abs(int(v)) < 2**20}
            elif value is not None and value.dtype.kind == "f":
                found |= set(value.shape)
        return found

    # Running on labels.

    def _located(
        self, tensor: str, source: str, sizes: Sizes, region: frozenset[int]
    ) -> tuple[tuple[Axis, ...], Array | None]:
        shape = self._concrete(source, sizes)
        count = int(np.prod(shape))
        if count > _MAX_ELEMENTS:
            raise _Rejected
        bases = (2.0**40, 2.0**41)
        runs = [
            self._run(tensor, source, (base + np.arange(count, dtype=np.float64)).reshape(shape), sizes, region)
            for base in bases
        ]
        copied = runs[1] - runs[0] == bases[1] - bases[0]
        if not np.array_equal(runs[0][~copied], runs[1][~copied]):
            return (), None
        return _geometry((runs[0] - bases[0]).astype(np.int64), copied, runs[0], shape)

    def _concrete(self, name: str, sizes: Sizes) -> tuple[int, ...]:
        shape = self._facts.shape(name)
        if shape is None or any(isinstance(d, Extent) and d.root not in sizes for d in shape):
            raise _Rejected
        return tuple(d if isinstance(d, int) else d.at(sizes[d.root]) for d in shape)

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
                known[name] = self._facts.value(name)
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
            raise _Rejected
        return result

    def _evaluate(self, node: gs.Node, inputs: list[Values | None]) -> Sequence[Values]:
        origin = self._origin(node)
        assert origin is not None
        try:
            return run_node(origin, inputs, {"": self._context.opset})
        except Exception as error:  # whatever the reference operator says: not at these sizes
            raise _Rejected from error


def _fitting(root: str, extents: set[Extent], baked: set[int]) -> list[int]:
    """Sizes of the root at which some extent of it has a value that is baked in.

    Several sizes may give all extents the same values; one of them is enough.
    """
    own = sorted((e for e in extents if e.root == root), key=str)
    found: dict[tuple[int, ...], int] = {}
    for extent in own:
        for value in baked:
            # ⌊(up·(r − 1) + extent)/stride⌋ + 1 = value, for the smallest such r.
            r = -(-((value - 1) * extent.stride - extent.extent) // extent.up) + 1
            if r > 4 and extent.at(r) == value:
                found.setdefault(tuple(e.at(r) for e in own), r)
    return sorted(found.values())


def _same(a: tuple[tuple[Axis, ...], Array | None], b: tuple[tuple[Axis, ...], Array | None]) -> bool:
    if a[0] != b[0] or (a[1] is None) != (b[1] is None):
        return False
    return a[1] is None or b[1] is None or bool(np.array_equal(a[1], b[1]))


def _geometry(
    labels: Integers, copied: Flags, values: Array, shape: tuple[int, ...]
) -> tuple[tuple[Axis, ...], Array | None]:
    """Axes and fill that put the labels where they are; ((), None) where nothing does.

    labels  number of the source element that each output element is, where `copied`
    """
    nothing: tuple[tuple[Axis, ...], Array | None] = ((), None)
    out = labels.shape
    if out[:2] != shape[:2] or not copied.any():
        return nothing
    where = np.unravel_index(np.where(copied, labels, 0), shape)
    axes: list[Axis] = []
    held = np.ones(out, bool)
    expected = []
    for axis in range(2, len(out)):
        line = _line(where[axis], copied, axis)
        if line is None:
            return nothing
        found, inside = line
        geometry = _axis(found, inside, shape[axis], out[axis])
        if geometry is None:
            return nothing
        axes.append(geometry)
        view = [1] * len(out)
        view[axis] = out[axis]
        held = held & inside.reshape(view)
        expected.append(found.reshape(view))
    batch = np.arange(out[0]).reshape(-1, *[1] * (len(out) - 1))
    channel = np.arange(out[1]).reshape(1, -1, *[1] * (len(out) - 2))
    right = np.ravel_multi_index(
        np.broadcast_arrays(batch, channel, *(np.clip(e, 0, None) for e in expected)), shape
    )
    if not np.array_equal(copied, held) or not np.array_equal(labels[copied], right[held]):
        return nothing
    if held.all():
        return tuple(axes), None
    per_channel = [values[:, c][~held[:, c]] for c in range(out[1])]
    fill = np.asarray([v[0] for v in per_channel])
    if any(np.any(v != f) for v, f in zip(per_channel, fill, strict=True)):
        return nothing
    return tuple(axes), fill if np.any(fill) else None


def _line(positions: Integers, copied: Flags, axis: int) -> tuple[Integers, Flags] | None:
    """Source position per output position along one axis, and where there is one."""
    rest = tuple(i for i in range(positions.ndim) if i != axis)
    inside = copied.any(axis=rest)
    found = np.where(copied, positions, -1).max(axis=rest)
    return found, inside


def _axis(found: Integers, inside: Flags, length: int, out: int) -> Axis | None:
    extent = out - length
    at = np.arange(out)
    first = int(np.argmax(inside))
    offset = int(found[first]) - first
    if not inside.all():
        beyond = (at + offset >= 0) & (at + offset < length)
        return Axis(offset=offset, extent=extent) if np.array_equal(beyond, inside) else None
    modes: list[tuple[Edge, Callable[[Integers], Integers]]] = [
        ("zero", lambda p: p),
        ("wrap", lambda p: p % length),
        ("edge", lambda p: np.clip(p, 0, length - 1)),
        ("reflect", lambda p: length - 1 - np.abs(length - 1 - np.abs(p))),
    ]
    for edge, source in modes:
        for shift in range(-length + 1, length):
            if np.array_equal(source(at + shift), found):
                return Axis(offset=shift, extent=extent, edge=edge)
    return None
