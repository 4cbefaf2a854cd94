"""RepVGG and its descendants: RepConv, RepConvN, RepVGGDW, QARepVGG, RepOpt."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from blocks.base import Collapsible, ConvShape, Head, SqueezeExcite, conv_bn


class RepVGGBranches(Collapsible):
    """3x3 conv + BN, 1x1 conv + BN and, where the shape allows it, a bare BN; summed."""

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, groups: int = 1, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.shape = ConvShape(inputs, outputs, 3, stride, 1, groups=groups)
        self.dense = conv_bn(inputs, outputs, 3, stride, 1, groups=groups, eps=eps)
        self.pointwise = conv_bn(inputs, outputs, 1, stride, groups=groups, eps=eps)
        same = stride == 1 and inputs == outputs
        self.identity = nn.BatchNorm2d(inputs, eps=eps) if same else None

    def forward(self, x: Tensor) -> Tensor:
        identity = self.identity(x) if self.identity is not None else 0
        return self.dense(x) + self.pointwise(x) + identity


class RepVGGNet(nn.Sequential):
    """Four blocks, each with ReLU, and a classifier."""

    def __init__(self, groups: int = 1) -> None:
        super().__init__(
            RepVGGBranches(4, 8, 2, groups),
            nn.ReLU(),
            RepVGGBranches(8, 8, 1, groups),
            nn.ReLU(),
            RepVGGBranches(8, 8, 1, groups),
            nn.ReLU(),
            RepVGGBranches(8, 12, 2, groups),
            nn.ReLU(),
            Head(12, 5),
        )


def repvgg_se() -> nn.Module:
    """Build two RepVGG blocks whose sum passes a squeeze-and-excitation gate before ReLU."""
    return nn.Sequential(
        RepVGGBranches(4, 8, 2),
        SqueezeExcite(8, 4),
        nn.ReLU(),
        RepVGGBranches(8, 8),
        SqueezeExcite(8, 4),
        nn.ReLU(),
    )


def yolov7_repconv() -> nn.Module:
    """Build two RepConv blocks as in YOLOv7: SiLU behind the sum, epsilon 1e-3."""
    return nn.Sequential(
        RepVGGBranches(6, 6, eps=1e-3), nn.SiLU(), RepVGGBranches(6, 10, 2, eps=1e-3), nn.SiLU()
    )


def _silu(inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> nn.Sequential:
    return conv_bn(
        inputs, outputs, kernel, padding=kernel // 2, groups=groups, eps=1e-3, act=nn.SiLU()
    )


class RepConvN(Collapsible):
    """YOLOv9: 3x3 conv + BN and 1x1 conv + BN, no identity branch (a literal 0 stands for it)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shape = ConvShape(channels, channels, 3, 1, 1)
        self.conv1 = conv_bn(channels, channels, 3, padding=1, eps=1e-3)
        self.conv2 = conv_bn(channels, channels, 1, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1(x) + self.conv2(x) + 0


class RepCSP(nn.Module):
    """Cross stage partial block around one bottleneck that begins with a RepConvN."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.cv1 = _silu(inputs, half)
        self.cv2 = _silu(inputs, half)
        self.rep = RepConvN(half)
        self.conv = _silu(half, half, 3)
        self.cv3 = _silu(2 * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv1(x)
        y = y + self.conv(functional.silu(self.rep(y)))
        return self.cv3(torch.cat((y, self.cv2(x)), 1))


class RepNCSPELAN(nn.Module):
    """GELAN block of YOLOv9: split, two RepCSP stages, every intermediate concatenated."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        half = channels // 2
        self.cv1 = _silu(channels, channels)
        self.cv2 = nn.Sequential(RepCSP(half, half), _silu(half, half, 3))
        self.cv3 = nn.Sequential(RepCSP(half, half), _silu(half, half, 3))
        self.cv4 = _silu(channels + 2 * half, channels)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).chunk(2, 1))
        parts.append(self.cv2(parts[-1]))
        parts.append(self.cv3(parts[-1]))
        return self.cv4(torch.cat(parts, 1))


class RepVGGDW(Collapsible):
    """YOLOv10: depthwise 7x7 conv + BN and depthwise 3x3 conv + BN."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shape = ConvShape(channels, channels, 7, 1, 3, groups=channels)
        self.large = conv_bn(channels, channels, 7, padding=3, groups=channels, eps=1e-3)
        self.small = conv_bn(channels, channels, 3, padding=1, groups=channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return self.large(x) + self.small(x)


class CIB(nn.Module):
    """YOLOv10's compact inverted block: dw, pw, RepVGGDW, pw, dw and a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.body = nn.Sequential(
            _silu(channels, channels, 3, channels),
            _silu(channels, wide),
            RepVGGDW(wide),
            nn.SiLU(),
            _silu(wide, channels),
            _silu(channels, channels, 3, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class QARepVGG(Collapsible):
    """3x3 conv + BN, bare 1x1 conv, bare x (V2: and an average pool), then BN after the sum."""

    def __init__(self, channels: int, pool: bool) -> None:
        super().__init__()
        self.shape = ConvShape(channels, channels, 3, 1, 1)
        self.dense = conv_bn(channels, channels, 3, padding=1)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.pool = nn.AvgPool2d(3, 1, 1) if pool else None
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dense(x) + self.pointwise(x) + x
        if self.pool is not None:
            y = y + self.pool(x)
        return self.bn(y)


def qarepvgg(pool: bool) -> nn.Module:
    """Build two QARepVGG blocks with ReLU."""
    return nn.Sequential(QARepVGG(6, pool), nn.ReLU(), QARepVGG(6, pool), nn.ReLU())


class LinearAdd(Collapsible):
    """RepOpt's search block: conv 3x3, conv 1x1 and x, each with a scale per channel, then BN."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shape = ConvShape(channels, channels, 3, 1, 1)
        self.dense = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.scale_dense = nn.Parameter(torch.ones(channels))
        self.scale_pointwise = nn.Parameter(torch.ones(channels))
        self.scale_identity = nn.Parameter(torch.ones(channels))
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dense(x) * self.scale_dense.view(1, -1, 1, 1)
        y = y + self.pointwise(x) * self.scale_pointwise.view(1, -1, 1, 1)
        return self.bn(y + x * self.scale_identity.view(1, -1, 1, 1))


def repopt() -> nn.Module:
    """Build two linear add blocks with ReLU."""
    return nn.Sequential(LinearAdd(6), nn.ReLU(), LinearAdd(6), nn.ReLU())
