"""An axis of a tensor, as far as its length is concerned.

It is an `int`, a length that has to be what it is, or a `Span`, whose length is free. What is
contracted, normalized, indexed or reshaped is not free: its roots are noted as mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from onnxac.proof.certificate import spans
from onnxac.proof.certificate.calls import Call
from onnxac.proof.certificate.spans import Reach, Root, Span

Axis = int | Span
Axes = tuple[Axis, ...]


def length(axis: Axis) -> int:
    """How many positions an axis has."""
    return axis.length if isinstance(axis, Span) else axis


@dataclass
class Scope:
    """What is found out while axes are followed.

    exact     whether the sizes are the model's own, so that nothing need hold at others
    parted    whether axes are followed into the blocks that a Reshape parts them into; `exact` only
    mixed     roots that turned out not to be free
    averaged  roots whose positions all count the same, as their sum or mean is taken
    needed    the size that a root has to have, where weights say so
    """

    exact: bool
    parted: bool = False
    mixed: set[Root] = field(default_factory=set)
    averaged: set[Root] = field(default_factory=set)
    needed: dict[Root, int] = field(default_factory=dict)

    def mix(self, axis: Axis, need: int | None = None) -> int:
        """The length of an axis that is not free any more, and that has to have `need`."""
        if not isinstance(axis, Span):
            return axis
        self.mixed |= axis.roots
        if need is not None:
            for root, reach in axis.reach.items():
                if reach == Reach():
                    self.needed.setdefault(root, need)
        return axis.length

    def average(self, axis: Axis) -> None:
        """Take the sum or mean along an axis: its positions stay alike, if they were."""
        plain = isinstance(axis, Span) and set(axis.reach.values()) == {Reach()}
        if plain and isinstance(axis, Span) and not axis.left + axis.right:
            self.averaged |= axis.roots
        else:
            self.mix(axis)

    def joined(self, axes: Sequence[Axis]) -> Axis:
        """Axes that meet in one position, by the rule of broadcasting."""
        free = [a for a in axes if isinstance(a, Span)]
        whole = {a for a in axes if not isinstance(a, Span) and a != 1}
        if whole:
            # Constants along it tell its positions apart.
            for span in free:
                self.mix(span, max(whole))
            return max(whole | {s.length for s in free})
        if not free:
            return 1
        result: Span = free[0]
        for other in free[1:]:
            both = spans.together(result, other)
            if both is None:
                self.mix(result)
                self.mix(other)
                return result.length
            result = both
        return result


# A rule is given a node, the axes of its inputs (none for a constant), their names, and the names
# that are written down in the model rather than computed from a size; it returns the axes of each
# output.
Rule = Callable[[Scope, Call, Sequence[Axes], Sequence[str], frozenset[str]], list[Axes]]
