"""Which feeds to compare on: shapes, kinds of values, seeds; the cheap and telling ones first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from onnxac.proof.running.feeds import INTEGER_RANGES, Fill, Shape
from onnxac.proof.running.signature import Signature, Size, has_integers, unique_shapes

# A model that is dynamic by its declaration only (a batch baked into a Reshape) runs at
# one of these or at none. Small first: most run at the first, and a verification's cost is here.
BATCHES = (1, 2, 4, 8)
EXTENTS = (32, 64, 16, 128, 224, 8, 256, 512, 640, 1)
# How much longer the long side of a long and narrow input is than the first size, and from
# which size on it is no longer that much.
FAR, LARGE = 5, 64


@dataclass(frozen=True)
class Run:
    """One comparison to make: the shapes of all inputs, and how they are filled.

    others  shapes to take instead, in this order, where the original rejects `shapes`
    file    real inputs, in place of made-up ones
    """

    shapes: dict[str, Shape]
    fill: Fill
    others: tuple[dict[str, Shape], ...] = ()
    file: Path | None = None

    def alternatives(self) -> Iterator[Run]:
        """This run at its own shapes, and at the others."""
        for shapes in (self.shapes, *self.others):
            yield replace(self, shapes=shapes, others=())


def first_runs(signature: Signature, given: Mapping[str, Shape]) -> Iterator[Run]:
    """Candidates for the first comparison: the first that the original runs is taken."""
    sizes = [Size(b, (e, e)) for b, e in itertools.product(BATCHES, EXTENTS)]
    # The state of a recurrent network has its batch on axis 1, often without a name.
    sizes += [Size(1, (e, 1)) for e in EXTENTS]
    ranges = INTEGER_RANGES if has_integers(signature) else INTEGER_RANGES[:1]
    for shapes in unique_shapes(signature, given, sizes):
        for integers in ranges:
            yield Run(shapes, Fill(integers=integers))


def further_runs(
    signature: Signature, given: Mapping[str, Shape], first: Run, seeds: int
) -> list[Run]:
    """What to compare after `first`, at its shapes and at others where extents are free.

    The other sizes have odd and even heights and widths in all combinations and all rests
    modulo 4. Two are long and narrow, one each way: they are far beyond the first size and far
    below it, and cost what it costs. A network that downsamples takes the like of multiples.
    """
    e = next((n for n in EXTENTS if _is_at(signature, given, first, n)), EXTENTS[0])
    far = FAR * e if e <= LARGE else 2 * e
    near = e // 4
    choices = [
        [Size(2, (e + 1, e + 2))],
        [Size(3, (e + 3, e + 5))],
        [Size(1, (e + 2, e + 7))],
        [Size(1, (far + 1, near + 1)), Size(1, (far, e))],
        [Size(1, (near + 3, far + 3)), Size(1, (e, far))],
    ]
    integers = first.fill.integers
    others: list[Run] = []
    for sizes in choices:
        shapes = [s for s in unique_shapes(signature, given, sizes) if s != first.shapes]
        if shapes and shapes[0] not in [o.shapes for o in others]:
            fill = Fill("normal", seeds + len(others), integers)
            others.append(Run(shapes[0], fill, tuple(shapes[1:])))
    return [
        *others,
        *(Run(first.shapes, Fill(kind, 0, integers)) for kind in ("bytes", "zeros", "sparse")),
        *(Run(first.shapes, Fill("normal", seed, integers)) for seed in range(1, seeds)),
        Run(first.shapes, Fill("unit", seeds, integers)),
    ]


def _is_at(signature: Signature, given: Mapping[str, Shape], run: Run, extent: int) -> bool:
    return any(
        run.shapes == shapes
        for shapes in unique_shapes(signature, given, [Size(b, (extent, extent)) for b in BATCHES])
    )
