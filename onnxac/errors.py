"""What can go wrong, as one tree, each class with the exit code of the command.

    OnnxacError                  1   the outcome is not what was asked for
    ├── VerificationError        1   the two models do not compute the same
    ├── LimitError               1   a budget or a gate that the user set is not met
    ├── RuntimeFailure           1   ONNX Runtime failed on a model that is valid ONNX
    └── UserError                2   usage, or input that can't be used
        ├── UsageError           2   options that contradict each other
        ├── ModelError           2   can't be read, or is not valid ONNX
        │   └── UnsupportedError 2   valid, but newer than the installed onnx knows
        ├── OutputError          2   can't be written
        └── MissingExtraError    2   an optional package is not installed

An exception is bad input or a broken promise. A pattern that does not match is
neither: it is a value with a reason (`onnxac.report.Refusal`).

Every message is one line that says what, where, and what to do.
"""

from __future__ import annotations

from typing import ClassVar


class OnnxacError(Exception):
    """Root of the tree. `exit_code` is what the command ends with."""

    exit_code: ClassVar[int] = 1


class VerificationError(OnnxacError):
    """The two models differ on some output by more than the tolerance."""


class LimitError(OnnxacError):
    """A limit or a gate that the user set is not met."""


class RuntimeFailure(OnnxacError):
    """ONNX Runtime failed to load or run a model, or ran out of its time or memory."""


class UserError(OnnxacError):
    """The command can't start: usage, or an input that can't be used."""

    exit_code: ClassVar[int] = 2


class UsageError(UserError):
    """Options that contradict each other, or a value that is out of range."""


class ModelError(UserError):
    """A model that can't be read or is not valid ONNX."""


class UnsupportedError(ModelError):
    """A model whose IR version or opset is newer than the installed onnx knows."""


class OutputError(UserError):
    """A file that can't be written, or would overwrite its own input."""


class MissingExtraError(UserError):
    """An optional package is needed and not installed."""
