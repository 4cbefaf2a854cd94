"""Export the blocks by jax2onnx, from Flax.

pip install -r models/exporters/requirements-jax.txt
python models/exporters/with_jax.py
"""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from exported import BLOCKS, CHANNELS, SIZE, Draw, export_all
from flax import nnx
from jax2onnx import to_onnx

# MobileOne and PP-LCNetV3 lack their identity branch: jax2onnx 0.17 writes a normalization of an
# activation with a Transpose too few, which ONNX Runtime refuses.

Layer = Callable[[jax.Array], jax.Array]
RNGS = nnx.Rngs(0)


def norm(width: int) -> nnx.BatchNorm:
    return nnx.BatchNorm(width, use_running_average=True, rngs=RNGS)


class Normed(nnx.Module):
    """A layer, and a normalization of what it makes."""

    def __init__(self, layer: Layer | None, width: int) -> None:
        self.layer = layer
        self.norm = norm(width)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(x if self.layer is None else self.layer(x))


def conv(
    width: int,
    out: int,
    size: int | tuple[int, int],
    stride: int = 1,
    groups: int = 1,
    padding: str = "SAME",
) -> Normed:
    taps = (size, size) if isinstance(size, int) else size
    layer = nnx.Conv(
        width, out, taps, stride, padding=padding, feature_group_count=groups, use_bias=False,
        rngs=RNGS,
    )  # fmt: skip
    return Normed(layer, out)


class Parallel(nnx.Module):
    """Branches that are added, and what follows."""

    def __init__(self, branches: list[Layer], *behind: Layer) -> None:
        self.branches = nnx.List(branches)
        self.behind = nnx.List(behind)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.branches[0](x)
        for branch in list(self.branches)[1:]:
            y += branch(x)
        for layer in self.behind:
            y = layer(y)
        return y


class Affine(nnx.Module):
    """PP-LCNetV3's learnable affine block: one scale and one shift."""

    def __init__(self) -> None:
        self.scale = nnx.Param(jax.numpy.ones(1))
        self.shift = nnx.Param(jax.numpy.zeros(1))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.scale.value * x + self.shift.value


class Padded(nnx.Module):
    """DBB's branches through a 1x1: its border is what it makes of zeros."""

    def __init__(self, first: Layer, last: Layer) -> None:
        self.first, self.last = first, last

    def __call__(self, x: jax.Array) -> jax.Array:
        around = ((0, 0), (1, 1), (1, 1), (0, 0))
        return self.last(self.first(jax.numpy.pad(x, around)))


class Average(nnx.Module):
    """An average pool of 3x3."""

    def __init__(self, stride: int) -> None:
        self.stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        strides = (self.stride, self.stride)
        return nnx.avg_pool(x, window_shape=(3, 3), strides=strides, padding="VALID")


def acnet(width: int, out: int, stride: int) -> Layer:
    sizes = (3, (1, 3), (3, 1))
    return Parallel([conv(width, out, size, stride) for size in sizes], nnx.relu)


def repvgg(width: int, out: int, stride: int) -> Layer:
    branches: list[Layer] = [conv(width, out, size, stride) for size in (3, 1)]
    if stride == 1 and width == out:
        branches.append(Normed(None, out))
    return Parallel(branches, nnx.relu)


def mobileone(width: int, out: int, stride: int) -> Layer:
    deep: list[Layer] = [conv(width, width, size, stride, width) for size in (3, 3, 1)]
    flat: list[Layer] = [conv(width, out, 1) for _ in range(2)]
    return nnx.Sequential(Parallel(deep, nnx.relu), Parallel(flat, nnx.relu))


def dbb(width: int, out: int, stride: int) -> Layer:
    branches: list[Layer] = [conv(width, out, size, stride) for size in (3, 1)]
    lasts = (
        Normed(Average(stride), out),
        conv(out, out, 3, stride, padding="VALID"),
    )
    branches += [Padded(conv(width, out, 1), last) for last in lasts]
    return Parallel(branches, nnx.relu)


def lcnetv3(width: int, out: int, stride: int) -> Layer:
    deep: list[Layer] = [conv(width, width, size, stride, width) for size in (3, 3, 3, 1)]
    flat: list[Layer] = [conv(width, out, 1) for _ in range(3)]
    return nnx.Sequential(
        Parallel(deep, Affine(), nnx.hard_swish, Affine()),
        Parallel(flat, Affine(), nnx.hard_swish, Affine()),
    )


NETWORKS = {f.__name__: f for f in (acnet, repvgg, mobileone, dbb, lcnetv3)}


def export(name: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
    layers, width = [], CHANNELS
    for out, stride in BLOCKS:
        layers.append(NETWORKS[name](width, out, stride))
        width = out
    model = nnx.Sequential(*layers)
    draw = Draw(name)
    _, state = nnx.split(model)
    flat = [
        (place, value.replace(draw.like(str(place[-1]), tuple(value[...].shape))))
        for place, value in state.flat_state()
        if jax.numpy.issubdtype(value[...].dtype, jax.numpy.floating)
    ]
    nnx.update(model, nnx.State.from_flat_path(flat))
    x = Draw("input").normal((2, SIZE, SIZE, CHANNELS))
    to_onnx(model, [("B", SIZE, SIZE, CHANNELS)], return_mode="file", output_path=str(path))
    return x, np.asarray(model(x))


if __name__ == "__main__":
    export_all("jax2onnx", export, transposes=2, swish=5)
