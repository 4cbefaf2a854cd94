"""Whether two models compute the same: one verdict, for the page, the terminal and Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from onnxac.render import numbers
from onnxac.report import OutputDifference, Verification

EQUAL, DIFFERS, UNKNOWN = "equal", "differs", "unknown"


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
    worst = verification.worst
    if worst is None:
        return Verdict(UNKNOWN, "nothing could be compared")
    which = "on every output" if len(verification.outputs) > 1 else "on the output"
    runs = numbers.plural(verification.runs, "run")
    if all(o.max_abs == 0 for o in verification.outputs):
        return Verdict(EQUAL, "equal to the bit", f"{which}, {runs}")
    state, verb = (EQUAL, "equal within") if verification.passed else (DIFFERS, "different by")
    how = f"{which} (tolerance {allowance(worst.tolerance)}), {runs}"
    return Verdict(state, f"{verb} {numbers.magnitude(worst.relative)}", how)


def is_within(output: OutputDifference) -> bool:
    """Whether an output keeps its tolerance; a difference that is no number does not."""
    return output.relative <= output.tolerance


def difference(output: OutputDifference) -> str:
    """How far an output is off, and how far it may be: 2.1e-7 of 1e-5 allowed."""
    return f"{numbers.magnitude(output.relative)} of {allowance(output.tolerance)} allowed"


def allowance(tolerance: float) -> str:
    """A tolerance to two digits, which are not rounded up: 9.5e-7."""
    return numbers.plain(float(f"{tolerance:.2g}"))
