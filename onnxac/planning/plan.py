"""The plan: which definitions are substituted into which.

    for T in linear tensors, from the outputs to the inputs:
        if every reader of T can take T's definition in exactly, and the policy takes what
        that costs instead of what T and the readers cost apart: substitute it, and T is gone
    until nothing changes

Tensors with a single reader go first, since nothing is written twice by that; then those that
save time; then those that only save nothing.

A reader may also take in a definition that others keep alive, where that makes the reader
itself cheaper. Such a search is greedy, and a win may lie behind a step that costs. So each
region of connected linear tensors is searched under three policies: careful (no step may
cost), bold (time may not rise) and total (whatever is exact). In the end only what is
cheaper than the nodes it replaces is kept, and of the three results the cheapest.

`search` has the search itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import onnx_graphsurgeon as gs

from onnxac.algebra import Sum
from onnxac.planning.links import Links
from onnxac.planning.outcome import Plan
from onnxac.planning.prices import Prices
from onnxac.planning.search import Policy, Search
from onnxac.recipes.cost import Cost, block_cost, resize_cost
from onnxac.recipes.steps import size

_POLICIES: tuple[Policy, ...] = (
    lambda before, after: after.is_within(before),
    lambda before, after: after.time <= before.time,
    lambda before, after: not math.isinf(after.nodes),
)
# Where the estimate is not to decide: of what these make, that which leaves the fewest nodes.
_EAGER: tuple[Policy, ...] = (
    lambda before, after: after.is_worth_a_try(before),
    lambda before, after: not math.isinf(after.nodes),
)
# In a larger region the total collapse is hopeless, and its terms may be many.
_MAX_TOTAL = 1000


def make_plan(
    definitions: dict[str, Sum],
    costs: dict[str, Cost],
    pinned: dict[str, str],
    named: frozenset[str],
    prices: Prices,
    tries: Callable[[Iterable[str]], bool] = lambda _: False,
) -> Plan:
    """The plan for the linear tensors of a graph.

    definitions  tensor → its definition, in graph order
    costs        tensor → cost of the nodes that make it
    pinned       tensor → why it has to stay, for those that something else reads
    named        tensors whose very name is needed: outputs, and what subgraphs read
    tries        whether changes of a region are made though the estimate is against them
    """
    plan = Plan()
    eager = Prices(prices.facts, eager=True)
    for tensors in _regions(definitions):
        region = {t: definitions[t] for t in tensors}
        searches = []
        tried = tries(tensors)
        policies = _EAGER if tried else _POLICIES
        for policy in policies[:-1] if len(region) > _MAX_TOTAL else policies:
            own = eager if tried else prices
            search = Search(region, costs, pinned, named, own, policy)
            search.run()
            searches.append(search.outcome())
            if not search.declined:
                # No step was refused for its cost: another policy would take the same ones.
                break
        best = min(searches, key=lambda o: o.nodes if tried else o.time)
        plan.changes += best.changes
        plan.aliases.update(best.aliases)
        plan.blocked += best.blocked
    order = {t: i for i, t in enumerate(definitions)}
    plan.changes.sort(key=lambda c: order[c.redefinitions[0].tensor])
    return plan


def _regions(definitions: dict[str, Sum]) -> list[list[str]]:
    """Linear tensors that read each other, in graph order."""
    links = Links(definitions)
    for tensor, definition in definitions.items():
        for source in definition.sources:
            if source in definitions:
                links.join(source, tensor)
    return links.groups()


def node_cost(node: gs.Node, output: str, definition: Sum, prices: Prices) -> Cost:
    """Cost of the node as it is in the graph."""
    made = sum(1 for t in node.outputs if t.name)
    if node.op in ("Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum"):
        # However it would be written: it is one node.
        return replace(prices.of(definition, output), nodes=1.0)
    if node.op in ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"):
        return Cost(nodes=1)
    facts = prices.facts
    elements = size(facts.shape(output))
    if node.op in ("Resize", "Upsample"):
        return resize_cost(size(facts.shape(node.inputs[0].name)), elements)
    if node.op in ("DepthToSpace", "SpaceToDepth"):
        return block_cost(elements)
    # A Slice reads what it keeps, as it does where it is written anew.
    read = sum(size(facts.shape(s)) for s in definition.sources)
    read = elements if node.op == "Slice" else read
    kind = facts.dtype(output)
    weights = sum(
        size(facts.shape(t.name))
        for t in node.inputs
        if facts.is_constant(t.name) and facts.dtype(t.name) == kind
    )
    macs = 0.0
    if node.op == "AveragePool":
        macs = elements * definition.terms[0].taps
    return Cost(
        macs=macs, computing=0.01 * macs, elements=read + elements, weights=weights, nodes=1 / made
    )
