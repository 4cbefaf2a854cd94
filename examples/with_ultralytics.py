"""A detector of ultralytics, exported by itself, and merged.

python -m pip install onnxac ultralytics onnxscript
python examples/with_ultralytics.py
"""
# ruff: noqa: T201 - an example talks to whoever runs it

from ultralytics import YOLO

import onnxac

# An untrained one: yours is YOLO("best.pt").
exported = YOLO("yolov10n.yaml").export(format="onnx", imgsz=64, simplify=False)
report = onnxac.optimize_file(exported, "yolo.fused.onnx")
print(report.before.stats.nodes, "->", report.after.stats.nodes)
