"""Multi-branch networks in which there is little or nothing to collapse."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from blocks.base import Head, Residual, SqueezeExcite, conv_bn


def _relu(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    return conv_bn(
        inputs, outputs, kernel, stride, kernel // 2, groups=groups, act=nn.ReLU(inplace=True)
    )


class ResidualReLU(nn.Module):
    """relu(body(x) + shortcut(x))."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut if shortcut is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


def resnet_basic() -> nn.Module:
    """Build a stem, two basic blocks and a classifier."""
    return nn.Sequential(
        _relu(3, 6, 3, 2),
        ResidualReLU(nn.Sequential(_relu(6, 6, 3), conv_bn(6, 6, 3, padding=1))),
        ResidualReLU(
            nn.Sequential(_relu(6, 10, 3, 2), conv_bn(10, 10, 3, padding=1)), conv_bn(6, 10, 1, 2)
        ),
        Head(10, 5),
    )


def resnet_bottleneck() -> nn.Module:
    """Build two bottleneck blocks, the first with a projected shortcut."""

    def body(inputs: int, outputs: int, stride: int) -> nn.Module:
        return nn.Sequential(_relu(inputs, 4, 1), _relu(4, 4, 3, stride), conv_bn(4, outputs, 1))

    return nn.Sequential(
        ResidualReLU(body(6, 12, 2), conv_bn(6, 12, 1, 2)), ResidualReLU(body(12, 12, 1))
    )


class DenseLayer(nn.Module):
    """BN, ReLU, 1x1, BN, ReLU, 3x3; concatenated to its input."""

    def __init__(self, inputs: int, growth: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, 2 * growth, 1, bias=False),
            nn.BatchNorm2d(2 * growth),
            nn.ReLU(),
            nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.body(x)), 1)


def densenet() -> nn.Module:
    """Build two dense layers and a transition."""
    transition = [nn.BatchNorm2d(14), nn.ReLU(), nn.Conv2d(14, 8, 1, bias=False), nn.AvgPool2d(2)]
    return nn.Sequential(DenseLayer(6), DenseLayer(10), *transition)


class OneShotAggregation(nn.Module):
    """VoVNet: a chain of 3x3, all intermediates concatenated once, 1x1, residual."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.chain = nn.ModuleList(_relu(channels, channels, 3) for _ in range(3))
        self.gather = _relu(4 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for unit in self.chain:
            features.append(unit(features[-1]))
        return x + self.gather(torch.cat(features, 1))


class Res2Net(nn.Module):
    """1x1; four splits, each added to the previous one's 3x3; Concat; 1x1; residual."""

    def __init__(self, channels: int = 8, width: int = 3) -> None:
        super().__init__()
        self.width = width
        self.reduce = _relu(channels, 4 * width, 1)
        self.scales = nn.ModuleList(_relu(width, width, 3) for _ in range(3))
        self.expand = conv_bn(4 * width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        splits = torch.split(self.reduce(x), self.width, 1)
        outputs = [splits[0]]
        for index, unit in enumerate(self.scales, 1):
            previous = splits[index] if index == 1 else outputs[-1] + splits[index]
            outputs.append(unit(previous))
        return functional.relu(self.expand(torch.cat(outputs, 1)) + x)


class TwoWayDense(nn.Module):
    """PeleeNet: x, 1x1 then 3x3, and 1x1 then two 3x3, concatenated."""

    def __init__(self, inputs: int, growth: int = 4) -> None:
        super().__init__()
        self.short = nn.Sequential(_relu(inputs, 6, 1), _relu(6, growth, 3))
        self.long = nn.Sequential(
            _relu(inputs, 6, 1), _relu(6, growth, 3), _relu(growth, growth, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.short(x), self.long(x)), 1)


def peleenet() -> nn.Module:
    """Build two two-way dense layers and a transition."""
    return nn.Sequential(
        TwoWayDense(6), TwoWayDense(14), _relu(22, 12, 1), nn.AvgPool2d(2, 2), Head(12, 5)
    )


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, LayerNorm and perceptron in NHWC, layer scale, residual."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.dw = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.up = nn.Linear(channels, 2 * channels)
        self.act = nn.GELU()
        self.down = nn.Linear(2 * channels, channels)
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dw(x).permute(0, 2, 3, 1))
        y = self.gamma * self.down(self.act(self.up(y)))
        return x + y.permute(0, 3, 1, 2)


def mbconv() -> nn.Module:
    """Build an EfficientNet inverted bottleneck: 1x1, depthwise 5x5, SE, 1x1, residual."""
    dw = conv_bn(18, 18, 5, padding=2, groups=18, act=nn.SiLU())
    return Residual(
        nn.Sequential(conv_bn(6, 18, 1, act=nn.SiLU()), dw, SqueezeExcite(18, 4), conv_bn(18, 6, 1))
    )


class SelfAttention(nn.Module):
    """Multi-head self-attention with separate projections."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        attention = functional.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1)
        return self.out((attention @ v).transpose(1, 2).reshape(x.shape))


def transformer(width: int = 12) -> nn.Module:
    """Build one encoder layer, normalization first."""
    mlp = nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
    )
    attention = nn.Sequential(nn.LayerNorm(width), SelfAttention(width))
    return nn.Sequential(Residual(attention), Residual(mlp))
