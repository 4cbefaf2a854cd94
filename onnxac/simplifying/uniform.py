"""Whether a tensor holds one number everywhere, however large it is."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from onnx import numpy_helper

from onnxac.graph.model import Model
from onnxac.inference.facts import Facts

# Elements of a constant that are looked at: what is larger is a weight.
_MOST = 2**20


def holds_only(tensor: gs.Tensor, number: float, model: Model, facts: Facts) -> bool:
    """Whether all elements of a tensor are `number`, whatever its shape comes to at run time."""
    if not tensor.name:
        return False
    maker = tensor.inputs[0] if tensor.inputs else None
    origin = None if maker is None else model.origin(maker)
    if maker is not None and origin is not None and facts.is_standard(maker.domain, maker.op):
        if maker.op == "Expand":
            return holds_only(maker.inputs[0], number, model, facts)
        if maker.op == "ConstantOfShape":
            values = [numpy_helper.to_array(a.t) for a in origin.attribute]
            return all(np.all(v == number) for v in values or [np.zeros(1)])
    if facts.is_constant(tensor.name) and facts.count(tensor.name) > _MOST:
        return False
    value = facts.value(tensor.name)
    return value is not None and bool(np.all(value == number))
