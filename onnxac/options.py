"""What may be asked of a job, and how it tells what it is doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from onnxac.errors import UsageError
from onnxac.kinds import unknown

# What a model may be converted to, and what reports call that.
TYPES = {"fp16": "float16"}


class Progress(Protocol):
    """Is told what happens now, in a word or two, and how much of how much is done.

    `total` is 0 where that is not known.
    """

    def __call__(self, what: str, done: int = 0, total: int = 0, /) -> object:
        """Take note."""
        ...


def silent(_: str, _done: int = 0, _total: int = 0, /) -> None:
    """The `progress` of those who don't want to hear of it."""


@dataclass(frozen=True)
class Options:
    """What `optimize` may be told.

    verify               prove the result against the original in ONNX Runtime
    freeze_initializers  take initializers that are also graph inputs as constants
    dequantize           merge branches of quantized weights too, as the floats that they stand for
    ranges               say how well both models quantize: ranges of weights, and on `inputs` those
                         of activations. So does `equalize`
    equalize             let the channels of each weight have ranges that are alike, by factors
                         that are powers of two: nothing is rounded. They are tried in simulated
                         8 bits, on `inputs` or on made-up ones; where they don't help, none are
                         put in
    exact_factors        by factors that are no powers of two: ranges are more alike, and weights
                         are rounded once more
    keep                 name patterns of nodes to leave alone
    without              kinds of rewrites (`onnxac.kinds`) to leave out
    tune                 run each change beside what it replaces, on this machine, and keep the
                         faster; without it the cost model decides
    seeds                number of seeds of the proof's inputs
    shapes               input name → shape, where the proof is to use that one only
    fix_shapes           input name → shape that is written into the model, and followed
    to                   "fp16": convert floats inside to that type, after merging; the result is
                         proven again, at that type's precision
    tolerance            largest relative error, instead of the one derived from the dtype
    timeout              seconds that the proof may take
    inputs               files of real inputs for the proof: .npz, or folders of .npy
    custom_ops           libraries of operators for ONNX Runtime
    latency              time both models, for the report
    command              the command line, for the report
    progress             is told what happens now
    notice               is told, in a sentence, what the user has to know beside the report

    Raises UsageError where `without` or `to` names what there is not, or an input is run at one
    shape and fixed to another.
    """

    verify: bool = True
    freeze_initializers: bool = False
    dequantize: bool = False
    ranges: bool = False
    equalize: bool = False
    exact_factors: bool = False
    keep: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    tune: bool = False
    seeds: int = 3
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    fix_shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    to: str | None = None
    tolerance: float | None = None
    timeout: float = 600.0
    inputs: tuple[Path, ...] = ()
    custom_ops: tuple[Path, ...] = ()
    latency: bool = False
    command: str | None = None
    progress: Progress = silent
    notice: Callable[[str], object] = silent

    def __post_init__(self) -> None:
        # A string is a sequence, too, of patterns that nobody means.
        keep = (self.keep,) if isinstance(self.keep, str) else tuple(self.keep)
        object.__setattr__(self, "keep", keep)
        wrong = unknown(self.without)
        if wrong is not None:
            raise UsageError(wrong)
        if self.to is not None and self.to not in TYPES:
            raise UsageError(f"{self.to!r} is no type to convert to; known is {', '.join(TYPES)}")
        for name in self.shapes.keys() & self.fix_shapes.keys():
            if tuple(self.shapes[name]) != tuple(self.fix_shapes[name]):
                raise UsageError(f"{name!r} is run at one shape, and fixed to another: give one")
