"""A graph whose tensors were scaled, seen as if they had not been.

A report tells of tensors that one factor per channel divides, and of their names before. Behind
what makes such a tensor a product with the factors is put in, which has the old name; in front of
each that reads it, a division by them. Whatever the factors are, that computes what the graph
computes: so they are nothing that has to be believed, and each node between the two is compared
with its counterpart as if nothing had been scaled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper

from onnxac.proof.certificate.cut import Array, Graph
from onnxac.report import Equalization, ScaledTensor

_HAND_ON = {"Mul", "Div", "GlobalMaxPool", "Abs", "Resize", "Upsample"}
# Rounds nothing in float64: none of its sums becomes too large or too small by it.
_MOST = 2.0**64


def flaw(graph: Graph, changes: Iterable[Equalization]) -> str | None:
    """Why what a report tells of factors can't be; None where it can."""
    taken = set(graph.makers) | set(graph.initializers) | graph.inputs
    seen: set[str] = set()
    for change in changes:
        for told in change.tensors:
            factors = np.asarray(told.factors)
            if told.after not in graph.makers or told.after in graph.elsewhere | seen:
                return f"tensor {told.after!r} is none between two nodes"
            if told.before in taken | seen:
                return f"tensor {told.before!r} is in the result"
            if told.axis >= 0 or not factors.size:
                return f"the channels of {told.after!r} are on no axis"
            if not np.all((factors >= 1 / _MOST) & (factors <= _MOST)):
                return f"a factor of {told.after!r} is none that could be divided by"
            if change.powers and not np.all(np.frexp(factors)[0] == 0.5):
                return f"a factor of {told.after!r} is no power of two"
            seen |= {told.before, told.after}
    return None


def unscaled(graph: Graph, changes: Iterable[Equalization]) -> Graph:
    """The graph with its scaled tensors under their names before, multiplied as they were."""
    told = {t.after: (t, c.powers) for c in changes for t in c.tensors}
    if not told:
        return graph
    proto = GraphProto(name=graph.proto.name, output=graph.proto.output)
    constants: dict[str, Array] = {}
    divided: dict[str, str] = {}
    for node in graph.proto.node:
        instead: dict[str, str] = {}
        for name in dict.fromkeys(n for n in node.input if n in told):
            scaled, _ = told[name]
            instead[name] = f"{name}/{len(divided)}"
            divided[instead[name]] = scaled.before
            proto.node.append(_scale("Div", scaled.before, instead[name], constants, scaled))
        proto.node.append(_reading(node, instead) if instead else node)
        for name in node.output:
            if name in told:
                scaled, _ = told[name]
                proto.node.append(_scale("Mul", name, scaled.before, constants, scaled))
    rounded = {_factors(t) for t, powers in told.values() if not powers}
    header = {
        name: TensorProto(name=name, data_type=TensorProto.DOUBLE, dims=array.shape)
        for name, array in constants.items()
    }
    seen = Graph(proto, graph.opset, graph.inputs, graph.folder)
    seen.initializers = dict(graph.initializers)
    # A power of two does not count as a weight that was rounded.
    seen.initializers.update((n, t) for n, t in header.items() if n in rounded)
    seen.added = constants
    seen.divided = divided
    return seen


def commutes(before: Graph, after: Graph, name: str, told: Mapping[str, ScaledTensor]) -> bool:
    """Whether a node does to a scaled tensor what its counterpart does, and hands factors on.

    For what the evaluator of this room can't compare, and need not: (x/s)·g is (x·g)/s for any
    tensors x and g, though their product is affine in neither; and the largest element, the
    magnitude or the nearest one of x/s is that of x, divided by s.

    told  scaled tensors by their names after
    """
    node = next((n for n in after.proto.node if (n.name or next(iter(n.output), "")) == name), None)
    if node is None or node.domain not in ("", "ai.onnx") or not node.input:
        return False
    own, result = [told.get(n) for n in node.input], told.get(node.output[0])
    scaled = own[0] or (own[1] if node.op_type == "Mul" else None)
    if result is None or scaled is None or sum(t is not None for t in own) > 1:
        return False
    made = before.makers.get(result.before)
    other = None if made is None else before.proto.node[made]
    names = [t.before if t else n for n, t in zip(node.input, own, strict=True)]
    return (
        (node.op_type in _HAND_ON or (node.op_type == "Clip" and _is_relu(after, node)))
        and other is not None
        and (other.op_type, other.domain) == (node.op_type, node.domain)
        and list(other.attribute) == list(node.attribute)
        and list(other.input) == names
        and (scaled.axis, scaled.factors) == (result.axis, result.factors)
    )


def _is_relu(graph: Graph, node: NodeProto) -> bool:
    """Whether a Clip has no bound but 0, from below."""
    attributes = {a.name: a.f for a in node.attribute}
    if attributes or len(node.input) < 2 or any(node.input[2:]):
        return attributes.get("min") == 0 and not any(n != "min" for n in attributes)
    return node.input[1] in graph.initializers and not np.any(graph.value(node.input[1]))


def _factors(scaled: ScaledTensor) -> str:
    return f"{scaled.after}/factors"


def _scale(
    op: str, source: str, target: str, constants: dict[str, Array], scaled: ScaledTensor
) -> NodeProto:
    name = _factors(scaled)
    factors = np.asarray(scaled.factors, np.float64)
    constants[name] = factors.reshape(-1, *[1] * (-scaled.axis - 1))
    return helper.make_node(op, [source, name], [target])


def _reading(node: NodeProto, instead: Mapping[str, str]) -> NodeProto:
    changed = NodeProto()
    changed.CopyFrom(node)
    changed.input[:] = [instead.get(n, n) for n in node.input]
    return changed
