"""The whole job: read, plan, rewrite, prove, report."""

from __future__ import annotations

from onnx import ModelProto

from onnxac.algebra import AffineSum, Obstacle
from onnxac.facts import Facts
from onnxac.fold import Folding
from onnxac.lower import Context, Lowered, lower
from onnxac.model import Model, assemble, captured_names
from onnxac.plan import Planner, node_cost, pins
from onnxac.rewrite import Applied, Rewriter


def fuse(model: Model, *, freeze: bool = False) -> tuple[ModelProto, Applied, dict[str, Obstacle]]:
    facts = Facts(model, freeze=freeze)
    nodes = list(model.graph.nodes)
    context = Context(facts, {id(n): i for i, n in enumerate(nodes)}, model.opset)
    lowered: dict[str, Lowered] = {}
    costs = {}
    for node in nodes:
        if all(facts.is_constant(t.name) for t in node.outputs):
            continue
        for index, tensor in enumerate(node.outputs):
            if tensor.name:
                found = lower(node, index, context)
                lowered[tensor.name] = found
                if isinstance(found, AffineSum):
                    costs[tensor.name] = node_cost(node, tensor.name, found, facts)
    captured = captured_names(model.proto.graph)
    named = frozenset(captured | {o.name for o in model.graph.outputs})
    definitions = {t: s for t, s in lowered.items() if isinstance(s, AffineSum)}
    folding = Folding(facts, named)
    pinned = {**folding.needed(nodes), **pins(model.graph, lowered, captured, facts)}
    plan = Planner(definitions, costs, pinned, named, facts).make()
    applied = Rewriter(model, facts, folding).apply(plan)
    return assemble(model), applied, {t: o for t, o in lowered.items() if isinstance(o, Obstacle)}
