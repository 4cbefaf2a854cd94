"""What equalizing did: a value beside the fusions in the report."""

from __future__ import annotations

from dataclasses import dataclass

from onnxac.report.certificate import Certificate
from onnxac.report.nodes import NodeRef


@dataclass(frozen=True)
class ScaledTensor:
    """A tensor that was divided by one positive factor per channel, under a new name.

    before, after  its name in both models
    axis           of the channels, counted from the end: -1 is the last one
    factors        by which `after` is smaller than `before`, [channels]
    """

    before: str
    after: str
    axis: int
    factors: tuple[float, ...]


@dataclass(frozen=True)
class Equalization:
    """Tensors whose channels share factors, and the nodes around them.

    tensor   the first of them, by its name before: the name of this change
    powers   all factors are powers of two, so that nothing is rounded
    tensors  all of them, in graph order
    makers   nodes whose weights have their rows divided
    passing  nodes that hand the factors on
    readers  nodes whose weights have their columns multiplied
    """

    tensor: str
    powers: bool
    tensors: tuple[ScaledTensor, ...]
    makers: tuple[NodeRef, ...]
    passing: tuple[NodeRef, ...]
    readers: tuple[NodeRef, ...]
    certificate: Certificate | None = None

    @property
    def key(self) -> str:
        """What tells this change from all others of a report, fusions included."""
        return f"factors of {self.tensor}"
