"""What operators cost, from shapes alone.

Time is a weighted sum of multiply-adds, elements moved, weights read and nodes started. The
weights are ONNX Runtime's on one core of a server CPU with 512-bit vectors; only their
ratios matter, since the plan compares costs of the same tensors with each other. They were
measured on convolutions of 3 to 512 channels and 7 to 56 pixels (`make bench` has the
table). Three observations are in them:

- A dense convolution works on blocks of 16 output channels. One block alone runs at 0.0139 ns
  per multiply-add, two at 0.0094, more at 0.0087; 3 channels take as long as 16.
- A depthwise multiply-add costs about as much as a dense one, but each output element costs
  another 0.15 ns.
- An elementwise operator is bound by the elements it moves, 0.05 ns each; a node costs 1 µs.

And of upsampling (`benchmarks/upsampling.py` has the table, and how often the estimate is right):

- A ConvTranspose is a matrix product, 0.0105 ns per multiply-add, whose columns are added up,
  0.3 ns each; to convolutions behind it, each output costs another 0.8 ns for its layout.
- Resize and DepthToSpace move elements one by one: 0.3 and 0.7 ns for each that they make.

`benchmarks/forms.py` times what competes, kind by kind, and says how often this is right.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

_BLOCK = 16
# Nanoseconds.
_PER_BLOCKED_MAC = {1: 0.0139, 2: 0.0094}
_PER_DENSE_MAC = 0.0087
_PER_LONE_MAC = 0.0090
_PER_LONE_OUTPUT = 0.15
_PER_ELEMENT = 0.05
_PER_WEIGHT = 0.05
_PER_NODE = 1000.0
_PER_GEMM_MAC = 0.0105
_PER_COLUMN = 0.3
_PER_REORDERED = 0.8
_PER_RESIZED = 0.3
_PER_BLOCK_ELEMENT = 0.7
# OpenVINO takes four times as long for attention's last product as a convolution of 1×64; ONNX
# Runtime as long as for the product.
_FLAT = 4.0
# ONNX Runtime lays out maps of two axes for its kernels, and none of one: from 64 to 512 channels
# the same window takes 1.1 to 1.75 times as long.
_ONE_AXIS = 1.15
# By how much an estimate may be off between unlike operators.
_CLEARLY = 1.15

# How far an estimate may be off, so that a form that it is against is measured where that is asked
# for; and how many times the multiply-adds that form may have.
_TRIED = 2.0
_MOST_MACS = 3.0

# Bytes that a node takes in a file, in weights of four bytes.
_WEIGHTS_PER_NODE = 25

# Extents that are not known, for comparisons; ratios hardly depend on it.
NOMINAL_EXTENT = 64


@dataclass(frozen=True, slots=True)
class Cost:
    """Multiply-adds, the nanoseconds they take, elements moved, weights and nodes.

    extra_weights, extra_nodes  as many of them are worth the time that they save
    """

    macs: float = 0.0
    computing: float = 0.0
    elements: float = 0.0
    weights: float = 0.0
    nodes: float = 0.0
    extra_weights: float = 0.0
    extra_nodes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return total((self, other))

    @property
    def time(self) -> float:
        """Estimated nanoseconds."""
        return (
            self.computing
            + _PER_ELEMENT * self.elements
            + _PER_WEIGHT * self.weights
            + _PER_NODE * self.nodes
        )

    @property
    def size(self) -> float:
        """What it takes in a file, in weights; without what is worth its time."""
        return self.weights - self.extra_weights + _WEIGHTS_PER_NODE * self.counted

    @property
    def counted(self) -> float:
        """Nodes, without those that are worth their time."""
        return self.nodes - self.extra_nodes

    def is_within(self, other: Cost) -> bool:
        """Whether it is no dearer than the other in time, multiply-adds, file size and nodes."""
        return (
            self.time <= other.time
            and self.macs <= other.macs
            and self.size <= other.size
            and self.counted <= other.counted
        )

    def is_worth_a_try(self, other: Cost) -> bool:
        """Whether it may be the faster one for all that, and is not out of proportion."""
        return (
            self.time <= _TRIED * other.time
            and self.macs <= _MOST_MACS * other.macs
            and self.counted <= other.counted
        )


IMPOSSIBLE = Cost(nodes=math.inf)
NOTHING = Cost()
# A form with one node more has to save this much: less is not seen where maps are small.
ONE_MORE = Cost(computing=50_000.0, extra_nodes=1.0)


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of costs."""
    macs = computing = elements = weights = nodes = extra_weights = extra_nodes = 0.0
    for cost in costs:
        macs += cost.macs
        computing += cost.computing
        elements += cost.elements
        weights += cost.weights
        nodes += cost.nodes
        extra_weights += cost.extra_weights
        extra_nodes += cost.extra_nodes
    return Cost(macs, computing, elements, weights, nodes, extra_weights, extra_nodes)


def window_cost(outputs: float, channels: tuple[int, int], group: int, taps: float) -> Cost:
    """Computing one convolution.

    outputs   elements of the result
    channels  (out, in)
    taps      weights per output and input channel that meet data; for a transposed
              convolution a fraction of the kernel
    """
    out, width = channels
    macs = outputs * (width / group) * taps
    weights = out * (width // group) * taps
    if group == width > 1:
        computing = _PER_LONE_MAC * macs + _PER_LONE_OUTPUT * outputs
    else:
        blocks = math.ceil(out / group / _BLOCK)
        padded = blocks * _BLOCK * group / out
        computing = _PER_BLOCKED_MAC.get(blocks, _PER_DENSE_MAC) * macs * padded
    return Cost(macs=macs, computing=computing, weights=weights)


def transposed_cost(
    outputs: float, channels: tuple[int, int], group: int, taps: int, up: int
) -> Cost:
    """Computing one transposed convolution.

    outputs   elements of the result
    channels  (out, in)
    taps      weights per output and input channel, of which one in `up` meets data
    """
    out, width = channels
    columns = outputs * taps / up
    macs = columns * (width / group)
    computing = _PER_GEMM_MAC * macs + _PER_COLUMN * columns + _PER_REORDERED * outputs
    return Cost(macs=macs, computing=computing, weights=out * (width // group) * taps)


def resize_cost(read: float, made: float) -> Cost:
    """Making a tensor longer."""
    return Cost(computing=_PER_RESIZED * made, elements=read + made, nodes=1)


def block_cost(elements: float) -> Cost:
    """Bringing elements from channels to space, or a part of them out of it."""
    return Cost(computing=_PER_BLOCK_ELEMENT * elements, elements=2 * elements, nodes=1)


def flat(cost: Cost) -> Cost:
    """The cost of a convolution over whole axes, which a product of matrices computes as well."""
    return replace(cost, computing=_FLAT * cost.computing)


def over_one_axis(cost: Cost) -> Cost:
    """The cost of a window over a map of one axis, given that of the same over two."""
    return replace(cost, computing=_ONE_AXIS * cost.computing)


def reluctant(cost: Cost) -> Cost:
    """The cost of a form that is taken only where it is clearly faster."""
    return replace(cost, computing=_CLEARLY * cost.computing)
