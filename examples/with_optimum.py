"""From a model of Hugging Face to ONNX Runtime: export by Optimum, merge in place, load.

python -m pip install onnxac "optimum-onnx[onnxruntime]"
python examples/with_optimum.py
"""
# ruff: noqa: T201 - an example talks to whoever runs it

import torch
from optimum.exporters.onnx import onnx_export_from_model
from optimum.onnxruntime import ORTModelForImageClassification
from transformers import LevitConfig, LevitForImageClassification

import onnxac

# A small one of its own: yours comes from `from_pretrained`.
sizes = {"hidden_sizes": [16, 24, 32], "num_attention_heads": [2, 2, 2], "depths": [1, 1, 1]}
trained = LevitForImageClassification(LevitConfig(image_size=64, **sizes)).eval()

onnx_export_from_model(trained, "exported", task="image-classification")
report = onnxac.optimize_file("exported/model.onnx", "exported/model.onnx")

deployed = ORTModelForImageClassification.from_pretrained("exported")
image = torch.randn(1, 3, 64, 64)
assert torch.allclose(deployed(pixel_values=image).logits, trained(image).logits, atol=1e-5)
print(report.before.stats.nodes, "->", report.after.stats.nodes)
