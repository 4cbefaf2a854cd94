"""Sequences that collapse: DBB, ECBSR, SESR, ExpandNets, VanillaNet, OREPA, and short chains."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from blocks.base import Collapsible, ConvShape, conv_bn


class Chain(Collapsible):
    """Layers one after the other that one convolution can replace."""

    def __init__(self, shape: ConvShape, *layers: nn.Module) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def with_border(x: Tensor, value: Tensor, width: int) -> Tensor:
    """Pad `x` by a value per channel: pad by zero, then assign the four borders."""
    y = functional.pad(x, [width] * 4)
    value = value.view(1, -1, 1, 1)
    y[:, :, :width, :] = value
    y[:, :, -width:, :] = value
    y[:, :, :, :width] = value
    y[:, :, :, -width:] = value
    return y


class BorderedBN(nn.Module):
    """BN, then padding by what BN makes of zero: the next convolution sees a padded input."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        bn = self.bn
        zero = bn.bias.detach() - bn.running_mean * bn.weight.detach() / torch.sqrt(
            bn.running_var + bn.eps
        )
        return with_border(bn(x), zero, self.width)


class DiverseBranches(Collapsible):
    """DBB: kxk; 1x1; 1x1 -> kxk; 1x1 -> average pool; BN everywhere."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        padding = kernel // 2
        self.shape = ConvShape(inputs, outputs, kernel, 1, padding)
        self.origin = conv_bn(inputs, outputs, kernel, padding=padding)
        self.pointwise = conv_bn(inputs, outputs, 1)
        self.sequence = nn.Sequential(
            nn.Conv2d(inputs, inputs, 1, bias=False),
            BorderedBN(inputs, padding),
            conv_bn(inputs, outputs, kernel),
        )
        self.average = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, bias=False),
            BorderedBN(outputs, padding),
            nn.AvgPool2d(kernel, 1),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.origin(x) + self.pointwise(x)
        return y + self.average(x) + self.sequence(x)


class PointwiseThenFixed(nn.Module):
    """ECB branch: 1x1, a border of its bias, then a fixed 3x3 mask per channel times a scale."""

    def __init__(self, inputs: int, outputs: int, mask: list[list[float]]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)
        self.scale = nn.Parameter(torch.ones(outputs, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("mask", torch.tensor(mask).expand(outputs, 1, 3, 3).clone())

    def forward(self, x: Tensor) -> Tensor:
        y = with_border(self.conv(x), self.conv.bias, 1)
        return functional.conv2d(y, self.scale * self.mask, self.bias, groups=self.scale.shape[0])


class PointwiseThenDense(nn.Module):
    """ECB branch: 1x1, a border of its bias, then a learned 3x3."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 2 * outputs, 1)
        self.dense = nn.Conv2d(2 * outputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(with_border(self.conv(x), self.conv.bias, 1))


class EdgeBranches(Collapsible):
    """ECB: 3x3; 1x1 -> 3x3; 1x1 -> Sobel x, Sobel y, Laplace; and x where the shape allows it."""

    SOBEL_X = ([1.0, 0, -1], [2.0, 0, -2], [1.0, 0, -1])
    SOBEL_Y = ([1.0, 2, 1], [0.0, 0, 0], [-1.0, -2, -1])
    LAPLACE = ([0.0, 1, 0], [1.0, -4, 1], [0.0, 1, 0])

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shape = ConvShape(inputs, outputs, 3, 1, 1)
        self.dense = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.expand = PointwiseThenDense(inputs, outputs)
        self.fixed = nn.ModuleList(
            PointwiseThenFixed(inputs, outputs, list(mask))
            for mask in (self.SOBEL_X, self.SOBEL_Y, self.LAPLACE)
        )
        self.residual = inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.dense(x) + self.expand(x)
        for branch in self.fixed:
            y = y + branch(x)
        return y + x if self.residual else y


class LinearBlock(Collapsible):
    """SESR: kxk expansion, 1x1 projection, and x where the shape allows it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, expanded: int = 32) -> None:
        super().__init__()
        self.shape = ConvShape(inputs, outputs, kernel, 1, kernel // 2)
        self.expand = nn.Conv2d(inputs, expanded, kernel, padding=kernel // 2)
        self.project = nn.Conv2d(expanded, outputs, 1)
        self.residual = inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.expand(x))
        return y + x if self.residual else y


class SESR(nn.Module):
    """Super resolution by two: linear blocks, PReLU, a long residual, depth to space."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.head = nn.Sequential(LinearBlock(1, channels, 5), nn.PReLU(channels))
        self.body = nn.Sequential(
            LinearBlock(channels, channels, 3),
            nn.PReLU(channels),
            LinearBlock(channels, channels, 3),
            nn.PReLU(channels),
        )
        self.tail = LinearBlock(channels, 4, 5)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        first = self.head(x)
        return self.shuffle(self.tail(first + self.body(first)))


def expandnet() -> nn.Module:
    """Build two ExpandNets convolutions: padded 1x1 with bias, unpadded 3x3, 1x1."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((4, 6), (6, 6)):
        layers += [
            Chain(
                ConvShape(inputs, outputs, 3, 1, 1),
                nn.Conv2d(inputs, 4 * inputs, 1, padding=1),
                nn.Conv2d(4 * inputs, 4 * outputs, 3),
                nn.Conv2d(4 * outputs, outputs, 1),
            ),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class VanillaBlock(nn.Sequential):
    """VanillaNet: 1x1, LeakyReLU whose slope has reached 1, 1x1; pool; series activation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        pair = Chain(
            ConvShape(inputs, outputs, 1),
            conv_bn(inputs, inputs, 1, bias=True),
            nn.LeakyReLU(1.0),
            conv_bn(inputs, outputs, 1, bias=True),
        )
        series = [nn.ReLU(), conv_bn(outputs, outputs, 7, padding=3, groups=outputs)]
        super().__init__(pair, nn.MaxPool2d(2), *series)


def vanillanet() -> nn.Module:
    """Build two VanillaNet blocks."""
    return nn.Sequential(VanillaBlock(6, 8), VanillaBlock(8, 10))


class OnlineReparam(Collapsible):
    """OREPA: the kernels of all branches are combined in the graph; one convolution and BN."""

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.shape = ConvShape(channels, channels, kernel, 1, kernel // 2)
        square = (channels, channels)
        self.origin = nn.Parameter(torch.randn(*square, kernel, kernel))
        self.average = nn.Parameter(torch.randn(*square))
        self.filtered = nn.Parameter(torch.randn(*square))
        self.first = nn.Parameter(torch.randn(*square))
        self.second = nn.Parameter(torch.randn(*square, kernel, kernel))
        self.pointwise = nn.Parameter(torch.randn(*square, 1, 1))
        self.vector = nn.Parameter(torch.randn(5, channels))
        self.register_buffer("mean_taps", torch.full((kernel, kernel), 1 / kernel**2))
        position = (torch.arange(kernel) + 0.5) * torch.pi / kernel
        order = torch.arange(channels).view(-1, 1) % kernel
        waves = torch.cos(order * position)
        self.register_buffer("prior", waves.unsqueeze(1) * waves.flip(0).unsqueeze(2))
        self.bn = nn.BatchNorm2d(channels)

    def kernel(self) -> Tensor:
        pad = self.shape.kernel // 2
        branches = (
            self.origin,
            torch.einsum("oi,hw->oihw", self.average, self.mean_taps),
            torch.einsum("oi,ihw->oihw", self.filtered, self.prior),
            torch.einsum("ti,othw->oihw", self.first, self.second),
            functional.pad(self.pointwise, [pad] * 4),
        )
        total = torch.einsum("oihw,o->oihw", branches[0], self.vector[0])
        for index, branch in enumerate(branches[1:], 1):
            total = total + torch.einsum("oihw,o->oihw", branch, self.vector[index])
        return total

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(functional.conv2d(x, self.kernel(), padding=self.shape.padding))


def conv_then_pointwise() -> nn.Module:
    """Build a padded 3x3 with bias followed by 1x1: exact, whatever the bias."""
    return nn.Sequential(
        Chain(ConvShape(4, 4, 3, 1, 1), nn.Conv2d(4, 12, 3, padding=1), nn.Conv2d(12, 4, 1)),
        nn.ReLU(),
    )


def pointwise_then_conv(bias: bool) -> nn.Module:
    """Build 1x1 followed by a padded 3x3: exact only if the 1x1 has no bias."""
    layers = (nn.Conv2d(4, 12, 1, bias=bias), nn.Conv2d(12, 4, 3, padding=1))
    chain = nn.Sequential(*layers) if bias else Chain(ConvShape(4, 4, 3, 1, 1), *layers)
    return nn.Sequential(chain, nn.ReLU())


class PointwisePoolBN(nn.Module):
    """1x1, average pool, BN: the pool commutes with what is pointwise."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.conv = nn.Conv2d(inputs, outputs, 1)
        self.pool = nn.AvgPool2d(3, 2)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.pool(self.conv(x)))

    def collapsed(self) -> nn.Module:
        pair = Chain(ConvShape(self.inputs, self.outputs, 1), self.conv, self.bn)
        return nn.Sequential(pair.collapsed(), self.pool)


def pointwise_pool_excluded() -> nn.Module:
    """Build 1x1, padded average pool that does not count its padding, BN: no convolution."""
    pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return nn.Sequential(nn.Conv2d(4, 6, 1), pool, nn.BatchNorm2d(6))
