"""What the exports of all frameworks share: which blocks, which weights, what is left of each.

Every network is two blocks. The framework's own deploy form has one convolution in place of the
parallel branches of each, which `AFTER` counts; `tests/test_models.py` holds onnxac to that.
"""

import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from describe import (
    ROOT,
    Record,
    describe,
    feeds_for,
    merge_into_index,
    relative_error,
    run,
)

# The scripts beside this one import from here, whatever the folder they are started in.
__all__ = ["ROOT", "Record", "describe", "feeds_for", "merge_into_index", "relative_error", "run"]

CHANNELS, WIDER, SIZE = 6, 8, 16
# Channels and stride of each block.
BLOCKS = ((CHANNELS, 1), (WIDER, 2))

# Convolutions, hard swishes, and other nodes that the deploy form has, but for Transposes.
AFTER: dict[str, tuple[int, int, int]] = {
    "acnet": (2, 0, 2),
    "repvgg": (2, 0, 2),
    "mobileone": (4, 0, 4),
    "dbb": (2, 0, 2),
    # A shift that the padded convolution of the next block can't take in, and the last affine.
    "lcnetv3": (4, 4, 3),
}


class Draw:
    """Seeded weights: statistics and parameters away from 0 and 1, some gains negative."""

    def __init__(self, name: str) -> None:
        self._rng = np.random.default_rng(zlib.crc32(name.encode()))

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        return self._rng.standard_normal(shape).astype(np.float32)

    def like(self, kind: str, shape: tuple[int, ...]) -> np.ndarray:
        """A weight of a kind: what its name says."""
        if "var" in kind:
            value = self._rng.uniform(0.5, 2, shape)
        elif any(k in kind for k in ("gamma", "scale")) or (kind == "weight" and len(shape) == 1):
            value = self._rng.uniform(0.5, 1.5, shape) * self._rng.choice([1, 1, 1, -1], shape)
        elif len(shape) < 2:
            value = self._rng.uniform(-0.5, 0.5, shape)
        else:
            value = self._rng.standard_normal(shape) / np.sqrt(np.prod(shape) / max(shape))
        return value.astype(np.float32)


Export = Callable[[str, Path], tuple[np.ndarray, np.ndarray]]


def export_all(flavour: str, export: Export, transposes: int = 0, swish: int = 1) -> None:
    """Export the blocks, check them, and add them to the index.

    transposes  how many stay: at the input and at the output
    swish       nodes that a hard swish is exported as
    """
    records = []
    for name, (convolutions, swishes, others) in AFTER.items():
        path = ROOT / "onnx" / name / f"{flavour}.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        x, expected = export(name, path)
        nodes = convolutions + swish * swishes + others + transposes
        after = {"Conv": convolutions, "MatMul": 0, "BatchNormalization": 0, "nodes": nodes}
        # jax2onnx writes some shapes as if they were channels first.
        record = describe(path, name, flavour, None, inferable=flavour != "jax2onnx")
        records.append(record | {"after": after})
        error = relative_error(run(path, {"x": x}), [expected])
        if error >= 1e-5:
            raise AssertionError(f"{path.name} of {name} is {error:.1e} off its network")
        print(f"{name}: {record['nodes']} nodes, error {error:.1e}")
    merge_into_index(records)
