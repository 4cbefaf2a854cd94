"""Which feeds to compare on: shapes, kinds of values, seeds; the cheap and telling ones first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from onnxac.proof.feeds import (
    INTEGER_RANGES,
    Feed,
    Fill,
    Shape,
    Signature,
    Size,
    has_integers,
    make_feeds,
    unique_shapes,
)

# A model that is dynamic by its declaration only (a batch baked into a Reshape) runs at
# one of these or at none. Small first: most run at the first, and a verification's cost is here.
BATCHES = (1, 2, 4, 8)
EXTENTS = (32, 64, 16, 128, 224, 8, 256, 512, 640, 1)


@dataclass(frozen=True)
class Run:
    """One comparison to make: the shapes of all inputs, and how they are filled."""

    shapes: dict[str, Shape]
    fill: Fill

    def feeds(self, signature: Signature) -> dict[str, Feed]:
        """The arrays; the same ones each time."""
        return make_feeds(signature, self.shapes, self.fill)


def first_runs(signature: Signature, given: Mapping[str, Shape]) -> Iterator[Run]:
    """Candidates for the first comparison: the first that the original runs is taken."""
    sizes = [Size(b, (e, e)) for b, e in itertools.product(BATCHES, EXTENTS)]
    ranges = INTEGER_RANGES if has_integers(signature) else INTEGER_RANGES[:1]
    for shapes in unique_shapes(signature, given, sizes):
        for integers in ranges:
            yield Run(shapes, Fill(integers=integers))


def further_runs(
    signature: Signature, given: Mapping[str, Shape], first: Run, seeds: int
) -> list[Run]:
    """What to compare after `first`, at its shapes and at others where extents are free.

    The other sizes have odd and even heights and widths in all combinations, with all
    rests modulo 4 and one extent that is doubled, as networks that downsample ask for it.
    """
    e = next((n for n in EXTENTS if _is_at(signature, given, first, n)), EXTENTS[0])
    sizes = [
        Size(2, (e + 1, e + 2)),
        Size(3, (e + 3, e + 5)),
        Size(1, (e + 2, e + 7)),
        Size(2, (2 * e, e)),
    ]
    others = [s for s in unique_shapes(signature, given, sizes) if s != first.shapes]
    low_high = first.fill.integers
    return [
        *(Run(shapes, Fill("normal", seeds + i, low_high)) for i, shapes in enumerate(others)),
        Run(first.shapes, Fill("zeros", 0, low_high)),
        Run(first.shapes, Fill("sparse", 0, low_high)),
        *(Run(first.shapes, Fill("normal", seed, low_high)) for seed in range(1, seeds)),
    ]


def _is_at(signature: Signature, given: Mapping[str, Shape], run: Run, extent: int) -> bool:
    return any(
        run.shapes == shapes
        for shapes in unique_shapes(signature, given, [Size(b, (extent, extent)) for b in BATCHES])
    )
