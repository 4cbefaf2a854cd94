"""The linear tensors of a graph: their definitions, what they cost, and which must stay."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_graphsurgeon as gs

from onnxac.algebra import Obstacle, Sum
from onnxac.graph.bodies import is_unbound
from onnxac.graph.fixed import Fixed
from onnxac.graph.model import Model
from onnxac.graph.operators import is_standard
from onnxac.graph.reachable import alive
from onnxac.inference.facts import Facts
from onnxac.kinds import kind_of
from onnxac.lowering import Context, Lowered, lower
from onnxac.lowering.relocation import Region, Regions
from onnxac.planning.folding import Folding
from onnxac.planning.fusible import whole
from onnxac.planning.outcome import Blocked
from onnxac.planning.plan import node_cost
from onnxac.planning.prices import Prices
from onnxac.recipes.cost import Cost, resize_cost
from onnxac.recipes.steps import size
from onnxac.reordering.order import Reordered


@dataclass(frozen=True)
class Survey:
    """What the planner needs to know.

    definitions  tensor → definition, in graph order
    costs        tensor → cost of the nodes that make it now
    pinned       tensor → why it has to stay
    named        tensors needed by their very name: outputs, and what subgraphs read
    folding      which computed constants will be stored
    blocked      nodes that could have been linear, and why they are not
    kinds        number of a node → the kind of rewrite that it takes part in (`onnxac.kinds`)
    """

    facts: Facts
    prices: Prices
    definitions: dict[str, Sum]
    costs: dict[str, Cost]
    pinned: dict[str, str]
    named: frozenset[str]
    folding: Folding
    blocked: tuple[Blocked, ...]
    kinds: dict[int, str]


def untouched(model: Model, facts: Facts, fixed: Fixed) -> dict[str, Obstacle]:
    """Tensors whose nodes are left as they are, and why: as asked, or what runtimes run as one."""
    left = {t: Obstacle("fused", r) for t, r in whole(model.graph.nodes, facts).items()}
    return left | {t: Obstacle("keep", "it is kept as it is, as asked") for t in fixed.kept}


def survey(
    model: Model,
    fixed: Fixed,
    left: Mapping[str, Obstacle],
    moved: Reordered,
    kinds: Collection[str] = (),
) -> Survey:
    """Look at every node once; nothing is changed.

    left   tensor → why the node that makes it is left as it is
    moved  what the reordering of the graph has left to know
    kinds  those of rewrites that are left out
    """
    facts, named = moved.facts, fixed.named
    stacks = {s.tensor: s for s in moved.stacks}
    context, prices = Context(facts, model.graph), Prices(facts)
    nodes = alive(model.graph.nodes, named, facts.is_constant)
    regions = {r.tensor: r for r in Regions(nodes, context, model.origin, named).find()}
    inner = frozenset(i for r in regions.values() for i in r.inner)
    told = _kinds(nodes, regions.values(), context)
    nodes = [n for n in nodes if id(n) not in inner]
    lowered: dict[str, Lowered] = {}
    costs: dict[str, Cost] = {}
    for node in nodes:
        for index, tensor in enumerate(node.outputs):
            if tensor.name:
                region = regions.get(tensor.name)
                found = _definition(node, index, context, region, left)
                if isinstance(found, Sum) and told.get(context.step(node)) in kinds:
                    found = _unwanted(told[context.step(node)])
                lowered[tensor.name] = found
                if isinstance(found, Sum):
                    costs[tensor.name] = _node_cost(node, tensor.name, found, prices, region)
                    costs[tensor.name] += Cost(nodes=len(region.inner) if region else 0)
                    stack = stacks.get(tensor.name)
                    if stack is not None:
                        steps = found.steps | {context.step(n) for n in stack.moved}
                        lowered[tensor.name] = replace(found, steps=steps)
                        # A Concat that was put in has not cost anything so far.
                        own = Cost() if stack.partial else costs[tensor.name]
                        costs[tensor.name] = own + stack.credit
    folding = Folding(facts, named)
    pinned = {**folding.needed(nodes), **_pins(fixed, nodes, lowered)}
    # A part of a Concat is joined to become one convolution, not to be spread out again.
    pinned |= {s.tensor: f"{s.tensor} is one convolution's" for s in stacks.values() if s.partial}
    definitions = {t: s for t, s in lowered.items() if isinstance(s, Sum)}
    obstacles = {t: o for t, o in lowered.items() if isinstance(o, Obstacle)} | moved.declined
    blocked = tuple(Blocked(t, o) for t, o in obstacles.items())
    return Survey(facts, prices, definitions, costs, pinned, named, folding, blocked, told)


def _node_cost(
    node: gs.Node, output: str, definition: Sum, prices: Prices, region: Region | None
) -> Cost:
    if region is None or region.kind != "upsample":
        return node_cost(node, output, definition, prices)
    # However it is spelled, elements are repeated.
    return resize_cost(*(size(prices.facts.shape(t)) for t in (region.source, output)))


def _kinds(nodes: Sequence[gs.Node], regions: Iterable[Region], context: Context) -> dict[int, str]:
    """The kind of each node, by its number; that of a region for all that it is made of."""
    found = {context.step(n): kind for n in nodes if (kind := kind_of(n.op)) is not None}
    for region in regions:
        found.update(dict.fromkeys(region.definition.steps, region.kind))
    return found


def _unwanted(kind: str) -> Obstacle:
    return Obstacle("without", f"it is left as it is, since {kind} is left out")


def _definition(
    node: gs.Node,
    index: int,
    context: Context,
    region: Region | None,
    left: Mapping[str, Obstacle],
) -> Lowered:
    if node.outputs[index].name in left:
        return left[node.outputs[index].name]
    if is_unbound(node.domain):
        return Obstacle("reference", "an attribute is what a caller of its function says")
    if not is_standard(node.domain):
        return Obstacle("custom", f"{node.domain}.{node.op} is not a standard operator")
    return region.definition if region else lower(node, index, context)


def _pins(fixed: Fixed, nodes: Sequence[gs.Node], lowered: dict[str, Lowered]) -> dict[str, str]:
    pinned = {t: f"{t} is an output of the model" for t in fixed.outputs}
    for name in fixed.captured:
        pinned.setdefault(name, f"{name} is read inside a subgraph")
    for node in nodes:
        linear = [isinstance(lowered.get(t.name), Sum) for t in node.outputs if t.name]
        if linear and all(linear):
            continue
        for tensor in node.inputs:
            pinned.setdefault(
                tensor.name, f"{node.op} {node.name or node.outputs[0].name} reads it too"
            )
    return pinned
