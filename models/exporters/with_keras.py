"""Export the blocks by Keras' own ONNX export, on the backend that KERAS_BACKEND names.

    pip install -r models/exporters/requirements-tensorflow.txt
    KERAS_BACKEND=tensorflow python models/exporters/with_keras.py

    pip install -r models/exporters/requirements-torch.txt
    KERAS_BACKEND=torch python models/exporters/with_keras.py

On TensorFlow, Keras exports by tf2onnx; on PyTorch by `torch.onnx.export`. Both are channels last.
"""

from pathlib import Path

import keras
import numpy as np
from exported import BLOCKS, CHANNELS, SIZE, Draw, export_all
from keras import layers, ops

# Flavour, and nodes that a hard swish is exported as.
BACKENDS = {"tensorflow": ("keras_tf", 4), "torch": ("keras_torch", 1)}


class Affine(layers.Layer):
    """PP-LCNetV3's learnable affine block: one scale and one shift."""

    def build(self, _: object) -> None:
        self.scale = self.add_weight(shape=(1,), initializer="ones", name="scale")
        self.shift = self.add_weight(shape=(1,), initializer="zeros", name="shift")

    def call(self, x: object) -> object:
        return self.scale * x + self.shift


def normed(x: object, layer: layers.Layer) -> object:
    return layers.BatchNormalization()(layer(x))


def conv(size: object, width: int, stride: int = 1, padding: str = "same") -> layers.Layer:
    return layers.Conv2D(width, size, strides=stride, padding=padding, use_bias=False)


def depthwise(size: int, stride: int = 1) -> layers.Layer:
    return layers.DepthwiseConv2D(size, strides=stride, padding="same", use_bias=False)


def acnet(x: object, width: int, stride: int) -> object:
    sizes = (3, (1, 3), (3, 1))
    parts = [normed(x, conv(size, width, stride)) for size in sizes]
    return layers.ReLU()(layers.Add()(parts))


def repvgg(x: object, width: int, stride: int) -> object:
    parts = [normed(x, conv(size, width, stride)) for size in (3, 1)]
    if stride == 1 and width == CHANNELS:
        parts.append(layers.BatchNormalization()(x))
    return layers.ReLU()(layers.Add()(parts))


def mobileone(x: object, width: int, stride: int) -> object:
    parts = [normed(x, depthwise(size, stride)) for size in (3, 3, 1)]
    if stride == 1:
        parts.append(layers.BatchNormalization()(x))
    x = layers.ReLU()(layers.Add()(parts))
    parts = [normed(x, conv(1, width)) for _ in range(2)]
    if width == CHANNELS:
        parts.append(layers.BatchNormalization()(x))
    return layers.ReLU()(layers.Add()(parts))


def dbb(x: object, width: int, stride: int) -> object:
    parts = [normed(x, conv(3, width, stride)), normed(x, conv(1, width, stride))]
    # The border of what a 1x1 makes is what it makes of zeros: the shift of its normalization.
    around = layers.ZeroPadding2D(1)(x)
    for last in (
        layers.AveragePooling2D(3, strides=stride),
        conv(3, width, stride, padding="valid"),
    ):
        parts.append(normed(normed(around, conv(1, width)), last))
    # A stride of two begins at the first pixel, and not at the second as in TensorFlow's "same".
    return layers.ReLU()(layers.Add()(parts))


def lcnetv3(x: object, width: int, stride: int) -> object:
    parts = [normed(x, depthwise(size, stride)) for size in (3, 3, 3, 1)]
    if stride == 1:
        parts.append(layers.BatchNormalization()(x))
    x = Affine()(layers.Activation("hard_swish")(Affine()(layers.Add()(parts))))
    parts = [normed(x, conv(1, width)) for _ in range(3)]
    if width == CHANNELS:
        parts.append(layers.BatchNormalization()(x))
    return Affine()(layers.Activation("hard_swish")(Affine()(layers.Add()(parts))))


NETWORKS = {f.__name__: f for f in (acnet, repvgg, mobileone, dbb, lcnetv3)}


def build(name: str) -> keras.Model:
    x = source = keras.Input((SIZE, SIZE, CHANNELS))
    for width, stride in BLOCKS:
        x = NETWORKS[name](x, width, stride)
    model = keras.Model(source, x)
    draw = Draw(name)
    for weight in model.weights:
        if weight.dtype.startswith("float"):
            weight.assign(draw.like(weight.path.rpartition("/")[2], tuple(weight.shape)))
    return model


def export(name: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
    model = build(name)
    x = Draw("input").normal((2, SIZE, SIZE, CHANNELS))
    expected = np.asarray(ops.convert_to_numpy(model(x, training=False)))
    model.export(str(path), format="onnx", verbose=False)
    return x, expected


if __name__ == "__main__":
    flavour, swish = BACKENDS[keras.backend.backend()]
    export_all(flavour, export, transposes=2, swish=swish)
