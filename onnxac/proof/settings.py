"""What `verify` may be told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onnxac.errors import UsageError
from onnxac.proof.judging.compare import EPSILON

# Is told how many of how many steps are done.
Tick = Callable[[int, int], object]


def untold(_done: int, _total: int, /) -> None:
    """The `tick` of those who don't want to hear of it."""


@dataclass(frozen=True)
class Settings:
    """How two models are compared.

    seeds         how many random feeds there are at the first size
    shapes        inputs that are run at this shape only, by name
    inputs        files of real inputs, fed beside those that are made up: .npz, or a folder of
                  .npy, each array under the name of its input
    tolerance     largest difference of an output in terms of its largest magnitude, in place
                  of the one derived; 0 is equality
    rtol, atol    in place of both: each value of an output may be off by atol + rtol·|value|,
                  as in numpy.allclose; where one is given, the other is 0
    mapping       names of outputs of the second model, by names of the first's
    outputs_only  do not compare tensors inside the models
    precision     a type, float16 or bfloat16, that the second model computes in, whatever the
                  types of its outputs are: roundings are as coarse as that type's
    custom_ops    libraries of operators that ONNX Runtime loads
    timeout       seconds for all of it
    memory_limit  bytes for both models and their tensors (Linux; default: three quarters of
                  what is free)
    names         what the two models are called in messages
    tick          is told how many runs of how many are made
    """

    seeds: int = 3
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    inputs: tuple[Path, ...] = ()
    tolerance: float | None = None
    rtol: float | None = None
    atol: float | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    outputs_only: bool = False
    precision: str | None = None
    custom_ops: tuple[Path, ...] = ()
    timeout: float = 600.0
    memory_limit: int | None = None
    names: tuple[str, str] = ("the original model", "the optimized model")
    tick: Tick = untold

    def check(self) -> None:
        """Raise UsageError where a value is out of range, or two contradict each other."""
        if self.seeds < 1:
            raise UsageError(f"seeds={self.seeds} compares nothing: give 1 or more")
        if self.tolerance is not None and not 0 <= self.tolerance < 1:
            raise UsageError(f"tolerance={self.tolerance} must be at least 0 and less than 1")
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if value is not None and not 0 <= value < float("inf"):
                raise UsageError(f"{name}={value} must be a number, and not negative")
        if self.tolerance is not None and self.elementwise is not None:
            raise UsageError("tolerance is of the whole output, rtol and atol of each value: one")
        if self.precision is not None and self.precision not in EPSILON:
            raise UsageError(f"precision {self.precision!r} is none of {', '.join(EPSILON)}")
        if self.timeout <= 0:
            raise UsageError(f"timeout {self.timeout} must be a positive number of seconds")
        if self.memory_limit is not None and self.memory_limit <= 0:
            raise UsageError(f"memory limit {self.memory_limit} must be a positive number of bytes")
        if self.memory_limit is not None and not sys.platform.startswith("linux"):
            raise UsageError("a memory limit can be held on Linux only: leave it out here")
        for path in (*self.custom_ops, *self.inputs):
            if not path.exists():
                raise UsageError(f"{path}: there is no such file")

    @property
    def elementwise(self) -> tuple[float, float] | None:
        """rtol and atol, where at least one was given."""
        if self.rtol is None and self.atol is None:
            return None
        return self.rtol or 0.0, self.atol or 0.0

    @property
    def spacing(self) -> float:
        """The ε of what the second model computes in, where that was said; else 0."""
        return 0.0 if self.precision is None else EPSILON[self.precision]

    @property
    def compares_inside(self) -> bool:
        """Whether tensors inside are compared; of another precision, they have other types."""
        return not self.outputs_only and self.precision is None

    @property
    def derives(self) -> bool:
        """Whether tolerances are derived: the user gave none."""
        return self.tolerance is None and self.elementwise is None
