"""Networks of the benchmark that no package has, as their papers describe them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv_bn(
    width: int, out: int, taps: tuple[int, int], stride: int = 1, group: int = 1
) -> nn.Module:
    pads = (taps[0] // 2, taps[1] // 2)
    conv = nn.Conv2d(width, out, taps, stride, pads, groups=group, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out))


class ACBlock(nn.Module):
    """ACNet (ICCV 2019): 3×3, 3×1 and 1×3, each with its own batch normalization."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.square = conv_bn(width, out, (3, 3), stride)
        self.tall = conv_bn(width, out, (3, 1), stride)
        self.wide = conv_bn(width, out, (1, 3), stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.square(x) + self.tall(x) + self.wide(x)


class ACResidual(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = ACBlock(width, out, stride), ACBlock(out, out)
        self.skip = nn.Identity() if width == out else conv_bn(width, out, (1, 1), stride)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(functional.relu(self.first(x))) + self.skip(x))


class ACResNet18(nn.Module):
    """ResNet-18 whose 3×3 convolutions are ACNet blocks."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn(3, 64, (7, 7), 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        width = 64
        for out, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            layers += [ACResidual(width, out, stride), ACResidual(out, out, 1)]
            width = out
        self.body, self.head = nn.Sequential(*layers), nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class EdgeBranch(nn.Module):
    """1×1, then a fixed filter per channel, on what the 1×1's bias pads: ECBSR's edge branches."""

    def __init__(self, width: int, filters: list[list[float]]) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 1)
        self.scale = nn.Parameter(torch.randn(width, 1, 1, 1) * 0.1)
        self.bias = nn.Parameter(torch.randn(width) * 0.1)
        self.register_buffer("filters", torch.tensor(filters).repeat(width, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        made = functional.pad(self.mix(x), (1, 1, 1, 1))
        edge = self.mix.bias.view(1, -1, 1, 1)
        made[:, :, :1, :] = edge
        made[:, :, -1:, :] = edge
        made[:, :, :, :1] = edge
        made[:, :, :, -1:] = edge
        return functional.conv2d(made, self.scale * self.filters, self.bias, groups=made.shape[1])


SOBEL = [[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]]
TURNED = [list(row) for row in zip(*SOBEL, strict=True)]
LAPLACE = [[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]


class ECB(nn.Module):
    """ECBSR (ACM MM 2021): 3×3, and Sobel and Laplace filters behind 1×1 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.plain = nn.Conv2d(width, width, 3, padding=1)
        edges = (SOBEL, TURNED, LAPLACE)
        self.edges = nn.ModuleList(EdgeBranch(width, f) for f in edges)
        self.act = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.plain(x) + sum(edge(x) for edge in self.edges) + x)


class ECBSR(nn.Module):
    """Super-resolution of one channel, twice as large: four blocks of 16 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 4, 3, padding=1)
        self.body = nn.Sequential(*(ECB(16) for _ in range(4)))

    def forward(self, x: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.last(self.body(self.first(x))) + x, 2)


class Affine(nn.Module):
    """PP-LCNetV3's learnable affine: one scale and one bias for all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(1) + 0.5)
        self.bias = nn.Parameter(torch.randn(1) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.bias


class RepLayer(nn.Module):
    """PP-LCNetV3's convolution: four branches of k×k, a 1×1, and a normalization."""

    def __init__(self, width: int, out: int, taps: int, stride: int = 1, group: int = 1) -> None:
        super().__init__()
        branches = [conv_bn(width, out, (taps, taps), stride, group) for _ in range(4)]
        if taps > 1:
            branches.append(conv_bn(width, out, (1, 1), stride, group))
        if width == out and stride == 1:
            branches.append(nn.BatchNorm2d(width))
        self.branches = nn.ModuleList(branches)
        self.lab, self.after, self.act = Affine(), Affine(), nn.Hardswish()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.act(self.lab(sum(branch(x) for branch in self.branches))))


class TextDetector(nn.Module):
    """A PaddleOCR detector: PP-LCNetV3 below, features of four scales, a map of where text is."""

    def __init__(self) -> None:
        super().__init__()
        stages, width = nn.ModuleList(), 16
        stem = conv_bn(3, width, (3, 3), 2)
        for out, depth in ((32, 2), (64, 2), (128, 2), (256, 4)):
            layers: list[nn.Module] = []
            for i in range(depth):
                layers.append(RepLayer(width, width, 3 if out < 256 else 5, 1 + (not i), width))
                layers.append(RepLayer(width, out, 1))
                width = out
            stages.append(nn.Sequential(*layers))
        self.stem, self.stages = stem, stages
        self.sides = nn.ModuleList(nn.Conv2d(c, 96, 1, bias=False) for c in (32, 64, 128, 256))
        self.outs = nn.ModuleList(nn.Conv2d(96, 24, 3, padding=1, bias=False) for _ in range(4))
        self.head = nn.Sequential(
            conv_bn(96, 24, (3, 3)),
            nn.ReLU(),
            nn.ConvTranspose2d(24, 24, 2, 2),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.ConvTranspose2d(24, 1, 2, 2),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        x, maps = self.stem(x), []
        for stage, side in zip(self.stages, self.sides, strict=True):
            x = stage(x)
            maps.append(side(x))
        for i in (2, 1, 0):
            maps[i] = maps[i] + functional.interpolate(maps[i + 1], scale_factor=2.0)
        grown = [
            functional.interpolate(out(m), scale_factor=float(2**i)) if i else out(m)
            for i, (m, out) in enumerate(zip(maps, self.outs, strict=True))
        ]
        return self.head(torch.cat(grown, 1))
