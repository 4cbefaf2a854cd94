"""How well a model quantizes: what is measured, where `equalizing` only changes models.

In   two models, as protobufs or files, and the changes between them; or one model, and candidates
     of factors for it.
Out  `report.Quantization`: ranges of weights, and of activations on given inputs; or the candidate
     that leaves the least noise in 8 bits (`rehearsal`).

Requires that external data lies in the folder that is named with a model. Ensures that nothing is
changed: weights are read one at a time, activations are what ONNX Runtime computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from onnx import ModelProto

from onnxac.equalizing import Candidate
from onnxac.options import Options
from onnxac.quantizing.weights import weight_ranges, widened
from onnxac.report import Fusion, Quantization, Ranges

__all__ = ["least_noisy", "quantization", "weight_ranges"]

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


def least_noisy(
    make: Callable[[], ModelProto],
    folder: Path | None,
    options: Options,
    candidates: Sequence[Candidate],
) -> int | None:
    """Which candidate leaves the least noise in 8 bits: see `rehearsal`."""
    # The runtime is not loaded before something has to be run.
    from onnxac.quantizing.rehearsal import rehearse

    return rehearse(make(), folder, options, candidates)
