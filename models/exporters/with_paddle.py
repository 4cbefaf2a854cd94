"""Export the blocks by Paddle2ONNX.

pip install -r models/exporters/requirements-paddle.txt
python models/exporters/with_paddle.py
"""

import tempfile
from pathlib import Path

import numpy as np
import paddle
import paddle2onnx
from exported import BLOCKS, CHANNELS, SIZE, Draw, export_all
from paddle import nn
from paddle.static import InputSpec


class Normed(nn.Layer):
    """A layer, and a normalization of what it makes."""

    def __init__(self, layer: nn.Layer | None, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.norm = nn.BatchNorm2D(width)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.norm(x if self.layer is None else self.layer(x))


def conv(
    width: int, out: int, size: int | tuple[int, int], stride: int = 1, groups: int = 1
) -> Normed:
    pads = size // 2 if isinstance(size, int) else [k // 2 for k in size]
    layer = nn.Conv2D(width, out, size, stride, pads, groups=groups, bias_attr=False)
    return Normed(layer, out)


class Parallel(nn.Layer):
    """Branches that are added, and what follows."""

    def __init__(self, branches: list[nn.Layer], *behind: nn.Layer) -> None:
        super().__init__()
        self.branches = nn.LayerList(branches)
        self.behind = nn.Sequential(*behind)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.branches[0](x)
        for branch in list(self.branches)[1:]:
            y = y + branch(x)
        return self.behind(y)


class BorderedPadding(nn.Layer):
    """DBB's: pads with what its normalization makes of nothing."""

    def __init__(self, norm: nn.BatchNorm2D) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        norm = self.norm
        border = norm.bias - norm._mean * norm.weight / paddle.sqrt(norm._variance + norm._epsilon)
        border = border.reshape([1, -1, 1, 1])
        row = border.expand([x.shape[0], -1, 1, x.shape[3]])
        y = paddle.concat([row, x, row], axis=2)
        column = border.expand([x.shape[0], -1, y.shape[2], 1])
        return paddle.concat([column, y, column], axis=3)


class Affine(nn.Layer):
    """PP-LCNetV3's learnable affine block: one scale and one shift."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = self.create_parameter([1])
        self.shift = self.create_parameter([1], is_bias=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.scale * x + self.shift


def acnet(width: int, out: int, stride: int) -> nn.Layer:
    sizes = (3, (1, 3), (3, 1))
    return Parallel([conv(width, out, size, stride) for size in sizes], nn.ReLU())


def repvgg(width: int, out: int, stride: int) -> nn.Layer:
    branches = [conv(width, out, size, stride) for size in (3, 1)]
    if stride == 1 and width == out:
        branches.append(Normed(None, out))
    return Parallel(branches, nn.ReLU())


def mobileone(width: int, out: int, stride: int) -> nn.Layer:
    deep = [conv(width, width, size, stride, width) for size in (3, 3, 1)]
    flat = [conv(width, out, 1) for _ in range(2)]
    deep += [Normed(None, width)] * (stride == 1)
    flat += [Normed(None, width)] * (width == out)
    return nn.Sequential(Parallel(deep, nn.ReLU()), Parallel(flat, nn.ReLU()))


def dbb(width: int, out: int, stride: int) -> nn.Layer:
    branches: list[nn.Layer] = [conv(width, out, size, stride) for size in (3, 1)]
    last = (
        nn.AvgPool2D(3, stride),
        nn.Conv2D(out, out, 3, stride, bias_attr=False),
    )
    for layer in last:
        first = conv(width, out, 1)
        branches.append(nn.Sequential(first, BorderedPadding(first.norm), Normed(layer, out)))
    return Parallel(branches, nn.ReLU())


def lcnetv3(width: int, out: int, stride: int) -> nn.Layer:
    deep = [conv(width, width, size, stride, width) for size in (3, 3, 3, 1)]
    flat = [conv(width, out, 1) for _ in range(3)]
    deep += [Normed(None, width)] * (stride == 1)
    flat += [Normed(None, width)] * (width == out)
    return nn.Sequential(
        Parallel(deep, Affine(), nn.Hardswish(), Affine()),
        Parallel(flat, Affine(), nn.Hardswish(), Affine()),
    )


NETWORKS = {f.__name__: f for f in (acnet, repvgg, mobileone, dbb, lcnetv3)}


def export(name: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
    layers, width = [], CHANNELS
    for out, stride in BLOCKS:
        layers.append(NETWORKS[name](width, out, stride))
        width = out
    model = nn.Sequential(*layers)
    model.eval()
    draw = Draw(name)
    for key, weight in model.state_dict().items():
        weight.set_value(draw.like(key.rpartition(".")[2], tuple(weight.shape)))
    x = Draw("input").normal((2, CHANNELS, SIZE, SIZE))
    expected = model(paddle.to_tensor(x)).numpy()
    with tempfile.TemporaryDirectory() as folder:
        stem = str(Path(folder) / name)
        spec = [InputSpec([None, CHANNELS, SIZE, SIZE], "float32", "x")]
        paddle.jit.save(paddle.jit.to_static(model, input_spec=spec), stem)
        paddle2onnx.export(
            f"{stem}.json", f"{stem}.pdiparams", save_file=str(path), opset_version=17
        )
    return x, expected


if __name__ == "__main__":
    export_all("paddle2onnx", export)
