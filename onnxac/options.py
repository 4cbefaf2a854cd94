"""What may be asked of a job, and how it tells what it is doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from onnxac.errors import UsageError
from onnxac.kinds import unknown


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
                         that are powers of two: nothing is rounded
    exact_factors        by factors that are no powers of two: ranges are more alike, and weights
                         are rounded once more
    keep                 name patterns of nodes to leave alone
    without              kinds of rewrites (`onnxac.kinds`) to leave out
    seeds                number of seeds of the proof's inputs
    shapes               input name → shape, where the proof is to use that one only
    tolerance            largest relative error, instead of the one derived from the dtype
    timeout              seconds that the proof may take
    inputs               files of real inputs for the proof: .npz, or folders of .npy
    custom_ops           libraries of operators for ONNX Runtime
    latency              time both models, for the report
    command              the command line, for the report
    progress             is told what happens now
    notice               is told, in a sentence, what the user has to know beside the report

    Raises UsageError where `without` names a kind that there is not.
    """

    verify: bool = True
    freeze_initializers: bool = False
    dequantize: bool = False
    ranges: bool = False
    equalize: bool = False
    exact_factors: bool = False
    keep: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    seeds: int = 3
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
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
