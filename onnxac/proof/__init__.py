"""Two models, shown to compute the same: by what they share, and by running both.

In   two models, or files, and `settings.Settings`: inputs, sizes, tolerance, time.
Out  a `Verification`: how far each output is off, and a verdict in four words; and, for the
     changes of a report, a `Certificate` each (`certificate`).

Requires only that both are valid ONNX. Imports nothing of the rooms that make changes: an error
there can't hide here. Ensures that "equal" is said only of outputs that were seen to vary, and
that a model which crashes or hangs takes no more with it than a process of its own.

Loaded when they are used, so that the process that runs models imports no more than it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxac.proof.settings import Settings
    from onnxac.proof.verification import raise_if_failed, verify

__all__ = ["Settings", "raise_if_failed", "verify"]

_LAZY = {
    "Settings": "onnxac.proof.settings",
    "raise_if_failed": "onnxac.proof.verification",
    "verify": "onnxac.proof.verification",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
