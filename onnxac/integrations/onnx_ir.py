"""A pass for onnx-ir: `OnnxacPass()(model)`, alone or in an `onnx_ir.passes.Sequential`."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from onnxac.options import Options
from onnxac.pipeline import optimize
from onnxac.report import Report


class OnnxacPass(ir.passes.FunctionalPass):
    """Merges what is linear, proves it, and hands on a new model; the one that came in stays.

    options  what `onnxac.optimize` may be told
    report   of the last model; None before the first one
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.report: Report | None = None

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """The merged model. Raises what `onnxac.optimize` raises."""
        result, self.report = optimize(ir.to_proto(model), self.options)
        if not self.report.changed:
            # A functional pass hands on another model than it was given.
            return ir.passes.PassResult(model.clone(), modified=False)
        merged: Any = ir.from_proto(result)
        return ir.passes.PassResult(merged, modified=True)
