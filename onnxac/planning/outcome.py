"""What planning comes to: changes, and what was left alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from onnxac.algebra import Obstacle, Sum
from onnxac.recipes.cost import Cost


@dataclass(frozen=True, slots=True)
class Blocked:
    """A substitution, or a whole node, that was left alone: `tensor` names its output."""

    tensor: str
    obstacle: Obstacle


@dataclass(frozen=True, slots=True)
class Redefinition:
    """A tensor that gets a new definition.

    wide  the widest element type that any part of it was computed in
    """

    tensor: str
    definition: Sum
    wide: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Redefinitions that hold only together: each relies on tensors the others make needless.

    eager  made though the estimate is against it
    """

    redefinitions: tuple[Redefinition, ...]
    before: Cost
    after: Cost
    eager: bool = False


@dataclass
class Plan:
    """What to change, in graph order, and what was left alone.

    aliases  tensor → the tensor that it equals, for those that nobody needs by name
    """

    changes: list[Change] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    blocked: list[Blocked] = field(default_factory=list)


@dataclass
class Outcome(Plan):
    """A plan for one region, and the time that the region takes under it."""

    time: float = 0.0

    @property
    def nodes(self) -> float:
        """How many nodes more there are than before."""
        return sum(c.after.nodes - c.before.nodes for c in self.changes)
