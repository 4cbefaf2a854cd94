"""What is known of one change, and how: a value beside the change in the report."""

from __future__ import annotations

from dataclasses import dataclass

HOLDS, FAILS, OPEN = "holds", "fails", "open"
# The rule of a refusal that tells of a change which was left out.
DROPPED = "certificate"


@dataclass(frozen=True)
class CertifiedSource:
    """One tensor that a change begins with, and the shapes that it was given.

    shapes  what was tried, one shape after the other
    least   per axis, the size from which on the certificate holds; None where the axis
            has the size that it has in the model, and the certificate is of that size only
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    least: tuple[int | None, ...]


@dataclass(frozen=True)
class Certificate:
    """What is known of one change, from the two graphs alone.

    verdict     "holds", "fails", or "open" where it can't be said
    reason      a sentence, unless it holds
    sources     where the change begins, and at which sizes it was tried
    entries     how many entries of both affine maps were read and compared, each for itself
    worst       the largest difference, in terms of what rounding may account for; at most 1
    unit        unit roundoff of the type that the new weights are stored in
    false_pass  how likely a wrong map passes at most; 0 where every entry was read
    seconds     time that it took
    elements    numbers that were computed for it
    """

    verdict: str
    reason: str | None
    sources: tuple[CertifiedSource, ...]
    entries: int
    worst: float
    unit: float
    false_pass: float
    seconds: float
    elements: int

    @property
    def holds(self) -> bool:
        """Whether both ways were shown to compute the same."""
        return self.verdict == HOLDS
