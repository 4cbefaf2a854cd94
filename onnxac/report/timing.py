"""What a measurement says of one change: a value beside the change in the report."""

from __future__ import annotations

from dataclasses import dataclass

# The rule of a refusal that tells of a change which was measured to be slower.
SLOWER = "slower"


@dataclass(frozen=True)
class Timing:
    """Milliseconds of the nodes that a change replaces, and of those that it put there.

    Medians of `runs` runs of each, interleaved, one thread, in ONNX Runtime. `other_ms` is of the
    other form that the change could have taken, None where there is no other.
    """

    before_ms: float
    after_ms: float
    runs: int
    other_ms: float | None = None


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference in ONNX Runtime, before and after, interleaved."""

    before_ms: float
    after_ms: float
    before_spread_ms: float
    after_spread_ms: float
    ratio: float
    runs: int
    threads: int
    provider: str
