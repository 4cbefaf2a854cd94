"""The plan and the report count multiply-adds alike, whatever the exporter."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from test_models import MODELS

from onnxac.graph.fixed import fixed
from onnxac.graph.model import from_proto
from onnxac.inference.facts import Facts
from onnxac.pipeline import Options, optimize
from onnxac.planning.statistics import macs
from onnxac.planning.survey import survey
from onnxac.reordering.order import reorder

# A depthwise 1x1 is no convolution to the plan, which writes it as a product.
PRODUCT = [1, 1, 1]


@pytest.mark.parametrize("flavour", ["L", "B", "D", "DN", "Ldhw", "Ddhw", "deploy"])
def test_one_count_of_multiply_adds(flavour: str) -> None:
    counted = 0
    for path in sorted((MODELS / "onnx").glob(f"*/{flavour}.onnx")):
        model = onnx.load(path)
        graph = from_proto(model)
        facts, stay = Facts(graph), fixed(graph)
        seen = survey(graph, stay, {}, reorder(graph, facts, stay, ()))
        for node in model.graph.node:
            planned = seen.costs.get(node.output[0])
            if planned is None or node.op_type not in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
                continue
            told = macs(node, facts.shape)
            weight = facts.shape(node.input[1]) or ()
            if told is not None and list(weight[1:]) != PRODUCT:
                counted += 1
                assert planned.macs == pytest.approx(told), (path, node.output[0])
    assert counted > 40


def test_what_attention_is_multiplied_with_stays_a_product() -> None:
    """Runtimes run a window of 1×16 over the heads as one, or in four times the time."""
    heads, size, length = 4, 16, 12
    width = heads * size
    weights = {"w": (width, width), "b": (width,)}
    rng = np.random.default_rng(0)
    held = [
        numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n)
        for n, s in weights.items()
    ]
    held.append(numpy_helper.from_array(np.array([1, length, width]), "shape"))
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["t", "shape"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["a"]),
        helper.make_node("Add", ["a", "skip"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", 1, [1, heads, length, size]),
        helper.make_tensor_value_info("skip", 1, [1, length, width]),
    ]
    output = helper.make_tensor_value_info("y", 1, [1, length, width])
    graph = helper.make_graph(nodes, "g", inputs, [output], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    after, _ = optimize(model, Options(verify=False))
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in nodes]
