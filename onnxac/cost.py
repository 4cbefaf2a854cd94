"""What operators cost, from shapes alone.

Time is a weighted sum of multiply-adds, elements moved and nodes started. The weights are
ONNX Runtime's on one core of a desktop CPU, measured by `make bench`; only their ratios
matter, since the plan compares costs of the same tensors with each other.
"""

from __future__ import annotations

from dataclasses import dataclass

# Nanoseconds. A dense multiply-add runs in a matrix kernel, a depthwise one does not.
_PER_DENSE_MAC = 0.03
_PER_LONE_MAC = 0.12
_PER_ELEMENT = 0.25
_PER_WEIGHT = 0.10
_PER_NODE = 2000.0

# Extents that are not known, for comparisons; ratios hardly depend on it.
NOMINAL_EXTENT = 64


@dataclass(frozen=True)
class Cost:
    """Multiply-adds (dense and depthwise), elements read and written, weights, nodes."""

    dense: float = 0.0
    lone: float = 0.0
    elements: float = 0.0
    weights: float = 0.0
    nodes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.dense + other.dense,
            self.lone + other.lone,
            self.elements + other.elements,
            self.weights + other.weights,
            self.nodes + other.nodes,
        )

    @property
    def macs(self) -> float:
        """All multiply-adds."""
        return self.dense + self.lone

    @property
    def time(self) -> float:
        """Estimated nanoseconds."""
        return (
            _PER_DENSE_MAC * self.dense
            + _PER_LONE_MAC * self.lone
            + _PER_ELEMENT * self.elements
            + _PER_WEIGHT * self.weights
            + _PER_NODE * self.nodes
        )


IMPOSSIBLE = Cost(nodes=float("inf"))


def total(costs: list[Cost]) -> Cost:
    """The sum of costs."""
    result = Cost()
    for cost in costs:
        result = result + cost
    return result
