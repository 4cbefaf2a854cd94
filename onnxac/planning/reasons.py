"""Why a substitution that is exact was not made."""

from __future__ import annotations

import math
from collections.abc import Iterable

from onnxac.algebra import Obstacle, Sum
from onnxac.recipes.cost import Cost


def dearer(before: Cost, after: Cost, definitions: Iterable[Sum]) -> Obstacle:
    """Why definitions are not what a tensor is put into.

    before, after  costs of the tensor and its readers, and of the readers that took it in
    """
    if math.isinf(after.nodes):
        return _resized(definitions) or Obstacle(
            "operator", "no ONNX operator computes the merged form"
        )
    if after.macs > before.macs:
        return Obstacle(
            "cost", f"merging takes {after.macs:,.0f} multiply-adds instead of {before.macs:,.0f}"
        )
    return Obstacle("cost", "merging would run longer: it moves more data, or needs more nodes")


def _resized(definitions: Iterable[Sum]) -> Obstacle | None:
    """Why what reads a tensor that is made longer can't be written in front of that."""
    axes = [a for d in definitions for t in d.terms for a in t.axes or () if a.sampling]
    if any(a.sampling and a.sampling.rule and not a.is_sampling for a in axes):
        return Obstacle("resize", "it interpolates, and what reads it looks at neighbours")
    if any(a.stride > 1 for a in axes):
        return Obstacle("resize", "what reads it strides over the elements that it repeats")
    if any(a.edge != "zero" for a in axes):
        return Obstacle("resize", "what reads it extends it by a border that is not zero")
    return None
