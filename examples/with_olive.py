"""onnxac as a pass of Microsoft Olive's workflows.

python -m pip install onnxac olive-ai
python examples/with_olive.py
"""

from olive.workflows import run

from onnxac.integrations.olive import package_config

local = {"type": "LocalSystem", "accelerators": [{"device": "cpu"}]}
workflow = {
    "input_model": {"type": "ONNXModel", "model_path": "in.onnx"},
    "systems": {"local": local},
    "host": "local",
    "target": "local",
    "passes": {"fuse": {"type": "OnnxacFusion", "keep": ["/head/*"]}},
    "output_dir": "out",
}
run(workflow, package_config=str(package_config()))
