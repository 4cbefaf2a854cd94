"""Two models → how well they quantize: ranges of weights, and of activations on given inputs.

In   both models, as protobufs or files, and the changes between them.
Out  `report.Quantization`.

Requires that external data lies in the folder that is named with a model. Ensures that nothing is
changed: weights are read one at a time, activations are what ONNX Runtime computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnx import ModelProto

from onnxac.quantizing.weights import weight_ranges, widened
from onnxac.report import Fusion, Quantization, Ranges

__all__ = ["quantization", "weight_ranges"]

# A model, and the folder where its external data lies.
Place = tuple[ModelProto, Path]


def quantization(
    before: Place,
    after: Place,
    fusions: Sequence[Fusion] = (),
    inputs: Sequence[Path] = (),
    libraries: Sequence[Path] = (),
) -> Quantization:
    """Ranges of both models.

    inputs     files of real inputs: .npz, or folders of .npy
    libraries  of custom operators, for ONNX Runtime
    """
    sides = []
    for model, folder in (before, after):
        found = Ranges(weight_ranges(model, folder))
        if inputs:
            # The runtime is not loaded before something has to be run.
            from onnxac.quantizing.activations import activation_ranges

            ranges = activation_ranges(model, folder, inputs, libraries)
            found = Ranges(found.weights, ranges)
        sides.append(found)
    first, second = sides
    return Quantization(first, second, widened(before, second, fusions))
