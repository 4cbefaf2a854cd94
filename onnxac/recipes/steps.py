"""Steps: the operators that a recipe is made of, each with its attributes, weights and cost.

A step takes one tensor, given by its dims, and says what comes out. Everything about opsets
that a rewrite has to know is here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from onnx import TensorProto

from onnxac.algebra import Axis, Lazy
from onnxac.algebra.kernel import Array
from onnxac.algebra.layout import GROUPED, View, factors, named
from onnxac.inference.dims import Dim, Extent
from onnxac.recipes.cost import NOMINAL_EXTENT, Cost, resize_cost

Dims = tuple[Dim, ...]
# The end of an axis, in the bounds of a Slice.
FAR = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Weight:
    """A constant operand: floats that are rounded to the model's type, or integers.

    kind  element type of floats, where that is neither the model's nor the step's
    """

    role: str
    floats: Lazy[Array] | None = None
    integers: tuple[int, ...] = ()
    kind: int | None = None


# An operand that is left out.
ABSENT = Weight("")


@dataclass(frozen=True, slots=True)
class Step:
    """One node. Its inputs are what the step before made, and the weights.

    dims       of what comes out
    first      the weights stand before the tensor: W·x
    weighted   it is told as an operator that branches went into
    kind       element type of its weights, where that is not the tensor's own
    copies     a bias that it takes in is repeated so often, for each channel
    """

    op: str
    dims: Dims
    cost: Cost
    attrs: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[Weight, ...] = ()
    first: bool = False
    weighted: bool = False
    kind: int | None = None
    copies: int = 1

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for steps that do the same to the same tensor."""
        held = tuple((w.role, id(w.floats), w.integers) for w in self.weights)
        return (self.op, repr(self.attrs), held, self.first, self.kind)


def size(dims: Sequence[Dim] | None) -> float:
    """Elements of a tensor; dynamic extents count as nominal, a dynamic batch as 1."""
    if dims is None:
        return float(NOMINAL_EXTENT**3)
    if all(type(d) is int for d in dims):
        return math.prod(dims)  # type: ignore[arg-type]
    return math.prod(
        max(d.nominal(NOMINAL_EXTENT), 1) if isinstance(d, Extent) else d for d in dims
    )


def moving(before: Dims, after: Dims) -> Cost:
    """What it costs to copy a tensor to other places."""
    return Cost(elements=size(before) + size(after), nodes=1)


def rearranged(dims: Dims, view: View, target: Dims, opset: int) -> tuple[Step, ...] | None:
    """Transpose and Reshape, as far as they are needed, to a view; None where they can't do it."""
    names = named(view)
    order = [i for i in names if dims[i] != 1]
    steps: list[Step] = []
    if any(a > b for a, b in pairwise(order)):
        if GROUPED in view:
            return None
        # Axes of extent 1 that nobody named come where new ones are wanted: no Reshape then.
        rest = [i for i in range(len(dims)) if i not in names]
        perm: list[int] = []
        for entry in view:
            perm += rest[:1] if entry is None else named((entry,))
            del rest[: entry is None]
        perm += rest
        turned = tuple(dims[i] for i in perm)
        steps.append(Step("Transpose", turned, moving(dims, turned), {"perm": perm}))
        dims = turned
    if dims == target:
        return tuple(steps)
    last = _reshape(dims, target, opset)
    return None if last is None else (*steps, last)


def _reshape(dims: Dims, target: Dims, opset: int) -> Step | None:
    """Another shape for the same elements, written so that what is dynamic stays dynamic."""
    if len(target) < len(dims):
        gone = _ones(dims, target)
        if gone is not None:
            return _axes_step("Squeeze", gone, target, opset)
    if len(target) > len(dims):
        new = _ones(target, dims)
        if new is not None:
            return _axes_step("Unsqueeze", new, target, opset)
    if len(target) == 2 and len(dims) > 2:
        for axis in range(len(dims) + 1):
            if factors(dims[:axis]) == factors(target[:1]):
                return Step("Flatten", target, Cost(nodes=1), {"axis": axis})
    written: list[int] = []
    for at, dim in enumerate(target):
        if isinstance(dim, int):
            written.append(dim)
        elif at < len(dims) and dims[at] == dim:
            written.append(0)
        else:
            written.append(-1)
    if written.count(-1) > 1:
        return None
    weight = Weight("shape", integers=tuple(written))
    return Step("Reshape", target, Cost(nodes=1), {}, (weight,))


def _ones(longer: Dims, shorter: Dims) -> list[int] | None:
    """Axes of extent 1 without which the longer dims are the shorter ones."""
    found: list[int] = []
    at = 0
    for axis, dim in enumerate(longer):
        if (
            at < len(shorter)
            and dim == shorter[at]
            and (dim != 1 or len(longer) - axis == len(shorter) - at)
        ):
            at += 1
        elif dim == 1:
            found.append(axis)
        else:
            return None
    return found if at == len(shorter) else None


def _axes_step(op: str, axes: list[int], target: Dims, opset: int) -> Step:
    if opset < 13:
        return Step(op, target, Cost(nodes=1), {"axes": axes})
    return Step(op, target, Cost(nodes=1), {}, (Weight("axes", integers=tuple(axes)),))


def sliced(cuts: Mapping[int, tuple[int, int, int]], target: Dims, opset: int) -> Step:
    """A Slice; `cuts` has for an axis its start, its end and its step."""
    axes = tuple(cuts)
    bounds = {
        "starts": tuple(cuts[a][0] for a in axes),
        "ends": tuple(cuts[a][1] for a in axes),
        "axes": axes,
    }
    cost = moving(target, target)
    if opset < 10:
        return Step("Slice", target, cost, {k: list(v) for k, v in bounds.items()})
    if any(cuts[a][2] != 1 for a in axes):
        bounds["steps"] = tuple(cuts[a][2] for a in axes)
    return Step("Slice", target, cost, {}, tuple(Weight(k, integers=v) for k, v in bounds.items()))


def padded(
    dims: Dims,
    amounts: Sequence[tuple[int, int]],
    mode: str,
    target: Dims,
    opset: int,
    value: Lazy[Array] | None = None,
) -> Step:
    """A Pad; before opset 19 it has no mode wrap, and is told as several nodes."""
    flat = [b for b, _ in amounts] + [e for _, e in amounts]
    cost = moving(dims, target)
    if mode == "wrap" and opset < 19:
        parts = sum(1 + (b > 0) + (e > 0) for b, e in amounts if b or e)
        return Step("Wrap", target, cost + Cost(nodes=parts - 1), {"amounts": tuple(amounts)})
    if opset < 11:
        attrs: dict[str, Any] = {"mode": mode, "pads": flat}
        if value is not None:
            attrs["value"] = float(value().reshape(-1)[0])
        return Step("Pad", target, cost, attrs)
    held = [Weight("pads", integers=tuple(flat))]
    if value is not None:
        held.append(Weight("value", floats=Lazy(lambda v: v.reshape(-1)[0], value)))
    return Step("Pad", target, cost, {"mode": mode}, tuple(held))


@cache
def _numbers(*values: float) -> Lazy[Array]:
    """Numbers as an operand; the same ones are the same operand."""
    return Lazy.of(np.array(values, np.float64))


def made(dim: Dim, axis: Axis) -> Dim:
    """The number of outputs of an axis over an extent."""
    if isinstance(dim, int):
        return axis.length(dim)
    return dim.through(axis) or Extent(f"?{axis}({dim})")


def resized(dims: Dims, axes: Sequence[Axis], opset: int) -> Step | None:
    """A Resize, or an Upsample, that makes some axes longer; None where the opset has none.

    axes  for each axis of the tensor what it is made longer by, if at all
    """
    samplings = [a.sampling for a in axes]
    target = tuple(made(d, Axis(sampling=s)) for d, s in zip(dims, samplings, strict=True))
    rules = {s.rule for s in samplings if s is not None}
    if len(rules) != 1 or (opset < 11 and rules != {()}):
        return None
    cost = resize_cost(size(dims), size(target))
    factors = [1.0 if s is None else float(s.factor) for s in samplings]
    if opset < 9:
        return Step("Upsample", target, cost, {"mode": "nearest", "scales": factors})
    held = Weight("scales", _numbers(*factors), kind=TensorProto.FLOAT)
    if opset < 11:
        return Step(
            "Resize" if opset > 9 else "Upsample", target, cost, {"mode": "nearest"}, (held,)
        )
    (rule,) = rules
    attrs = dict(rule) or {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    roi = Weight("roi", _numbers(), kind=TensorProto.FLOAT)
    return Step("Resize", target, cost, attrs, (roi if opset < 13 else ABSENT, held))


def grown(dims: Dims, pads: Sequence[tuple[int, int]]) -> Dims:
    """Dims after a padding; a negative one crops."""
    return tuple(
        d + b + e if isinstance(d, int) else d.through(Axis(offset=-b, extent=b + e)) or d
        for d, (b, e) in zip(dims, pads, strict=True)
    )
