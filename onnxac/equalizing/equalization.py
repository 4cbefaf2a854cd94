"""Cross-layer equalization of a graph, in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from onnxac.equalizing.candidate import Judge, candidate
from onnxac.equalizing.channels import Values
from onnxac.equalizing.noise import candidates
from onnxac.equalizing.problem import problem_of
from onnxac.equalizing.scaled import Offset, Weight
from onnxac.equalizing.scaling import SUFFIX, Group, Scaler, groups_of, is_lossless, put
from onnxac.equalizing.stops import RULE, ref, stops
from onnxac.equalizing.walk import Walk, walk
from onnxac.graph.model import Model
from onnxac.graph.names import Names
from onnxac.graph.reachable import alive
from onnxac.inference.constants import OLDEST_OPSET
from onnxac.inference.dims import Shape
from onnxac.inference.facts import Facts
from onnxac.report import Equalization, Refusal, ScaledTensor

_LOSSY = "scaled by a power of two, a weight or a bias beside it would not keep all its digits"


@dataclass(frozen=True)
class Request:
    """What is to be equalized, and how.

    exact    factors as they come out, instead of the nearest powers of two
    named    tensors needed by their very name: outputs, and what subgraphs read
    kept     outputs of nodes to leave alone
    judge    tries candidates; where it can't, that is taken which is expected to be the best
    without  keys of changes to leave out
    """

    exact: bool
    named: frozenset[str]
    kept: frozenset[str]
    judge: Judge
    without: frozenset[str] = frozenset()


@dataclass
class Equalized:
    """What was done.

    shapes  of the tensors that have a new name
    """

    changes: list[Equalization] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)


def equalize(model: Model, facts: Facts, added: Mapping[str, Shape], request: Request) -> Equalized:
    """Give the channels of weights ranges that are alike, where the graph computes the same then.

    added  shapes of tensors that `facts` does not know
    """
    if facts.opset < OLDEST_OPSET:
        return Equalized()
    found = walk(model.graph, facts, added, request.named, request.kept)
    factors = _chosen(found, request)
    done = Equalized(refusals=stops(found))
    for group in groups_of(found, factors):
        if _key(group) in request.without:
            factors = {r: f for r, f in factors.items() if r not in group.roots}
    scaled = _scaled(found, factors, done, exact=request.exact)
    _apply(model, found, scaled, done, powers=not request.exact)
    return done


def _chosen(found: Walk, request: Request) -> dict[int, float]:
    """Logarithm (base 2) of the factor of each root slot that has one."""
    known = candidates(problem_of(found), exact=request.exact)
    if not any(known):
        return {}
    best = request.judge([candidate(found, factors) for factors in known])
    return known[1 if best is None else best]


def _key(group: Group) -> str:
    return Equalization(group.tensors[0], True, (), (), (), ()).key


@dataclass
class _Scaled:
    """New values of weights and offsets, and the factors that they go with."""

    scaler: Scaler
    groups: list[Group]
    weights: list[tuple[Weight, Values]]
    offsets: list[tuple[Offset, Values]]


def _scaled(found: Walk, factors: Mapping[int, float], done: Equalized, *, exact: bool) -> _Scaled:
    """All that is to be put into the graph. What would lose digits is left out, and said so."""
    while True:
        scaler, groups = Scaler(found, factors), groups_of(found, factors)
        weights = [(w, v) for w in found.weights if (v := scaler.weight(w)) is not None]
        offsets = [(o, v) for o in found.offsets if (v := scaler.offset(o)) is not None]
        lossy: set[int] = set()
        for weight, values in weights:
            before = found.scene.constant(weight.node.inputs[1])
            if before is None or not _fits(before, values, exact=exact):
                lossy |= scaler.roots(weight.rows, weight.columns)
        for offset, values in offsets:
            if not _fits(offset.values, values, exact=exact):
                lossy |= scaler.roots(offset.slots)
        if not lossy:
            return _Scaled(scaler, groups, weights, offsets)
        for group in groups:
            if group.roots & lossy:
                factors = {r: f for r, f in factors.items() if r not in group.roots}
                maker = next(w.node for w in found.weights if scaler.roots(w.rows) & group.roots)
                done.refusals.append(Refusal(ref(maker), RULE, _LOSSY))


def _fits(before: Values, after: Values, *, exact: bool) -> bool:
    return bool(np.all(np.isfinite(after))) if exact else is_lossless(before, after)


def _apply(model: Model, found: Walk, scaled: _Scaled, done: Equalized, *, powers: bool) -> None:
    readers: dict[str, int] = {}
    for node in model.graph.nodes:
        for tensor in node.inputs:
            readers[tensor.name] = readers.get(tensor.name, 0) + 1
    names = Names(model)
    new: dict[str, str] = {}
    for group in scaled.groups:
        for name in group.tensors:
            new[name] = names.unique(f"{name}{SUFFIX}")
            shape = found.scene.shape(name)
            if shape is not None:
                done.shapes[new[name]] = shape
    done.changes += [_told(model, found, scaled, g, new, powers=powers) for g in scaled.groups]
    for weight, values in scaled.weights:
        put(weight.node, 1, values, names.unique, shared=False)
    for offset, values in scaled.offsets:
        shared = readers[offset.node.inputs[offset.index].name] > 1
        put(offset.node, offset.index, values, names.unique, shared)
    for node in model.graph.nodes:
        for tensor in node.outputs:
            tensor.name = new.get(tensor.name, tensor.name)
    named = [t.name for t in model.graph.outputs]
    model.graph.nodes = alive(model.graph.nodes, [*named, *found.named])


def _told(
    model: Model,
    found: Walk,
    scaled: _Scaled,
    group: Group,
    new: Mapping[str, str],
    *,
    powers: bool,
) -> Equalization:
    scaler, own = scaled.scaler, set(group.tensors)
    makers = [w.node for w in found.weights if scaler.roots(w.rows) & group.roots]
    readers = [w.node for w in found.weights if scaler.roots(w.columns) & group.roots]
    weighted = {id(n) for n in (*makers, *readers)}
    passing = [
        n
        for n in model.graph.nodes
        if id(n) not in weighted and any(t.name in own for t in (*n.inputs, *n.outputs))
    ]
    tensors = []
    for name in group.tensors:
        channels = found.channels[name]
        factors = scaler.factors(channels.slots).tolist()
        axis = channels.axis - len(found.scene.shape(name) or ())
        tensors.append(ScaledTensor(name, new[name], axis, tuple(factors)))
    return replace(
        Equalization(group.tensors[0], powers, tuple(tensors), (), (), ()),
        makers=tuple(map(ref, makers)),
        passing=tuple(map(ref, passing)),
        readers=tuple(map(ref, readers)),
    )
