"""Which outputs are bounded by the operator that makes them, and what follows for their scale.

Sigmoid, Softmax and the like are computed to so many digits of their *range*: ONNX Runtime's
Sigmoid is accurate to 1e-7, and 1e-6 has no further digits there. An output whose values come
from such an operator is judged at the scale of that range, even where every value of a run
happens to be close to the end of it.
"""

from __future__ import annotations

import onnx

# The largest magnitude of what each of them gives.
BOUNDED = {
    "Sigmoid": 1.0,
    "HardSigmoid": 1.0,
    "Tanh": 1.0,
    "Softmax": 1.0,
    "Softsign": 1.0,
    "Erf": 1.0,
    "Sin": 1.0,
    "Cos": 1.0,
    "LpNormalization": 1.0,
}
# Operators that hand on values of their first operand, or means of them; Concat of any.
HANDS_ON = frozenset(
    {
        "Identity", "Cast", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Expand",
        "Slice", "Split", "Gather", "GatherElements", "GatherND", "Concat", "Tile", "Dropout",
        "DepthToSpace", "SpaceToDepth", "Pad", "Resize", "Upsample", "TopK",
        "MaxPool", "GlobalMaxPool", "AveragePool", "GlobalAveragePool", "ReduceMax", "ReduceMin",
        "ReduceMean",
    }
)  # fmt: skip


def range_of(graph: onnx.GraphProto, output: str) -> float:
    """The range of the bounded operators whose values an output hands on; 0 where there is none.

    A tensor that also holds other values (boxes beside scores) has the range of the bounded ones.
    """
    producers = {name: node for node in graph.node for name in node.output}
    found, seen, waiting = 0.0, {output}, [output]
    while waiting:
        node = producers.get(waiting.pop())
        if node is None:
            continue
        if node.op_type in BOUNDED:
            found = max(found, BOUNDED[node.op_type])
        elif node.op_type in HANDS_ON:
            sources = node.input if node.op_type == "Concat" else node.input[:1]
            waiting += [s for s in sources if s and s not in seen]
            seen.update(sources)
    return found
