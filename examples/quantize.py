"""Quantize as exported, fused, and fused and equalized: what each gives in 8-bit integers.

    python examples/quantize.py [MODEL.onnx ...] [--draws N]

ONNX Runtime's static quantization puts a QuantizeLinear/DequantizeLinear pair around every
operator. A block of parallel branches is quantized once per branch and once more per sum; the
convolution it is fused into is quantized once. But its channels may differ widely in range, and
one scale for all of them then has no steps left for the small ones: `--equalize` evens that out.

All forms get the same treatment: ONNX Runtime's own pre-processing (which folds a batch
normalization into the convolution before it), the same calibration inputs. The signal-to-noise
ratio is that of all outputs against the float output of the original, in decibels, on inputs that
calibration did not see. Inputs here are noise from a fixed seed: take samples of your data set.

The models of this repository have the weights that their initialization left, and no training. So
their statistics are made as training leaves them (`trained`), and each figure is the median over
several draws: in networks as small as these, one draw differs from the next by 2 dB.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from rich.console import Console
from rich.table import Table

import onnxac
from onnxac.proof.running.latency import compare_latency

MODELS = Path(__file__).parent.parent / "models" / "onnx"
DEFAULT = [MODELS / name / "B.onnx" for name in ("repvgg", "mobileone", "ac_resnet")]
FREE_EXTENT = 32
# Calibrated on so many inputs, measured on so many others.
CALIBRATION, MEASURED = 16, 64
# How far scales and shifts are spread in a trained network: log-normal, and normal.
SCALES, SHIFTS = 1.0, 0.3

Inputs = dict[str, NDArray[np.float32]]
# Type of the activations, and whether each channel of a weight has a scale of its own.
SCHEMES = {
    "U8S8": (QuantType.QUInt8, False),
    "S8S8": (QuantType.QInt8, False),
    "U8S8, per channel": (QuantType.QUInt8, True),
    "S8S8, per channel": (QuantType.QInt8, True),
}


def samples(model: ModelProto, count: int, seed: int) -> list[Inputs]:
    """Seeded noise for every input of the model, batch 1."""
    generator = np.random.default_rng(seed)
    shapes = {
        value.name: tuple(
            (d.dim_value or (FREE_EXTENT if axis else 1))
            for axis, d in enumerate(value.type.tensor_type.shape.dim)
        )
        for value in model.graph.input
    }
    return [
        {name: generator.standard_normal(shape, np.float32) for name, shape in shapes.items()}
        for _ in range(count)
    ]


def trained(model: ModelProto, seed: int) -> ModelProto:
    """The model with statistics as training leaves them.

    Mean and variance of each batch normalization are those of what it normalizes, on 16 inputs,
    one layer after the other; its scale is log-normal (σ = 1) and its shift normal (σ = 0.3), as
    channels of trained networks differ by an order of magnitude. A model without any is as it was.
    """
    generator = np.random.default_rng(seed)
    result = ModelProto.FromString(model.SerializeToString())
    stored = {t.name: t for t in result.graph.initializer}
    feeds = samples(model, CALIBRATION, seed=100 + seed)
    for node in [n for n in result.graph.node if n.op_type == "BatchNormalization"]:
        probe = ModelProto.FromString(result.SerializeToString())
        del probe.graph.output[:]
        probe.graph.output.append(onnx.ValueInfoProto(name=node.input[0]))
        session = ort.InferenceSession(probe.SerializeToString())
        seen = np.concatenate([session.run(None, f)[0] for f in feeds])
        axes = (0, *range(2, seen.ndim))
        channels = seen.shape[1]
        scale = np.exp(generator.normal(0, SCALES, channels))
        shift = generator.normal(0, SHIFTS, channels)
        values = (scale, shift, seen.mean(axes), seen.var(axes))
        for name, value in zip(node.input[1:], values, strict=True):
            stored[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    return result


class Calibration(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """The calibration inputs, one at a time, as ONNX Runtime asks for them."""

    def __init__(self, inputs: list[Inputs]) -> None:
        self._left: Iterator[Inputs] = iter(inputs)

    def get_next(self) -> Inputs | None:
        """The next inputs, or None when there are no more."""
        return next(self._left, None)


def quantize(model: Path, target: Path, calibration: list[Inputs], scheme: str) -> None:
    """Write the model with 8-bit weights and activations."""
    activations, per_channel = SCHEMES[scheme]
    prepared = target.with_suffix(".prepared.onnx")
    # Symbolic shapes need sympy, and buy a convolutional network nothing.
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        target,
        Calibration(calibration),
        per_channel=per_channel,
        activation_type=activations,
        weight_type=QuantType.QInt8,
    )


def outputs(model: Path, inputs: list[Inputs]) -> NDArray[np.float64]:
    """Everything that the model computes for the inputs, as one vector."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.concatenate([y.ravel() for x in inputs for y in session.run(None, x)]).astype(float)


def decibels(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Signal-to-noise ratio."""
    return float(20 * np.log10(np.linalg.norm(expected) / np.linalg.norm(found - expected)))


def forms(model: ModelProto, folder: Path) -> dict[str, Path]:
    """The model as exported, fused, and fused and equalized, in files."""
    found = {name: folder / f"{name}.onnx" for name in ("trained", "fused", "fused, equalized")}
    onnx.save(model, found["trained"])
    onnxac.optimize_file(found["trained"], found["fused"])
    options = onnxac.Options(equalize=True)
    onnxac.optimize_file(found["trained"], found["fused, equalized"], options)
    inputs = samples(model, MEASURED, seed=1)
    if not np.array_equal(*(outputs(found[n], inputs) for n in ("fused", "fused, equalized"))):
        raise AssertionError("powers of two have changed a bit")
    return found


def measured(model: ModelProto, draws: int, folder: Path) -> dict[str, dict[str, float]]:
    """Form → scheme → signal-to-noise ratio, the median over draws; files of the last one stay."""
    ratios: dict[str, dict[str, list[float]]] = {}
    for draw in range(draws):
        drawn = trained(model, draw)
        calibration, inputs = (samples(model, n, s) for n, s in ((CALIBRATION, 0), (MEASURED, 1)))
        files = forms(drawn, folder)
        expected = outputs(files["trained"], inputs)
        for form, path in files.items():
            for scheme in SCHEMES:
                small = folder / f"{form}.{scheme}.onnx"
                quantize(path, small, calibration, scheme)
                own = ratios.setdefault(form, {}).setdefault(scheme, [])
                own.append(decibels(outputs(small, inputs), expected))
    return {f: {s: statistics.median(r) for s, r in own.items()} for f, own in ratios.items()}


def comparison(title: str, ratios: dict[str, dict[str, float]], folder: Path) -> Table:
    """One row for each form: nodes, size and latency in U8S8, and signal-to-noise ratios."""
    table = Table(title, "nodes", "bytes", "latency, ms", *SCHEMES)
    for column in table.columns[1:]:
        column.justify = "right"
    first = folder / "trained.U8S8.onnx"
    for form, own in ratios.items():
        small = folder / f"{form}.U8S8.onnx"
        latency = compare_latency(first, small, runs=50)
        table.add_row(
            form,
            str(len(onnx.load(folder / f"{form}.onnx").graph.node)),
            f"{small.stat().st_size:,}",
            f"{latency.after_ms:.3f}",
            *(f"{own[s]:.1f}" for s in SCHEMES),
        )
    return table


def main() -> None:
    """Quantize the three forms of each model, and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", type=Path, default=DEFAULT)
    parser.add_argument("--draws", type=int, default=5, help="how often statistics are drawn")
    arguments = parser.parse_args()
    # What it suggests, pre-processing, is done; what it skips over, it says nevertheless.
    logging.getLogger().setLevel(logging.ERROR)
    for path in arguments.models:
        with tempfile.TemporaryDirectory() as name:
            ratios = measured(onnx.load(path), arguments.draws, Path(name))
            Console(width=120).print(comparison(path.parent.name, ratios, Path(name)))


if __name__ == "__main__":
    main()
