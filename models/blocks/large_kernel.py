"""RepLKNet and UniRepLKNet: large depthwise kernels with small or dilated branches."""

import torch
from torch import Tensor, nn

from blocks.base import Collapsible, ConvShape, Residual, SqueezeExcite, conv_bn


class LargeKernelBranches(Collapsible):
    """Depthwise 13x13 conv + BN and depthwise 5x5 conv + BN."""

    def __init__(self, channels: int, large: int = 13, small: int = 5) -> None:
        super().__init__()
        self.shape = ConvShape(channels, channels, large, 1, large // 2, groups=channels)
        self.large = conv_bn(channels, channels, large, padding=large // 2, groups=channels)
        self.small = conv_bn(channels, channels, small, padding=small // 2, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.large(x) + self.small(x)


class NormPointwise(Collapsible):
    """BN in front of a 1x1 conv + BN."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shape = ConvShape(inputs, outputs, 1)
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = conv_bn(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))


class RepLKBlock(nn.Sequential):
    """RepLKNet: the large kernel block and its feed-forward block, both with a residual."""

    def __init__(self, channels: int) -> None:
        wide = 2 * channels
        mixer = nn.Sequential(
            NormPointwise(channels, channels),
            nn.ReLU(),
            LargeKernelBranches(channels),
            nn.ReLU(),
            conv_bn(channels, channels, 1),
        )
        feed_forward = nn.Sequential(
            NormPointwise(channels, wide), nn.GELU(), conv_bn(wide, channels, 1)
        )
        super().__init__(Residual(mixer), Residual(feed_forward))


class DilatedReparam(Collapsible):
    """UniRepLKNet: depthwise 13x13 and four dilated depthwise branches, each with BN; BN behind."""

    BRANCHES = ((5, 1), (7, 2), (3, 3), (3, 5))  # kernel, dilation

    def __init__(self, channels: int, kernel: int = 13) -> None:
        super().__init__()
        self.shape = ConvShape(channels, channels, kernel, 1, kernel // 2, groups=channels)
        self.large = conv_bn(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.dilated = nn.ModuleList(
            conv_bn(
                channels,
                channels,
                size,
                padding=dilation * (size // 2),
                dilation=dilation,
                groups=channels,
            )
            for size, dilation in self.BRANCHES
        )
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.large(x)
        for branch in self.dilated:
            y = y + branch(x)
        return self.norm(y)


class GlobalResponseNorm(nn.Module):
    """Normalizes each channel by its share of the global response; NHWC."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        response = torch.sqrt((x * x).sum((1, 2), keepdim=True))
        share = response / (response.mean(-1, keepdim=True) + 1e-6)
        return (self.gamma * share + 1) * x + self.beta


class UniRepLKBlock(nn.Module):
    """Dilated reparam block, SE, NHWC feed-forward with GRN, BN, residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mixer = DilatedReparam(channels)
        self.se = SqueezeExcite(channels, 4)
        self.up = nn.Linear(channels, 2 * channels)
        self.act = nn.GELU()
        self.grn = GlobalResponseNorm(2 * channels)
        self.down = nn.Linear(2 * channels, channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.se(self.mixer(x)).permute(0, 2, 3, 1)
        y = self.down(self.grn(self.act(self.up(y))))
        return x + self.norm(y.permute(0, 3, 1, 2))
