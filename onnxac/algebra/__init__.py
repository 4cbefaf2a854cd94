"""Affine sums: sums of convolutions, added and composed. NumPy in float64; knows nothing of ONNX.

In   geometry (`axis`, `layout`) and kernels (`lazy`, `kernel`) of single operators.
Out  `term.Sum`, the definition of a tensor: `add` puts terms together, `compose` puts the
     definition of one tensor into that of another. Both return an `Obstacle`, with a reason,
     where the result would not be exact.

Requires that each term says by its view which axis of its source stands where. Ensures that what
is returned equals what went in, borders included, for all weights and at all sizes, in exact
arithmetic; nothing is read from a kernel before somebody asks for its values, and no value is
ever changed: terms and sums are immutable.
"""

from onnxac.algebra.add import add
from onnxac.algebra.axis import Axis, Edge, Sampling
from onnxac.algebra.compose import substitute
from onnxac.algebra.lazy import Lazy
from onnxac.algebra.term import Bias, Channels, Obstacle, Sum, Term

__all__ = [
    "Axis",
    "Bias",
    "Channels",
    "Edge",
    "Lazy",
    "Obstacle",
    "Sampling",
    "Sum",
    "Term",
    "add",
    "substitute",
]
