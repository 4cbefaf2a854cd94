"""Whether two models compute the same: one verdict, for the page, the terminal and Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from onnxac.render import numbers
from onnxac.render.safe import one_line
from onnxac.report import DIFFERENT, EQUAL, NOT_RUN, NOT_SHOWN, OutputDifference, Verification

DIFFERS, UNKNOWN = "differs", "unknown"


@dataclass(frozen=True)
class Verdict:
    """What was found, and how.

    state  EQUAL, DIFFERS or UNKNOWN
    short  what was found: equal within 3.4e-7
    how    where and how often: on the output (tolerance 9.5e-7), 5 runs
    """

    state: str
    short: str
    how: str = ""

    @property
    def sentence(self) -> str:
        """All of it: equal within 3.4e-7 on the output (tolerance 9.5e-7), 5 runs."""
        return f"{self.short} {self.how}".rstrip()

    @property
    def headline(self) -> str:
        """What was found, as a sentence of its own: Equal within 3.4e-7."""
        return f"{self.short[0].upper()}{self.short[1:]}."

    @property
    def mark(self) -> str:
        """One character that says it."""
        return {EQUAL: "✓", DIFFERS: "✗", UNKNOWN: "!"}[self.state]


def verdict(verification: Verification | None) -> Verdict:
    """The verdict on what was run; None where nothing was."""
    if verification is None:
        return Verdict(UNKNOWN, "not verified")
    if verification.verdict == NOT_RUN:
        return Verdict(UNKNOWN, "not run as a whole:", one_line(verification.unrun))
    if verification.verdict == EQUAL and not verification.runs and not verification.outputs:
        return Verdict(EQUAL, "equal", "by construction: nothing behind the outputs was changed")
    worst = verification.worst
    runs = numbers.plural(verification.runs, "run")
    if verification.verdict == DIFFERENT and (worst is None or is_within(worst)):
        # What differs is inside, or the second model does not run at all.
        return Verdict(DIFFERS, "different", f"in {runs}: {one_line(verification.difference)}")
    if verification.verdict == NOT_SHOWN:
        why = "; ".join(verification.unseen)
        return Verdict(UNKNOWN, "not shown to be equal", f"in {runs}: {one_line(why)}")
    if worst is None:
        return Verdict(UNKNOWN, "nothing could be compared")
    which = "on every output" if len(verification.outputs) > 1 else "on the output"
    if all(o.max_abs == 0 for o in verification.outputs):
        return Verdict(EQUAL, "equal to the bit", f"{which}, {runs}")
    state, verb = (EQUAL, "equal within") if verification.passed else (DIFFERS, "different by")
    off, allowed = worst.texts()
    at = f" in {verification.precision}" if verification.precision else ""
    return Verdict(state, f"{verb} {off}", f"{which} (tolerance {allowed}{at}), {runs}")


def is_within(output: OutputDifference) -> bool:
    """Whether an output keeps its tolerance; a difference that is no number does not."""
    return output.relative <= output.tolerance


def difference(output: OutputDifference) -> str:
    """How far an output is off, and how far it may be: 2.1e-7 of 1e-5 allowed."""
    off, allowed = output.texts()
    return f"{off} of {allowed} allowed"
