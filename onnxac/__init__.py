"""onnxac: collapse the branches of re-parameterizable networks in an exported ONNX model."""

__version__ = "0.1.0"
