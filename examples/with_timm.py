"""A network of timm, exported in its training form, and merged.

python -m pip install onnxac timm torch onnxscript
python examples/with_timm.py
"""
# ruff: noqa: T201 - an example talks to whoever runs it

import timm
import torch

import onnxac

trained = timm.create_model("repvgg_a0", pretrained=False).eval()
image = torch.randn(1, 3, 64, 64)
torch.onnx.export(trained, (image,), "timm.onnx", dynamo=True, external_data=False)
report = onnxac.optimize_file("timm.onnx", "timm.fused.onnx")
print(report.before.stats.nodes, "->", report.after.stats.nodes)
