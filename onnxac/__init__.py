"""onnxac: collapse the branches of re-parameterizable networks in an exported ONNX model.

    model, report = onnxac.optimize("in.onnx")

`optimize` merges what is linear, computes the fused weights in float64, and proves the
result against ONNX Runtime; `verify` compares any two models the same way, and `diff` shows
them. Errors are `onnxac.errors`, the report is `onnxac.report`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxac.errors import OnnxacError

if TYPE_CHECKING:
    from onnxac.api import diff, inspect, optimize, optimize_file, optimize_many, verify
    from onnxac.pipeline import Options
    from onnxac.report import Report, Verification

__version__ = "0.1.0"
__all__ = [
    "OnnxacError",
    "Options",
    "Report",
    "Verification",
    "diff",
    "inspect",
    "optimize",
    "optimize_file",
    "optimize_many",
    "verify",
]

# Loaded when they are used: `import onnxac` needs neither onnx nor a runtime, and is at the
# start of every process that runs models.
_LAZY = {
    "Options": "onnxac.pipeline",
    "Report": "onnxac.report",
    "Verification": "onnxac.report",
}


# A type checker, which would take any name for one that there is, does not see this.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in __all__:
            from importlib import import_module

            return getattr(import_module(_LAZY.get(name, "onnxac.api")), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
