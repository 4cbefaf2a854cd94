"""Pairs of models before and after a merge, with the report that a run would give."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxac.report import (
    Branch,
    FusedOperator,
    Fusion,
    GraphStats,
    ModelInfo,
    NodeRef,
    OutputDifference,
    Refusal,
    Report,
    Verification,
)

CHANNELS = 8
KERNELS = {"square": (3, 3), "hor": (1, 3), "ver": (3, 1)}

Rename = Callable[[str], str]


def conv(name: str, source: str, target: str, kernel: tuple[int, int]) -> NodeProto:
    pads = [kernel[0] // 2, kernel[1] // 2] * 2
    return helper.make_node("Conv", [source, f"{target}.w"], [target], name=name, pads=pads)


def weight(target: str, kernel: tuple[int, int], value: float = 1.0) -> TensorProto:
    data = np.full((CHANNELS, CHANNELS, *kernel), value, np.float32)
    return numpy_helper.from_array(data, f"{target}.w")


def model(nodes: Sequence[NodeProto], weights: Sequence[TensorProto], output: str) -> ModelProto:
    shape = [1, CHANNELS, 8, 8]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def acnet(
    blocks: int = 2,
    name_of: Rename = lambda n: n,
    after_name: Rename | None = None,
    after_tensor: Rename = lambda t: t,
) -> tuple[ModelProto, ModelProto]:
    """A chain of three-branch blocks, each with a Relu, and the same with one Conv each.

    `name_of` makes the nodes' names, `after_name` and `after_tensor` those of the second
    model: as another exporter would have them.
    """
    after_name = after_name or name_of
    old: list[NodeProto] = []
    new: list[NodeProto] = []
    old_weights: list[TensorProto] = []
    new_weights: list[TensorProto] = []
    source, new_source = "x", "x"
    for b in range(blocks):
        for kind, kernel in KERNELS.items():
            old.append(conv(name_of(f"b{b}/{kind}"), source, f"t{b}_{kind}", kernel))
            old_weights.append(weight(f"t{b}_{kind}", kernel))
        for k, (left, right, out) in enumerate(
            [("square", "hor", f"t{b}_half"), ("half", "ver", f"t{b}_sum")]
        ):
            inputs = [f"t{b}_{left}", f"t{b}_{right}"]
            old.append(helper.make_node("Add", inputs, [out], name=name_of(f"b{b}/add{k}")))
        old.append(helper.make_node("Relu", [f"t{b}_sum"], [f"t{b}"], name=name_of(f"b{b}/relu")))
        total, out = after_tensor(f"t{b}_sum"), after_tensor(f"t{b}")
        new.append(conv(after_name(f"b{b}/merged"), new_source, total, (3, 3)))
        new_weights.append(weight(total, (3, 3), 3.0))
        new.append(helper.make_node("Relu", [total], [out], name=after_name(f"b{b}/relu")))
        source, new_source = f"t{b}", out
    return model(old, old_weights, source), model(new, new_weights, new_source)


def fusion(b: int, name_of: Rename = lambda n: n) -> Fusion:
    branches = tuple(
        Branch(
            nodes=(NodeRef(name_of(f"b{b}/{kind}"), "Conv"),),
            taps=kernel,
            dilation=(1, 1),
            origin=((3 - kernel[0]) // 2, (3 - kernel[1]) // 2),
            group=1,
        )
        for kind, kernel in KERNELS.items()
    )
    merged = NodeRef(name_of(f"b{b}/merged"), "Conv")
    adds = tuple(NodeRef(name_of(f"b{b}/add{k}"), "Add") for k in range(2))
    operator = FusedOperator(
        node=merged,
        source="x" if b == 0 else f"t{b - 1}",
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        taps=(3, 3),
        stride=(1, 1),
        dilation=(1, 1),
        pads=(1, 1, 1, 1),
        group=1,
        branches=branches,
    )
    removed = (*(n for branch in branches for n in branch.nodes), *adds)
    return Fusion(f"t{b}_sum", removed, (merged,), (operator,), 61440, 36864)


def info(proto: ModelProto, path: str) -> ModelInfo:
    ops = Counter(n.op_type for n in proto.graph.node)
    size = proto.ByteSize()
    parameters = sum(int(np.prod(t.dims)) for t in proto.graph.initializer)
    digest = hashlib.sha256(proto.SerializeToString()).hexdigest()
    stats = GraphStats(len(proto.graph.node), dict(ops), parameters, size, 100 * parameters)
    return ModelInfo(path, digest, proto.ir_version, 17, "test 1.0", stats)


def proof(relative: float = 2.1e-7, tolerance: float = 1e-5, name: str = "y") -> Verification:
    outputs = (OutputDifference(name, relative * 4, 4.0, relative, tolerance),)
    return Verification(outputs, 3, ({"x": (1, CHANNELS, 8, 8)},), "ONNX Runtime 1.0")


def reported(
    blocks: int = 2, name_of: Rename = lambda n: n
) -> tuple[ModelProto, ModelProto, Report]:
    """The models of `acnet`, and the report about them."""
    before, after = acnet(blocks, name_of)
    refusals = tuple(
        Refusal(NodeRef(name_of(f"b{b}/relu"), "Relu"), "not-linear", "Relu is not linear")
        for b in range(blocks)
    )
    report = Report(
        before=info(before, name_of("before.onnx")),
        after=info(after, "after.onnx"),
        fusions=tuple(fusion(b, name_of) for b in range(blocks)),
        refusals=refusals,
        folded=0,
        verification=proof(name=name_of("y")),
        tools={"onnxac": "0", "onnx": "1"},
        command="onnxac optimize before.onnx -o after.onnx",
    )
    return before, after, report


def if_node(name: str = "") -> NodeProto:
    """An If whose bodies read tensor t0 from outside."""
    inner = helper.make_graph(
        [helper.make_node("Relu", ["t0"], ["z"])],
        "inner",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    return helper.make_node("If", ["c"], ["w"], name, then_branch=inner, else_branch=inner)
