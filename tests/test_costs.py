"""The plan and the report count multiply-adds alike, whatever the exporter."""

from __future__ import annotations

import onnx
import pytest
from test_models import MODELS

from onnxac.graph.fixed import fixed
from onnxac.graph.model import from_proto
from onnxac.inference.facts import Facts
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
