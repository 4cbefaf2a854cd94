"""Affine sums: sums of convolutions, added and composed. NumPy in float64; knows nothing of ONNX.

In   geometry (`axis`, `layout`) and kernels (`lazy`, `kernel`) of single operators.
Out  `term.Sum`, the definition of a tensor: `add` puts terms together, `compose` puts the
     definition of one tensor into that of another. Both return an `Obstacle`, with a reason,
     where the result would not be exact.
"""

from onnxac.algebra.add import add
from onnxac.algebra.axis import Axis, Edge
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
    "Sum",
    "Term",
    "add",
    "substitute",
]
