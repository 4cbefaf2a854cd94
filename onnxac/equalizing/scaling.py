"""Factors applied to a graph: weights and offsets are scaled, tensors between them renamed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_graphsurgeon as gs

from onnxac.equalizing.channels import Slots, Values
from onnxac.equalizing.scaled import Offset, Weight
from onnxac.equalizing.walk import Walk
from onnxac.equalizing.weighted import Floats

# Behind the name of a tensor or a weight that is scaled.
SUFFIX = "_equalized"


@dataclass
class Group:
    """Tensors whose channels share factors other than 1.

    tensors  their names, in graph order
    roots    of their slots
    """

    tensors: list[str] = field(default_factory=list)
    roots: set[int] = field(default_factory=set)


def groups_of(found: Walk, factors: Mapping[int, float]) -> list[Group]:
    """The tensors to be scaled, those that share a factor together, in graph order."""
    owners: dict[int, Group] = {}
    for name, channels in found.channels.items():
        roots = {r for r in found.union.roots(channels.slots).tolist() if factors.get(r, 0.0)}
        if not roots:
            continue
        whole = Group([name], roots)
        for group in {id(g): g for r in roots if (g := owners.get(r)) is not None}.values():
            whole = Group(group.tensors + whole.tensors, group.roots | whole.roots)
        owners.update((r, whole) for r in whole.roots)
    place = {name: i for i, name in enumerate(found.channels)}
    distinct = {id(g): g for g in owners.values()}.values()
    for group in distinct:
        group.tensors.sort(key=place.__getitem__)
    return sorted(distinct, key=lambda g: place[g.tensors[0]])


class Scaler:
    """Scales the weights of a walk by factors.

    factors  logarithm (base 2) of the factor of each root slot; 0 where it is missing
    """

    def __init__(self, found: Walk, factors: Mapping[int, float]) -> None:
        self._found, self._factors = found, factors

    def factors(self, slots: Slots | None, count: int = 0) -> Floats:
        """The factor of each slot; as many ones where there are no slots."""
        if slots is None:
            return np.ones(count)
        roots = self._found.union.roots(slots).tolist()
        return np.exp2([self._factors.get(r, 0.0) for r in roots])

    def roots(self, *slots: Slots | None) -> set[int]:
        """The roots among slots that have a factor."""
        known = [self._found.union.roots(s).tolist() for s in slots if s is not None]
        return {r for found in known for r in found if self._factors.get(r, 0.0)}

    def weight(self, weight: Weight) -> Values | None:
        """The weight, scaled; None where it is as it was."""
        if not self.roots(weight.rows, weight.columns):
            return None
        groups, outputs, inputs = weight.largest.shape
        columns = self.factors(weight.columns, groups * inputs)
        rows = 1 / self.factors(weight.rows, groups * outputs)
        tensor = weight.node.inputs[1]
        values = self._found.scene.constant(tensor)
        if values is None:
            raise AssertionError(f"{tensor.name} was a constant")
        scaled = weight.form.scaled(values, columns, rows)
        self._found.facts.release(tensor.name)
        return scaled

    def offset(self, offset: Offset) -> Values | None:
        """The constant, scaled; None where it is as it was."""
        if not self.roots(offset.slots):
            return None
        factors = self.factors(offset.slots)
        values = offset.values
        # One number for all channels becomes one for each.
        shape = [1] * max(-offset.axis - values.ndim, 0) + list(values.shape)
        shape[offset.axis] = factors.size
        divisor = factors.reshape(-1, *[1] * (-offset.axis - 1))
        with np.errstate(over="ignore", under="ignore"):
            scaled = np.asarray(np.broadcast_to(values, shape) / divisor).astype(values.dtype)
        return None if np.array_equal(np.broadcast_to(values, shape), scaled) else scaled


def is_lossless(before: Values, after: Values) -> bool:
    """Whether every number has kept all of its digits, being only scaled by powers of two."""
    first, second = np.frexp(np.broadcast_to(before, after.shape))[0], np.frexp(after)[0]
    return bool(np.array_equal(first, second, equal_nan=True) and np.all(np.isfinite(after)))


def put(
    node: gs.Node, index: int, values: Values, unique: Callable[[str], str], shared: bool
) -> None:
    """Let a node read other values than it did.

    shared  others read the constant too
    """
    tensor = node.inputs[index]
    if isinstance(tensor, gs.Constant) and not shared:
        tensor.values = values
    else:
        node.inputs[index] = gs.Constant(unique(f"{tensor.name}{SUFFIX}"), values)
