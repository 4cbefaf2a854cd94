"""SpaceToDepth: every channel of a block's place is a strided selection of the source."""

from __future__ import annotations

import itertools

import onnx_graphsurgeon as gs

from onnxac.algebra import Axis, Obstacle, Sum
from onnxac.lowering.arrangement import Arranged
from onnxac.lowering.channels import selections
from onnxac.lowering.context import Context, Lowered, Rule, attribute


def _space_to_depth(node: gs.Node, output: int, context: Context) -> Lowered:
    """y[(r₀·b + r₁)·C + c, p] = x[c, b·p + r]"""
    source, block = node.inputs[0], int(attribute(node, "blocksize", 0))
    shape = context.shape(source)
    if shape is None or len(shape) != 4 or not isinstance(shape[1], int):
        return Obstacle("shape", f"the channels of {source.name} are not known")
    if block < 1 or any(isinstance(d, int) and d % block for d in shape[2:]):
        return Obstacle("attributes", "its blocksize does not divide the size of its input")
    channels, step = shape[1], context.step(node)
    parts = tuple(
        (place, tuple((at * channels + c, c) for c in range(channels)))
        for at, place in enumerate(itertools.product(range(block), repeat=2))
    )
    arranged = Arranged((block, block), parts)
    # Sizes are multiples of the block: the last block ends with the source.
    whole = Axis(stride=block, extent=1 - block, fits=True)
    widths = (channels * block * block, channels)
    terms = selections(arranged, (whole, whole), source.name, widths, step)
    return Sum(terms, (), frozenset({step}))


RULES: dict[str, Rule] = {"SpaceToDepth": _space_to_depth}
