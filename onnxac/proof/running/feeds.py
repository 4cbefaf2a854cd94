"""Arrays for the inputs of a model that nobody understands, the same ones on each call.

Needs NumPy only: feeds are made in the process that runs the models, under its limit.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnxac.proof.judging.compare import epsilon

Shape = tuple[int, ...]
Array = NDArray[Any]
Feed = Array | list[Array]
Kind = Literal["normal", "zeros", "sparse", "unit", "bytes"]
Container = Literal["tensor", "optional", "sequence"]

# Indices, token ids and lengths must suit a model that is not understood: from the
# richest range to the tamest. 8-bit integers are pixels or codes: all values, first.
INTEGER_RANGES = ((0, 8), (0, 2), (1, 2), (0, 1))
WORDS = ("", "a", "onnx", "two words", "42")
SEQUENCE_LENGTH = 2
# A magnitude for each seed: the knees of Clip, HardSwish and Sigmoid are met on both sides.
MAGNITUDES = (1.0, 8.0, 0.25)


@dataclass(frozen=True)
class Fill:
    """What feeds are filled with.

    normal  both signs, at a magnitude that goes with the seed
    zeros   what is left is the biases, at the border as well as inside; booleans are false
    sparse  one value in fifty is +16 or -16: single taps of the kernels show; booleans are true
    unit    between 0 and 1, as images are fed
    bytes   whole numbers from 0 to 255, as images are fed, too

    `integers` is the half-open range of integer inputs that no operator tells a range of.
    """

    kind: Kind = "normal"
    seed: int = 0
    integers: tuple[int, int] = INTEGER_RANGES[0]


NORMAL = Fill()


@dataclass(frozen=True)
class Spec:
    """One array to make: of the input `name`, a NumPy dtype by its name, at a fixed shape.

    `integers` is the half-open range that the operators behind the input tell, if they do.
    """

    name: str
    dtype: str
    shape: Shape
    container: Container = "tensor"
    integers: tuple[int, int] | None = None


def dtype_named(name: str) -> np.dtype[Any]:
    """A NumPy dtype by its name; bfloat16 and the narrower floats are registered by ml_dtypes."""
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return found


def make(specs: Sequence[Spec], fill: Fill = NORMAL) -> dict[str, Feed]:
    """An array for every input; equal arguments give equal arrays."""
    return {spec.name: _feed(spec, fill) for spec in specs}


def _feed(spec: Spec, fill: Fill) -> Feed:
    # By the name, not by the position: a model's feeds don't depend on its input order.
    rng = np.random.default_rng([fill.seed, zlib.crc32(spec.name.encode())])
    if spec.container == "sequence":
        return [_array(spec, fill, rng) for _ in range(SEQUENCE_LENGTH)]
    return _array(spec, fill, rng)


def _array(spec: Spec, fill: Fill, rng: np.random.Generator) -> Array:
    dtype, shape = dtype_named(spec.dtype), spec.shape
    if dtype.kind == "O":
        return rng.choice(np.array(WORDS, dtype=object), size=shape)
    if dtype.kind == "b":
        # A flag that is always the same leaves the branch behind it untried.
        if fill.kind in ("zeros", "sparse"):
            return np.full(shape, fill.kind == "sparse")
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu" or "int" in dtype.name:
        low, high = _integer_range(dtype, spec, fill)
        return rng.integers(low, high, shape).astype(dtype)
    return _floats(shape, fill, rng).astype(dtype)


def _floats(shape: Shape, fill: Fill, rng: np.random.Generator) -> Array:
    if fill.kind == "zeros":
        return np.zeros(shape)
    if fill.kind == "unit":
        return rng.random(shape)
    if fill.kind == "bytes":
        return rng.integers(0, 256, shape).astype(np.float64)
    values = rng.standard_normal(shape) * MAGNITUDES[fill.seed % len(MAGNITUDES)]
    if fill.kind == "sparse":
        return np.where(rng.random(shape) < 0.02, np.copysign(16.0, values), 0.0)
    return values


def _integer_range(dtype: np.dtype[Any], spec: Spec, fill: Fill) -> tuple[int, int]:
    low, high = fill.integers
    if spec.integers is not None and fill.integers == INTEGER_RANGES[0]:
        low, high = spec.integers
        if dtype.kind in "iu":
            low, high = max(low, np.iinfo(dtype).min), min(high, np.iinfo(dtype).max)
    elif dtype.kind in "iu" and dtype.itemsize == 1 and fill.integers == INTEGER_RANGES[0]:
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max) + 1
    return (low, low + 1) if fill.kind == "zeros" else (low, high)


def read_inputs(path: Path) -> dict[str, Array]:
    """The arrays of a .npz file, or of a folder of .npy files, by name.

    Raises OSError or ValueError where they can't be read; pickled objects are not.
    """
    if path.is_dir():
        return {p.stem: np.load(p, allow_pickle=False) for p in sorted(path.glob("*.npy"))}
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return {path.stem: loaded}
    with loaded:
        return {name: loaded[name] for name in loaded.files}


def perturb(feeds: Mapping[str, Feed], seed: int, least: float = 0.0) -> dict[str, Feed]:
    """The feeds, each value off by up to one rounding; ε is `least` at least."""
    rng = np.random.default_rng(seed)
    return {
        name: [noisy(v, rng, least) for v in feed]
        if isinstance(feed, list)
        else noisy(feed, rng, least)
        for name, feed in feeds.items()
    }


def noisy(values: Array, rng: np.random.Generator, least: float = 0.0) -> Array:
    """w·(1 + ε·u) of each value, with u in [-1, 1] and ε of the values' own type, or `least`."""
    spacing = epsilon(values.dtype)
    if spacing is None or values.dtype.kind == "c":
        return values
    spacing = max(spacing, least)
    wide = values.astype(np.float64)
    # Whole numbers in a float (1, 2, -1) are meant exactly, and fusing keeps them exact.
    noise = np.where(wide == np.round(wide), 0.0, rng.uniform(-spacing, spacing, wide.shape))
    return np.asarray(wide * (1.0 + noise)).astype(values.dtype)
