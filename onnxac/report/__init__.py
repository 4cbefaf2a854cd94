"""What happened, as data: everything the command prints, and the diff draws.

The dataclasses here are the one description of a run. `to_dict` and `from_dict`
are the JSON form (`report.schema.json` describes it, `SCHEMA_VERSION` numbers it); text,
Markdown and HTML are renderings of the same object and live elsewhere.

In   nothing: every stage makes its part, and `pipeline` puts them together.
Out  `Report`, immutable, and its JSON form.

Requires of JSON that is read what the schema says; anything else is a TypeError that names it.
Ensures that `from_dict` gives back what `to_dict` wrote.

All shapes are in ONNX order. A kernel is given by its spatial taps only; the
channel counts stand beside it.
"""

from __future__ import annotations

import decimal
import math
import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxac.report.certificate import DROPPED, FAILS, HOLDS, OPEN, Certificate, CertifiedSource
from onnxac.report.equalization import Equalization, ScaledTensor
from onnxac.report.form import build, plain
from onnxac.report.nodes import NodeRef
from onnxac.report.ranges import ActivationRange, Quantization, Ranges, WeightRange, Widened
from onnxac.report.timing import SLOWER, Timing

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
]

SCHEMA_VERSION = 1
# Verdicts on two models.
EQUAL, DIFFERENT, NOT_SHOWN, NOT_RUN = "equal", "different", "not shown", "not run"
# Of a float64, as many as tell any two apart.
DIGITS = 17


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


Change = Fusion | Equalization


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
        for digits in range(2, DIGITS + 1) if math.isfinite(self.relative) else ():
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
