"""onnxac as a pass of onnx-ir, alone or between others.

python -m pip install onnxac onnx-ir
python examples/with_onnx_ir.py
"""

import onnx_ir as ir

from onnxac.integrations.onnx_ir import OnnxacPass

model = ir.load("in.onnx")
result = ir.passes.Sequential(OnnxacPass())(model)
ir.save(result.model, "out.onnx")
