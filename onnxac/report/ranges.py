"""How well a model quantizes: ranges of its weights and of what flows between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnxac.report.nodes import NodeRef

# How many of the worst are named.
WORST = 10


@dataclass(frozen=True)
class WeightRange:
    """The largest magnitude of a weight, in terms of its root mean square.

    An integer type of b bits leaves that many times less for the mean weight: the quotient of
    signal and noise falls by 20·log₁₀ of the ratio, in decibels.

    weight    name of the initializer
    ratio     of the weight as a whole, as it is quantized per tensor
    channels  of each output channel by itself, as it is quantized per channel
    """

    node: NodeRef
    weight: str
    ratio: float
    channels: tuple[float, ...]


@dataclass(frozen=True)
class ActivationRange:
    """The smallest and the largest value of each channel of a tensor, over the given inputs."""

    tensor: str
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """How many times the widest channel is as wide as the mean one."""
        ranges = [max(abs(a), abs(b)) for a, b in zip(self.low, self.high, strict=True)]
        mean = sum(ranges) / max(len(ranges), 1)
        return max(ranges, default=0.0) / mean if mean else 0.0


@dataclass(frozen=True)
class Widened:
    """A merged kernel whose range is wider than that of each branch.

    ratio     of the merged kernel, largest magnitude to root mean square
    branches  of each branch that has a weight, with its normalization
    """

    node: NodeRef
    ratio: float
    branches: tuple[float, ...]


@dataclass(frozen=True)
class Ranges:
    """Of one model. There are activations only where inputs were given."""

    weights: tuple[WeightRange, ...]
    activations: tuple[ActivationRange, ...] = ()

    @property
    def worst(self) -> Sequence[WeightRange]:
        """The weights with the widest ranges, the widest first."""
        return sorted(self.weights, key=lambda w: -w.ratio)[:WORST]

    @property
    def worst_activations(self) -> Sequence[ActivationRange]:
        """The tensors whose channels differ most, the worst first."""
        return sorted(self.activations, key=lambda a: -a.ratio)[:WORST]


@dataclass(frozen=True)
class Quantization:
    """Both models, and where merging made a range wider."""

    before: Ranges
    after: Ranges
    widened: tuple[Widened, ...] = ()
