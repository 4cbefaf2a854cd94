"""The merged model in MLflow, with the report of how it was made.

python -m pip install onnxac mlflow
python examples/with_mlflow.py
"""

import mlflow

import onnxac

model, report = onnxac.optimize("in.onnx")
with mlflow.start_run():
    mlflow.onnx.log_model(model, name="model")
    mlflow.log_dict(report.to_dict(), "onnxac.json")
    mlflow.log_metrics({"nodes": report.after.stats.nodes})
