"""The whole job: read, plan, rewrite, prove, report."""

from __future__ import annotations

from onnx import ModelProto

from onnxac.algebra import AffineSum, Obstacle
from onnxac.cost import Cost
from onnxac.facts import Facts
from onnxac.fold import Folding
from onnxac.lower import Context, Lowered, lower
from onnxac.lower.relocation import Regions
from onnxac.liveness import alive
from onnxac.model import Model, assemble, captured_names
from onnxac.plan import Planner, node_cost, pins
from onnxac.rewrite import Applied, Rewriter


def fuse(model: Model, *, freeze: bool = False) -> tuple[ModelProto, Applied, dict[str, Obstacle]]:
    facts = Facts(model, freeze=freeze)
    context = Context(facts, model.graph)
    captured = captured_names(model.proto.graph)
    named = frozenset(captured | {o.name for o in model.graph.outputs})
    nodes = alive(model.graph.nodes, named, facts.is_constant)
    regions = {r.tensor: r for r in Regions(nodes, context, model.origin, named).find()}
    inner = frozenset(i for r in regions.values() for i in r.inner)
    nodes = [n for n in nodes if id(n) not in inner]
    lowered: dict[str, Lowered] = {}
    costs = {}
    for node in nodes:
        if facts.is_computed_by(node):
            continue
        for index, tensor in enumerate(node.outputs):
            if not tensor.name:
                continue
            region = regions.get(tensor.name)
            found = region.definition if region else lower(node, index, context)
            lowered[tensor.name] = found
            if isinstance(found, AffineSum):
                costs[tensor.name] = node_cost(node, tensor.name, found, facts)
                if region:
                    costs[tensor.name] += Cost(nodes=len(region.inner))
    definitions = {t: s for t, s in lowered.items() if isinstance(s, AffineSum)}
    folding = Folding(facts, named)
    pinned = {**folding.needed(nodes), **pins(model.graph.outputs, nodes, lowered, captured, facts)}
    plan = Planner(definitions, costs, pinned, named, facts).make()
    applied = Rewriter(model, facts, folding).apply(plan)
    return assemble(model), applied, {t: o for t, o in lowered.items() if isinstance(o, Obstacle)}
