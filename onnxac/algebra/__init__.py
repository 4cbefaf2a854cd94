"""The algebra of affine sums. NumPy in float64; knows nothing of ONNX.

`axis` is the geometry along one spatial axis, `frame` the order of axes, `kernel` the
arithmetic of kernel arrays, `affine` puts them together: an `AffineConv` is one
convolution, an `AffineSum` a sum of convolutions of other tensors plus a bias. `merging`
adds convolutions up, `substitution` composes them.
"""

from onnxac.algebra.affine import AffineConv, AffineSum, Obstacle
from onnxac.algebra.axis import Axis, Edge
from onnxac.algebra.deferred import Deferred
from onnxac.algebra.merging import merge
from onnxac.algebra.substitution import substitute

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
