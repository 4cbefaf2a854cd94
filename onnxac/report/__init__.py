"""What happened, as data: everything the command prints, and the diff draws.

The dataclasses here are the one description of a run. `to_dict` and `from_dict`
are the JSON form (`report.schema.json` describes it, `SCHEMA_VERSION` numbers it); text,
Markdown and HTML are renderings of the same object and live elsewhere.

In   nothing: every stage makes its part, and `pipeline` puts them together.
Out  `Report`, immutable, and its JSON form.

Requires of JSON that is read what the schema says; anything else is a TypeError that names it.
Ensures that `from_dict` gives back what `to_dict` wrote.
"""

from __future__ import annotations

import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxac.report.certificate import DROPPED, FAILS, HOLDS, OPEN, Certificate, CertifiedSource
from onnxac.report.equalization import Equalization, ScaledTensor
from onnxac.report.form import build, plain
from onnxac.report.fusion import Branch, FusedOperator, Fusion, Refusal, inside
from onnxac.report.nodes import NodeRef
from onnxac.report.ranges import ActivationRange, Quantization, Ranges, WeightRange, Widened
from onnxac.report.timing import SLOWER, Latency, Timing
from onnxac.report.verification import (
    DIFFERENT,
    EQUAL,
    NOT_RUN,
    NOT_SHOWN,
    OutputDifference,
    Verification,
)

__all__ = [
    "DIFFERENT",
    "DROPPED",
    "EQUAL",
    "FAILS",
    "HOLDS",
    "NOT_RUN",
    "NOT_SHOWN",
    "OPEN",
    "SCHEMA_VERSION",
    "SLOWER",
    "ActivationRange",
    "Branch",
    "Certificate",
    "CertifiedSource",
    "Change",
    "Equalization",
    "FusedOperator",
    "Fusion",
    "GraphStats",
    "Latency",
    "ModelInfo",
    "NodeRef",
    "OutputDifference",
    "Quantization",
    "Ranges",
    "Refusal",
    "Report",
    "ScaledTensor",
    "Timing",
    "Verification",
    "WeightRange",
    "Widened",
    "inside",
]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class GraphStats:
    """What a model weighs.

    `nodes` and `ops` count those in bodies and functions, too, each once. `macs` are multiply-adds
    of one inference of the main graph, batch 1, with each dynamic extent taken as `nominal_size`;
    `None` where a shape needed for it is unknown.
    """

    nodes: int
    ops: dict[str, int]
    parameters: int
    bytes: int
    macs: int | None
    nominal_size: int | None = None


@dataclass(frozen=True)
class ModelInfo:
    """One model file, and the graph in it."""

    path: str | None
    sha256: str
    ir_version: int
    opset: int
    producer: str
    stats: GraphStats


Change = Fusion | Equalization


@dataclass(frozen=True, repr=False)
class Report:
    """One run of `optimize`, whole.

    before, after   the two models
    fusions         what was merged, in graph order
    equalizations   factors that were moved from channel to channel, where that was asked for
    quantization    how well both models quantize, where that was asked for
    refusals        what was left alone, and why
    folded          constant subgraphs that became initializers (nodes removed)
    idle            nodes removed that handed on what they read, or that nothing read
    repeated        nodes removed that computed what another one computes
    verification    None when it was switched off
    precision       the type that floats inside were converted to, where that was asked for
    tools           versions of onnxac and of what it used
    command         the command line, where there was one
    """

    before: ModelInfo
    after: ModelInfo
    fusions: tuple[Fusion, ...]
    refusals: tuple[Refusal, ...]
    folded: int
    verification: Verification | None
    tools: dict[str, str]
    equalizations: tuple[Equalization, ...] = ()
    quantization: Quantization | None = None
    latency: Latency | None = None
    idle: int = 0
    repeated: int = 0
    command: str | None = None
    precision: str | None = None
    schema: int = field(default=SCHEMA_VERSION)

    @property
    def changes(self) -> tuple[Change, ...]:
        """All that was done and is certified, each with a key of its own."""
        return (*self.fusions, *self.equalizations)

    @property
    def changed(self) -> bool:
        """Whether the model that came out differs from the one that went in."""
        gone = self.folded + self.idle + self.repeated > 0
        return bool(self.changes) or gone or self.precision is not None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: plain dicts, lists, numbers and strings."""
        return typing.cast("dict[str, Any]", plain(self))

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Report:
        """The report that `to_dict` wrote. Raises TypeError where the schema does not allow it."""
        report = typing.cast("Report", build(Report, data))
        if report.schema != SCHEMA_VERSION:
            raise TypeError(f"schema has to be {SCHEMA_VERSION}")
        return report

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as the name ends: .json, .md, .html or .txt.

        Raises UsageError for another ending, OutputError where it can't be written.
        """
        from onnxac.report import shown

        shown.save(self, path)

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with a row for each fusion.

        Raises MissingExtraError where pandas is not installed.
        """
        from onnxac.report import shown

        return shown.frame_of(shown.fusion_rows(self), shown.FUSION_COLUMNS)

    def __str__(self) -> str:
        from onnxac.report import shown

        return shown.text_of(self)

    def __repr__(self) -> str:
        from onnxac.report import shown

        return f"<Report: {shown.line_of(self)}>"

    def _repr_html_(self) -> str:
        from onnxac.report import shown

        return shown.html_of(self)
