"""Quantize after fusion: what it gives in size, latency and error.

    python examples/quantize_after_fusion.py [MODEL.onnx]

ONNX Runtime's static quantization puts a QuantizeLinear/DequantizeLinear pair around every
operator. A block of parallel branches is quantized once per branch and once more per sum; the
convolution it can be fused into is quantized once. So fuse first, then quantize.

Both models get the same treatment: ONNX Runtime's own pre-processing (which folds a batch
normalization into the convolution before it), the same calibration inputs, per-channel weights.
Errors are against the float output of the original model, on inputs that calibration did not see.
Calibration data here is noise from a fixed seed: take samples of your data set instead.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from rich.console import Console
from rich.table import Table

import onnxac
from onnxac.proof.latency import compare_latency

DEFAULT = Path(__file__).parent.parent / "models" / "onnx/mobileone/L.onnx"
FREE_EXTENT = 32

Inputs = dict[str, NDArray[np.float32]]


def samples(model: Path, count: int, seed: int) -> list[Inputs]:
    """Seeded noise for every input of the model, batch 1."""
    generator = np.random.default_rng(seed)
    shapes = {
        value.name: tuple(
            (d.dim_value or (FREE_EXTENT if axis else 1))
            for axis, d in enumerate(value.type.tensor_type.shape.dim)
        )
        for value in onnx.load(model, load_external_data=False).graph.input
    }
    return [
        {name: generator.standard_normal(shape, np.float32) for name, shape in shapes.items()}
        for _ in range(count)
    ]


class Calibration(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """The calibration inputs, one at a time, as ONNX Runtime asks for them."""

    def __init__(self, inputs: list[Inputs]) -> None:
        self._left: Iterator[Inputs] = iter(inputs)

    def get_next(self) -> Inputs | None:
        """The next inputs, or None when there are no more."""
        return next(self._left, None)


def quantize(model: Path, target: Path, calibration: list[Inputs]) -> None:
    """Write the model with 8-bit weights and activations."""
    prepared = target.with_suffix(".prepared.onnx")
    # Symbolic shapes need sympy, and buy a convolutional network nothing.
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    quantize_static(prepared, target, Calibration(calibration), per_channel=True)


def outputs(model: Path, inputs: list[Inputs]) -> NDArray[np.float64]:
    """Everything that the model computes for the inputs, as one vector."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.concatenate([y.ravel() for x in inputs for y in session.run(None, x)]).astype(float)


def main() -> None:
    """Quantize the original and the fused model, and print both side by side."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", type=Path, default=DEFAULT)
    model = parser.parse_args().model
    # What it suggests, pre-processing, is done; what it skips over, it says nevertheless.
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fused = folder / "fused.onnx"
        onnxac.optimize_file(model, fused)
        calibration = samples(model, count=32, seed=0)
        small, small_fused = folder / "int8.onnx", folder / "fused.int8.onnx"
        quantize(model, small, calibration)
        quantize(fused, small_fused, calibration)
        Console().print(comparison(model, [(model, fused), (small, small_fused)]))


def comparison(reference: Path, pairs: list[tuple[Path, Path]]) -> Table:
    """One row for each model; the two of a pair are timed side by side."""
    inputs = samples(reference, count=64, seed=1)
    expected = outputs(reference, inputs)
    table = Table("model", "nodes", "bytes", "latency, ms", "error")
    for column in table.columns[1:]:
        column.justify = "right"
    for (before, after), kind in zip(pairs, ("float32", "int8"), strict=True):
        latency = compare_latency(before, after, runs=200)
        for path, label, milliseconds in (
            (before, "as exported", latency.before_ms),
            (after, "fused", latency.after_ms),
        ):
            error = np.linalg.norm(outputs(path, inputs) - expected) / np.linalg.norm(expected)
            table.add_row(
                f"{kind}, {label}",
                str(len(onnx.load(path, load_external_data=False).graph.node)),
                f"{path.stat().st_size:,}",
                f"{milliseconds:.3f}",
                f"{error:.1e}",
            )
    return table


if __name__ == "__main__":
    main()
