"""What a model weighs: nodes, operators, parameters, bytes, multiply-adds."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto

from onnxac.graph.model import from_proto
from onnxac.graph.operators import is_standard
from onnxac.inference.dims import Extent, Shape
from onnxac.inference.facts import Facts
from onnxac.recipes.cost import NOMINAL_EXTENT
from onnxac.recipes.steps import size
from onnxac.report import GraphStats, ModelInfo
from onnxac.report.places import all_nodes
from onnxac.storage.files import external_tensors, graph_tensors


def model_info(
    model: ModelProto,
    facts: Facts,
    digest: str,
    path: str | None = None,
    added: Mapping[str, Shape] | None = None,
) -> ModelInfo:
    """Description of a model.

    facts   what is known of it, or of the model it was made from
    digest  its SHA-256 in hexadecimal
    path    the file it is in, if the report should name one
    added   shapes of tensors that `facts` does not know
    """
    return ModelInfo(
        path=path,
        sha256=digest,
        ir_version=model.ir_version,
        opset=next((o.version for o in model.opset_import if is_standard(o.domain)), 1),
        producer=" ".join(filter(None, (model.producer_name, model.producer_version))),
        stats=graph_stats(model, facts, added or {}),
    )


def foreign_info(model: ModelProto, path: str | None = None) -> ModelInfo:
    """Description of a model that nothing is known of yet."""
    folder = None if path is None else Path(path).resolve().parent
    digest = digest_of(model if path is None else Path(path))
    return model_info(model, Facts(from_proto(model, folder)), digest, path)


def digest_of(model: ModelProto | Path) -> str:
    """SHA-256 of a model file, or of a model as it would be written."""
    digest = hashlib.sha256()
    if isinstance(model, ModelProto):
        digest.update(model.SerializeToString(deterministic=True))
        return digest.hexdigest()
    with model.open("rb") as data:
        while chunk := data.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def graph_stats(model: ModelProto, facts: Facts, added: Mapping[str, Shape]) -> GraphStats:
    """Figures of a model; bytes include external data.

    Nodes are those of bodies and functions, too, each once; multiply-adds are the main graph's, for
    nobody knows how often a body runs.
    """
    graph = model.graph
    nodes = [n for g in (graph, *model.functions) for n in all_nodes(g.node)]
    stored = {t.name: tuple(t.dims) for t in graph.initializer}

    def shape(name: str) -> Shape | None:
        return stored.get(name) or added.get(name) or facts.shape(name)

    counts = [macs(n, shape) for n in graph.node]
    dynamic = any(isinstance(d, Extent) for i in graph.input for d in facts.shape(i.name) or ())
    return GraphStats(
        nodes=len(nodes),
        ops=dict(sorted(Counter(map(_operator, nodes)).items())),
        parameters=sum(math.prod(t.dims) for t in graph_tensors(graph)),
        bytes=model.ByteSize() + sum(_external_bytes(t) for t in external_tensors(model)),
        macs=None
        if any(m is None for m in counts)
        else round(sum(m for m in counts if m is not None)),
        nominal_size=NOMINAL_EXTENT if dynamic else None,
    )


def _operator(node: NodeProto) -> str:
    """The operator type, with its domain where that is not the standard's."""
    return node.op_type if is_standard(node.domain) else f"{node.domain}.{node.op_type}"


def _external_bytes(tensor: onnx.TensorProto) -> int:
    width = int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    return int(math.prod(tensor.dims)) * width


def macs(node: NodeProto, shape: Callable[[str], Shape | None]) -> float | None:
    """Multiply-adds of one node; 0 for operators that have none to speak of."""
    if node.domain or node.op_type not in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
        return 0.0
    if len(node.input) < 2 or not node.output:
        return None
    first, second = shape(node.input[0]), shape(node.input[1])
    output = shape(node.output[0])
    if node.op_type == "ConvTranspose":
        return None if _is_open(first) or second is None else size(first) * size((1, *second[1:]))
    if _is_open(output):
        return None
    if node.op_type == "Conv":
        return None if second is None else size(output) * size((1, *second[1:]))
    turned = {a.name for a in node.attribute if a.name in ("transA", "transB") and a.i}
    if first:
        return size(output) * size((1, first[0] if "transA" in turned else first[-1]))
    if second:
        return size(output) * size((1, second[-1] if "transB" in turned else second[-2:][0]))
    return None


def _is_open(shape: Shape | None) -> bool:
    """Whether an extent is not even a formula over the inputs'."""
    return shape is None or any(isinstance(d, Extent) and d.root.startswith("?") for d in shape)
