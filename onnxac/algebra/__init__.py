"""The algebra of affine sums. NumPy in float64; knows nothing of ONNX.

`axis` is the geometry along one spatial axis, `kernel` the arithmetic of kernel
arrays, `affine` puts both together: an `AffineConv` is one convolution, an
`AffineSum` a sum of convolutions of other tensors plus a bias.
"""

from onnxac.algebra.affine import AffineConv, AffineSum, Obstacle, merge, substitute
from onnxac.algebra.axis import Axis, Edge
from onnxac.algebra.deferred import Deferred

__all__ = [
    "AffineConv",
    "AffineSum",
    "Axis",
    "Deferred",
    "Edge",
    "Obstacle",
    "merge",
    "substitute",
]
