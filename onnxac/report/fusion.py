"""What was merged, and what was left alone.

All shapes are in ONNX order. A kernel is given by its spatial taps only; the channel counts
stand beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnxac.report.certificate import Certificate
from onnxac.report.nodes import NodeRef
from onnxac.report.timing import Timing


@dataclass(frozen=True)
class Branch:
    """One summand that went into a fused operator.

    nodes     the nodes along this branch, from the source to the sum
    taps      its own kernel's spatial size, e.g. (1, 3)
    dilation  in cells of the fused kernel's lattice, per spatial axis
    origin    cell of the fused kernel that its first tap lands on
    group     its own group
    """

    nodes: tuple[NodeRef, ...]
    taps: tuple[int, ...]
    dilation: tuple[int, ...]
    origin: tuple[int, ...]
    group: int


@dataclass(frozen=True)
class FusedOperator:
    """One operator that a fusion emitted, and the branches that are in it."""

    node: NodeRef
    source: str
    in_channels: int
    out_channels: int
    taps: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[int, ...]
    group: int
    branches: tuple[Branch, ...]


@dataclass(frozen=True)
class Fusion:
    """Nodes that became fewer nodes, around one output tensor.

    `removed` and `added` name nodes of the graph before and after; `macs_before`
    and `macs_after` count the nodes concerned only. `kinds` are those of the rewrites in it, as
    `--without` and `onnxac.kinds` name them. `certificate` says what was shown of
    it, None where nobody looked. `place` is the body that it is in, "then_branch of If_3", "" for
    the main graph. `timing` is what was measured of it, where that was asked for.
    """

    output: str
    removed: tuple[NodeRef, ...]
    added: tuple[NodeRef, ...]
    operators: tuple[FusedOperator, ...]
    macs_before: int | None
    macs_after: int | None
    certificate: Certificate | None = None
    kinds: tuple[str, ...] = ()
    place: str = ""
    timing: Timing | None = None

    @property
    def key(self) -> str:
        """What tells this change from all others of a report."""
        return f"{self.place}: {self.output}" if self.place else self.output


def inside(place: str, key: str) -> str | None:
    """The key of a change without the place that it is in; None for one of another body.

    A key of a change in the main graph is returned as it is there, whatever it looks like.
    """
    if not place:
        return key
    beginning = f"{place}: "
    return key.removeprefix(beginning) if key.startswith(beginning) else None


@dataclass(frozen=True)
class Refusal:
    """A candidate that was left alone: which node, which rule, and a sentence why.

    place  the body that the node is in, as that of a `Fusion`
    """

    node: NodeRef
    rule: str
    reason: str
    place: str = ""
