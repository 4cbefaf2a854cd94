"""Branches that end in a Concat."""

import torch
from torch import Tensor, nn

from blocks.base import Collapsible, ConvShape, Head, conv_bn


class ConcatPointwise(Collapsible):
    """Three 1x1 conv + BN over one source, concatenated: one wider 1x1."""

    def __init__(self, inputs: int, widths: tuple[int, ...] = (4, 6, 5)) -> None:
        super().__init__()
        self.shape = ConvShape(inputs, sum(widths), 1)
        self.branches = nn.ModuleList(conv_bn(inputs, width, 1) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class ConcatMixed(nn.Module):
    """Two 1x1 and a 3x3 over one source, concatenated: the 1x1 ones are stacked."""

    def __init__(self, inputs: int = 6) -> None:
        super().__init__()
        self.pointwise = ConcatPointwise(inputs, (4, 6))
        self.dense = conv_bn(inputs, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [branch(x) for branch in getattr(self.pointwise, "branches", [self.pointwise])]
        return torch.relu(torch.cat([*parts, self.dense(x)], 1))


class ConcatProject(Collapsible):
    """1x1, 3x3 and dilated 3x3 conv + BN, concatenated and projected by a 1x1: one 5x5."""

    def __init__(self, inputs: int, outputs: int, middle: int = 12) -> None:
        super().__init__()
        self.shape = ConvShape(inputs, outputs, 5, 1, 2)
        self.branches = nn.ModuleList(
            (
                conv_bn(inputs, middle, 1),
                conv_bn(inputs, middle, 3, padding=1),
                conv_bn(inputs, middle, 3, padding=2, dilation=2),
            )
        )
        self.project = nn.Conv2d(3 * middle, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(torch.cat([branch(x) for branch in self.branches], 1))


class InceptionA(nn.Module):
    """Inception-A: 1x1; 1x1, 3x3; 1x1, 3x3, 3x3; average pool, 1x1; ReLU after each."""

    def __init__(self, inputs: int) -> None:
        super().__init__()

        def unit(i: int, o: int, kernel: int) -> nn.Module:
            return conv_bn(i, o, kernel, padding=kernel // 2, eps=1e-3, act=nn.ReLU())

        self.branches = nn.ModuleList(
            (
                unit(inputs, 6, 1),
                nn.Sequential(unit(inputs, 4, 1), unit(4, 6, 3)),
                nn.Sequential(unit(inputs, 4, 1), unit(4, 6, 3), unit(6, 6, 3)),
                nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), unit(inputs, 4, 1)),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class ParallelBranches(nn.Module):
    """Three branches of 3x3, 5x5, 7x7 with ReLU and max pool, concatenated; 1x1; classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 6, k, padding=k // 2), nn.ReLU(), nn.MaxPool2d(2))
            for k in (3, 5, 7)
        )
        self.fuse = nn.Conv2d(18, 8, 1)
        self.head = Head(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fuse(torch.cat([branch(x) for branch in self.branches], 1)))
