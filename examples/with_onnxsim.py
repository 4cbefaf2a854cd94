"""onnxac inside the loop of onnxsim: what one of them finds, the other goes on with.

python -m pip install onnxac onnxsim
python examples/with_onnxsim.py
"""

import onnx
import onnxsim

from onnxac.integrations.onnxsim import rewriter

model, _ = onnxsim.simplify("in.onnx", custom_rewriter=rewriter())
onnx.save(model, "out.onnx")
