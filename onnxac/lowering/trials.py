"""Sizes at which a region with dynamic extents is tried (`relocation`), and whether they tell all.

That is so where what is computed of extents is one rule at all sizes: moved, or smooth. Rounding,
a remainder and the larger of two are other rules at other sizes, unless it follows from the
shapes what they come to.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import onnx_graphsurgeon as gs

from onnxac.inference.dims import Extent
from onnxac.lowering.context import Context

# Larger blocks of space to depth are not looked for where sizes are dynamic.
_LARGEST_BLOCK = 16
_MAX_TRIES = 256

_SMOOTH = {
    "Shape", "Size", "Gather", "GatherND", "GatherElements", "Slice", "Split", "Concat", "Squeeze",
    "Unsqueeze", "Reshape", "Flatten", "Transpose", "Identity", "Cast", "Expand", "Tile", "Pad",
    "ConstantOfShape", "Range", "ScatterND", "ScatterElements", "Add", "Sub", "Mul", "Neg",
}  # fmt: skip
# Where it is known what comes of these, it is one of their operands.
_CHOOSING = {"Where", "Max", "Min", "Equal"}
# Sizes of all residues tell what these do.
_ROUNDING = {"Div", "Mod"}

# Root → size.
Sizes = dict[str, int]


class TrialSizes:
    """Sizes for the roots of what a region reads; {} alone where all is static."""

    def __init__(self, context: Context) -> None:
        self._context, self._facts = context, context.facts

    def _roots(self, nodes: list[gs.Node], source: str) -> list[str]:
        """What the sizes of the region's inputs are formulas of."""
        inside = {t.name for n in nodes for t in n.outputs}
        outside = [
            t.name
            for n in nodes
            for t in n.inputs
            if t.name not in inside and not self._facts.is_constant(t.name)
        ]
        return sorted(
            {
                root
                for t in (source, *outside)
                for d in self._facts.shape(t) or ()
                if isinstance(d, Extent)
                for root in d.names()
            }
        )

    def tell(self, nodes: list[gs.Node], source: str, *, rounded: bool = False) -> bool:
        """Whether the sizes tell what the nodes make of extents.

        rounded  all residues are tried
        """
        return not self._roots(nodes, source) or all(
            self._is_one_rule(n) or (rounded and n.op in _ROUNDING) for n in nodes
        )

    def _is_one_rule(self, node: gs.Node) -> bool:
        if node.op in _SMOOTH or self._context.is_float(node.outputs[0].name):
            return True
        symbols = [self._facts.symbol(t.name) for t in node.outputs if t.name]
        entries = [e for s in symbols for e in (s or (None,))]
        if node.op in _CHOOSING:
            return None not in entries
        # Nothing is rounded in a formula of stride 1.
        return all(e.stride == 1 if isinstance(e, Extent) else e is not None for e in entries)

    def varied(self, nodes: list[gs.Node], source: str) -> Iterator[Sizes]:
        """Sizes that are larger than what is baked in, then those that it may be baked in for."""
        roots = self._roots(nodes, source)
        extents = {
            d
            for n in nodes
            for t in (*n.inputs, *n.outputs)
            for d in self._facts.shape(t.name) or ()
            if isinstance(d, Extent) and d.root in roots
        }
        if not roots:
            yield {}
            return
        baked = self._integers(nodes)
        start = 2 * max(baked, default=0) + 9
        # Of any two extents, each is the larger one once.
        for n, place in ((0, 1), (1, -5)):
            yield {
                r: 2 + n if self._is_batch(r) else start + n * (7 + 5 * len(roots)) + place * i
                for i, r in enumerate(roots)
            }
        options = [
            [2] if self._is_batch(r) else _fitting(r, extents, baked) or [start] for r in roots
        ]
        for combination in itertools.islice(itertools.product(*options), _MAX_TRIES):
            yield dict(zip(roots, combination, strict=True))

    def residues(self, nodes: list[gs.Node], source: str) -> Iterator[Sizes]:
        """Sizes that stand for all: one for each residue that a stride could tell apart."""
        roots = self._roots(nodes, source)
        if not roots:
            yield {}
            return
        baked = self._integers(nodes)
        block = math.lcm(*(b for b in baked if 1 < b <= _LARGEST_BLOCK))
        block = block if block <= _LARGEST_BLOCK**2 else _LARGEST_BLOCK
        start = block * (2 * max(baked, default=0) // block + 2)
        for more in range(min(max(block, 2), _LARGEST_BLOCK)):
            places = range(len(roots)) if more % 2 else reversed(range(len(roots)))
            yield {
                r: 2 if self._is_batch(r) else start + block * i + more
                for i, r in zip(places, roots, strict=True)
            }

    def _is_batch(self, root: str) -> bool:
        return any(
            (shape := self._facts.shape(t.name))
            and isinstance(shape[0], Extent)
            and shape[0].root == root
            for t in self._context.inputs
        )

    def _integers(self, nodes: list[gs.Node]) -> set[int]:
        """Integers that the region's own constants hold, where a size may be baked in."""
        found: set[int] = set()
        for name in {t.name for n in nodes for t in n.inputs if self._facts.is_constant(t.name)}:
            value = self._facts.value(name)
            if value is not None and value.dtype.kind == "i" and 0 < value.size <= 64:
                # Of indices that count up only the end is a size.
                held = value.reshape(-1) if value.size <= 16 else [value.max(), value.max() + 1]
                found |= {abs(int(v)) for v in held if abs(int(v)) < 2**20}
            elif value is not None and value.dtype.kind == "f":
                found |= set(value.shape)
        return found


def _fitting(root: str, extents: set[Extent], baked: set[int]) -> list[int]:
    """Sizes of the root at which some extent of it has a value that is baked in.

    Several sizes may give all extents the same values; one of them is enough.
    """
    own = sorted((e for e in extents if e.root == root and e.up > 0), key=str)
    found: dict[tuple[int, ...], int] = {}
    for extent in own:
        for value in baked:
            # ⌊(up·(r − 1) + extent)/stride⌋ + 1 = value, for the smallest such r.
            r = -(-((value - 1) * extent.stride - extent.extent) // extent.up) + 1
            if r > 4 and extent.at(r) == value:
                found.setdefault(tuple(e.at(r) for e in own), r)
    return sorted(found.values())
