"""A rewriter for onnxsim: `onnxsim.simplify(model, custom_rewriter=rewriter())`.

onnxsim runs it inside its loop, until nothing changes any more: what it folds onnxac can merge, and
the reverse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from onnx import ModelProto

from onnxac.options import Options
from onnxac.pipeline import optimize


def rewriter(options: Options | None = None) -> Callable[[ModelProto], ModelProto | Literal[False]]:
    """What merges a model, or says False where there is nothing to merge."""

    def rewrite(model: ModelProto) -> ModelProto | Literal[False]:
        result, report = optimize(model, options)
        return result if report.changed else False

    return rewrite
