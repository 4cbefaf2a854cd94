"""onnxac: collapse the branches of re-parameterizable networks in an exported ONNX model.

    model, report = onnxac.optimize("in.onnx")

`optimize` merges what is linear, computes the fused weights in float64, and proves the
result against ONNX Runtime; `verify` compares any two models the same way. Errors are
`onnxac.errors`, the report is `onnxac.report`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnxac.errors import OnnxacError

if TYPE_CHECKING:
    from onnxac.pipeline import Options, optimize, optimize_file
    from onnxac.proof import verify
    from onnxac.report import Report, Verification

__version__ = "0.1.0"
__all__ = [
    "OnnxacError",
    "Options",
    "Report",
    "Verification",
    "optimize",
    "optimize_file",
    "verify",
]

# Loaded when they are used: `import onnxac` needs neither onnx nor a runtime, and is at the
# start of every process that runs models.
_LAZY = {
    "Options": "onnxac.pipeline",
    "Report": "onnxac.report",
    "Verification": "onnxac.report",
    "optimize": "onnxac.pipeline",
    "optimize_file": "onnxac.pipeline",
    "verify": "onnxac.proof",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
