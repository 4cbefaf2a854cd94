"""What is written otherwise than the cost model would have it, by keys of changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from onnxac.report import inside


@dataclass(frozen=True)
class Forms:
    """Keys of changes.

    without     to leave out
    swapped     to write an upsampling of in its other form
    eager       to make though the estimate is against it
    everywhere  make all of these, as long as they are not out of proportion
    """

    without: frozenset[str] = frozenset()
    swapped: frozenset[str] = frozenset()
    eager: frozenset[str] = frozenset()
    everywhere: bool = False

    def within(self, place: str) -> Forms:
        """Those of one graph of the file, without its place."""
        without, swapped, eager = (
            frozenset(k for key in some if (k := inside(place, key)) is not None)
            for some in (self.without, self.swapped, self.eager)
        )
        return replace(self, without=without, swapped=swapped, eager=eager)

    def tries(self, tensors: Iterable[str]) -> bool:
        """Whether what ends in one of the tensors is made though the estimate is against it."""
        return self.everywhere or (bool(self.eager) and not self.eager.isdisjoint(tensors))
