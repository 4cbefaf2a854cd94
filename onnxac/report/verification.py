"""What came of running two models side by side."""

from __future__ import annotations

import decimal
import math
from dataclasses import dataclass

# Verdicts on two models.
EQUAL, DIFFERENT, NOT_SHOWN, NOT_RUN = "equal", "different", "not shown", "not run"
# Of a float64, as many as tell any two apart.
_DIGITS = 17


@dataclass(frozen=True)
class OutputDifference:
    """How far one output of the two models is apart.

    `max_abs` is the largest absolute difference, `scale` the output's largest
    magnitude, `relative` their ratio, `tolerance` what `relative` may be.
    """

    name: str
    max_abs: float
    scale: float
    relative: float
    tolerance: float

    def texts(self) -> tuple[str, str]:
        """`relative`, rounded up, and `tolerance`, in the digits that show which is larger.

        Two of them, unless the texts would contradict the numbers: 3.4e-7 and 9.5e-7.
        """
        off, allowed = str(self.relative), f"{self.tolerance:.2g}".replace("e-0", "e-")
        for digits in range(2, _DIGITS + 1) if math.isfinite(self.relative) else ():
            context = decimal.Context(prec=digits, rounding=decimal.ROUND_CEILING)
            rounded = float(context.create_decimal(repr(self.relative)))
            allowed = f"{self.tolerance:.{digits}g}".replace("e-0", "e-")
            mantissa, _, exponent = f"{rounded:.{digits - 1}e}".partition("e")
            off = f"{float(mantissa):g}e{int(exponent)}" if rounded else "0"
            if (rounded > float(allowed)) == (self.relative > self.tolerance):
                break
        return off, allowed


def _distance(output: OutputDifference) -> float:
    """How far an output is off, in tolerances; beyond all where that is no number."""
    if output.relative <= output.tolerance == 0:
        return 0.0
    ratio = output.relative / output.tolerance if output.tolerance else math.inf
    return math.inf if math.isnan(ratio) else ratio


@dataclass(frozen=True, repr=False)
class Verification:
    """The comparison of two models in ONNX Runtime, graph optimizations off.

    outputs     the worst case over all runs, one entry per output
    runs        how many feeds both models ran on
    skipped     in a sentence each, what was left out: sizes that the first model itself
                rejects, ties, random numbers
    inner       as `outputs`, of tensors inside both models
    unseen      in a sentence each, outputs that nothing was shown about: empty, constant or
                nowhere finite in every run, or too ill-conditioned to judge
    unrun       why the models could not be run as a whole; empty where they could
    difference  what differs, in a line; empty where nothing does
    precision   the type whose roundings were allowed for, where that is coarser than the outputs'
    """

    outputs: tuple[OutputDifference, ...]
    runs: int
    shapes: tuple[dict[str, tuple[int, ...]], ...]
    runtime: str
    skipped: tuple[str, ...] = ()
    inner: tuple[OutputDifference, ...] = ()
    unseen: tuple[str, ...] = ()
    unrun: str = ""
    difference: str = ""
    precision: str | None = None

    @property
    def worst(self) -> OutputDifference | None:
        """The output that is furthest off in terms of its tolerance."""
        return max(self.outputs, key=_distance, default=None)

    @property
    def verdict(self) -> str:
        """`EQUAL`, `DIFFERENT`, `NOT_SHOWN` or `NOT_RUN`."""
        # Written so that NaN, which is neither above nor below, is a difference.
        within = all(o.relative <= o.tolerance for o in (*self.outputs, *self.inner))
        if self.difference or not within:
            return DIFFERENT
        if self.unrun:
            return NOT_RUN
        return NOT_SHOWN if self.unseen else EQUAL

    @property
    def passed(self) -> bool:
        """Whether the two models are equal."""
        return self.verdict == EQUAL

    def __str__(self) -> str:
        from onnxac.report import shown

        return shown.text_of(self)

    def __repr__(self) -> str:
        return f"<Verification: {self.verdict}, {self.runs} runs>"
