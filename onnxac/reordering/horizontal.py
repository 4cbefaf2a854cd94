"""What it is worth to compute several branches of a Concat as one convolution.

Smaller kernels get zeros around them, and the weights say what that costs: on three branches
of 3x3, 5x5 and 7x7 over 3 channels the merged form was measured 1.2 to 1.4 times faster; over
32 channels it is 1.7 times slower.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxac.algebra import Axis, Obstacle
from onnxac.inference.dims import static
from onnxac.inference.facts import Facts
from onnxac.recipes.cost import Cost, total, window_cost
from onnxac.recipes.steps import size

# The estimate has to promise this much before a larger kernel is accepted.
_WORTH = 0.9
# Whatever it promises, the kernels must not consist of zeros for the most part.
_MOST = 3.0


@dataclass(frozen=True)
class Branch:
    """One operand of a Concat: `top` is what comes out before the chain."""

    top: gs.Tensor
    chain: tuple[gs.Node, ...]
    conv: gs.Node
    axes: tuple[Axis, ...]
    channels: int

    @property
    def end(self) -> gs.Tensor:
        """What the Concat reads."""
        return self.chain[-1].outputs[0] if self.chain else self.top

    @property
    def taps(self) -> int:
        """Weights per output and input channel."""
        return math.prod(a.taps for a in self.axes)


@dataclass(frozen=True)
class Stack:
    """Branches whose common operators were moved behind their Concat.

    tensor   output of the Concat that the branches now end in
    credit   what the merged convolution may cost more than the branches, by the estimate
    moved    nodes that became one with others
    partial  whether another Concat follows, of these branches and the others
    """

    tensor: str
    credit: Cost
    moved: tuple[gs.Node, ...] = ()
    partial: bool = False


def lengths(branch: Branch, facts: Facts) -> list[int | None]:
    """Extents of what a branch reads."""
    shape = facts.shape(branch.conv.inputs[0].name)
    return static(shape[2:]) if shape is not None else [None] * len(branch.axes)


def weigh(
    run: Sequence[Branch], facts: Facts, *, whole: bool, eager: bool = False
) -> Cost | Obstacle:
    """What merging may cost more in its parts, or why it would not pay.

    run    branches that read the same tensor, with the same chain behind them
    whole  whether they are all that the Concat reads, so that it goes
    eager  it is tried though the estimate is against it
    """
    axes = run[0].axes
    for branch in run[1:]:
        known = lengths(run[0], facts)
        axes = tuple(a.union(b, n) for a, b, n in zip(axes, branch.axes, known, strict=True))
    taps = math.prod(a.taps for a in axes)
    if taps > sum(b.taps for b in run):
        return Obstacle("stack", "the kernels of its branches hardly overlap")
    width = facts.shape(run[0].conv.inputs[0].name)
    channels = int(str(width[1])) if width is not None and isinstance(width[1], int) else 0
    outputs = [size(facts.shape(b.top.name)) for b in run]
    source = size(width)
    apart = total(
        window_cost(e, (b.channels, channels), 1, b.taps)
        + Cost(elements=source + e, nodes=1 + len(b.chain))
        for b, e in zip(run, outputs, strict=True)
    )
    merged = window_cost(sum(outputs), (sum(b.channels for b in run), channels), 1, taps)
    merged += Cost(elements=source + sum(outputs), nodes=1 + len(run[0].chain))
    if whole:
        apart += Cost(elements=2 * sum(size(facts.shape(b.end.name)) for b in run), nodes=1)
    worth = merged.time <= _WORTH * apart.time and merged.macs <= _MOST * apart.macs
    if not worth and not (eager and merged.is_worth_a_try(apart)):
        return Obstacle(
            "stack",
            f"as one convolution, {len(run)} of its branches would take "
            f"{merged.time / apart.time:.2f} of the time and {merged.macs / apart.macs:.1f} times "
            f"the multiply-adds, for the zeros in the kernel; worth it is up to "
            f"{_WORTH} and {_MOST}",
        )
    return Cost(
        macs=max(merged.macs - apart.macs, 0),
        computing=max(merged.computing - apart.computing, 0),
        weights=max(merged.weights - apart.weights, 0),
    )
