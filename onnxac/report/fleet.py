"""What became of many models, as data; `fleet.schema.json` describes its JSON form."""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxac.report import Report
from onnxac.report.form import build, plain

FLEET_VERSION = 1
# What a model came to.
OPTIMIZED, UNCHANGED, SKIPPED, FAILED = "optimized", "unchanged", "skipped", "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of one model.

    source     as it was named, or found
    target     where the result is; None where nothing was written
    state      "optimized", "unchanged", "skipped" (it was done before) or "failed"
    exit_code  what the command would have ended with for this model alone
    message    why it failed, in a sentence; empty where it did not
    notices    what the user has to know beside the report
    report     None where there is none
    seconds    time that it took
    key        hash of the model, the options and the tools; empty where it can't be read
    """

    source: str
    target: str | None
    state: str
    exit_code: int
    message: str
    notices: tuple[str, ...]
    report: Report | None
    seconds: float
    key: str


@dataclass(frozen=True, repr=False)
class FleetReport:
    """One run over many models.

    outcomes  one for each model, in the order in which they were named
    engine    what ran the tasks: "jobs", "ray" or "dask"
    seconds   time that all of it took
    tools     versions of onnxac and of what it used
    command   the command line, where there was one
    """

    outcomes: tuple[Outcome, ...]
    engine: str
    seconds: float
    tools: dict[str, str]
    command: str | None = None
    schema: int = field(default=FLEET_VERSION)

    @property
    def exit_code(self) -> int:
        """That of the worst model."""
        return max((o.exit_code for o in self.outcomes), default=0)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: plain dicts, lists, numbers and strings."""
        return typing.cast("dict[str, Any]", plain(self))

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> FleetReport:
        """What `to_dict` wrote. Raises TypeError where the schema does not allow it."""
        return typing.cast("FleetReport", build(FleetReport, data))

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with a row for each model.

        Raises MissingExtraError where pandas is not installed.
        """
        from onnxac.report import shown

        return shown.frame_of(shown.model_rows(self), shown.MODEL_COLUMNS)

    def __str__(self) -> str:
        from onnxac.report import shown

        return shown.text_of(self)

    def __repr__(self) -> str:
        states = Counter(o.state for o in self.outcomes)
        told = ", ".join(f"{number} {state}" for state, number in states.items())
        return f"<FleetReport: {told}>"
