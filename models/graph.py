"""A small graph builder and seeded parameters for the graphs that are written by hand."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray


@dataclass
class Norm:
    """Statistics and parameters of one batch normalization."""

    gamma: Array
    beta: Array
    mean: Array
    var: Array
    eps: float = 1e-5

    @property
    def scale(self) -> Array:
        return self.gamma / np.sqrt(self.var.astype(np.float64) + self.eps)

    @property
    def shift(self) -> Array:
        return self.beta - self.mean * self.scale


@dataclass
class Branch:
    """A convolution and its batch normalization."""

    weight: Array
    bias: Array
    norm: Norm

    def fused(self, size: int) -> tuple[Array, Array]:
        """Return the kernel, centred in size x size, and the bias."""
        rows, columns = (size - self.weight.shape[2]) // 2, (size - self.weight.shape[3]) // 2
        pads = ((0, 0), (0, 0), (rows, rows), (columns, columns))
        kernel = self.weight * self.norm.scale.reshape(-1, 1, 1, 1)
        return np.pad(kernel, pads), self.bias * self.norm.scale + self.norm.shift


class Random:
    """Seeded parameters, well away from the values that hide mistakes."""

    def __init__(self, name: str) -> None:
        self.generator = np.random.default_rng(zlib.crc32(name.encode()))

    def signed(self, *shape: int) -> Array:
        sign = self.generator.choice([-1.0, 1.0], shape)
        return (sign * self.generator.uniform(0.2, 0.9, shape)).astype(np.float32)

    def norm(self, channels: int, eps: float = 1e-5) -> Norm:
        gamma = self.generator.uniform(0.4, 1.8, channels).astype(np.float32)
        gamma[0] = -gamma[0]
        var = self.generator.uniform(0.3, 3.0, channels).astype(np.float32)
        return Norm(gamma, self.signed(channels), self.signed(channels), var, eps)

    def branch(self, outputs: int, inputs: int, *kernel: int, eps: float = 1e-5) -> Branch:
        weight = self.generator.standard_normal((outputs, inputs, *kernel)).astype(np.float32)
        scaled = weight / np.float32(np.sqrt(inputs * np.prod(kernel)))
        return Branch(scaled, self.signed(outputs), self.norm(outputs, eps))


def identity_kernel(channels: int, size: int, scale: Array, depthwise: bool = False) -> Array:
    """Return the kernel of a bare per-channel scale."""
    kernel = np.zeros((channels, 1 if depthwise else channels, size, size))
    for channel in range(channels):
        kernel[channel, 0 if depthwise else channel, size // 2, size // 2] = scale[channel]
    return kernel


class Graph:
    """Collects nodes and initializers."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def const(self, array: Array) -> str:
        name = f"const_{len(self.initializers)}"
        if array.dtype != np.int64:
            array = array.astype(np.float32)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}:0"], name=name, **attributes))
        return f"{name}:0"

    def norm(self, x: str, norm: Norm) -> str:
        values = (norm.gamma, norm.beta, norm.mean, norm.var)
        constants = [self.const(value) for value in values]
        return self.op("BatchNormalization", x, *constants, epsilon=norm.eps, momentum=0.9)

    def sum(self, *terms: str) -> str:
        total = terms[0]
        for term in terms[1:]:
            total = self.op("Add", total, term)
        return total

    def save(self, path: Path, shape: tuple[int | str, ...], output: str, opset: int) -> None:
        """Write the graph; the shape of its output is inferred."""
        graph = helper.make_graph(
            self.nodes,
            path.stem,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            self.initializers,
        )
        opsets = [helper.make_opsetid("", opset)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=8, producer_name="handmade"
        )
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        model.graph.output[0].CopyFrom(inferred.graph.output[0])
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)
