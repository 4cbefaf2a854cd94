"""Fully connected layers and transposed convolutions: LoRA, affine tails, heads, upsampling."""

import torch
from torch import Tensor, nn

from blocks.base import Collapsible, CollapsibleLinear, ConvShape, Residual


class LoRALinear(CollapsibleLinear):
    """A linear layer and its unmerged low-rank update."""

    def __init__(self, inputs: int, outputs: int, rank: int = 2, alpha: float = 6.0) -> None:
        super().__init__()
        self.inputs = inputs
        self.base = nn.Linear(inputs, outputs)
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=False)
        self.dropout = nn.Dropout(0.1)
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(self.dropout(x))) * self.scale


class LoRATransposed(CollapsibleLinear):
    """The same with weights stored as [inputs, outputs] and multiplied from the right."""

    def __init__(self, inputs: int, outputs: int, rank: int = 2, alpha: float = 6.0) -> None:
        super().__init__()
        self.inputs = inputs
        self.weight = nn.Parameter(torch.zeros(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.down = nn.Parameter(torch.zeros(inputs, rank))
        self.up = nn.Parameter(torch.zeros(rank, outputs))
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias + (x @ self.down) @ self.up * self.scale


def lora_mlp() -> nn.Module:
    """Build a two-layer perceptron with LoRA on both layers and a residual."""
    return Residual(nn.Sequential(LoRALinear(12, 20), nn.GELU(), LoRALinear(20, 12)))


class LinearAffine(CollapsibleLinear):
    """A linear layer, then a scale and a shift per feature."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.linear = nn.Linear(inputs, outputs)
        self.gamma = nn.Parameter(torch.ones(outputs))
        self.beta = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * self.gamma + self.beta


class LinearBatchNorm(CollapsibleLinear):
    """A linear layer and BN over its features."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.linear = nn.Linear(inputs, outputs)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.linear(x))


class _Flat(CollapsibleLinear):
    """A block that takes an image, as a function of the flattened image."""

    def __init__(self, block: nn.Module, image: tuple[int, int, int]) -> None:
        super().__init__()
        self.inputs = image[0] * image[1] * image[2]
        self.block, self.image = block, image

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x.view(-1, *self.image))


class ConvPoolHead(nn.Module):
    """1x1, global average pool, Flatten, Linear; nothing nonlinear between them."""

    def __init__(self, inputs: int = 6, middle: int = 16, classes: int = 5) -> None:
        super().__init__()
        self.inputs = inputs
        self.conv = nn.Conv2d(inputs, middle, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(middle, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.flatten(self.pool(self.conv(x))))

    def collapsed(self) -> nn.Module:
        linear = _Flat(self, (self.inputs, 1, 1)).collapsed()
        return nn.Sequential(self.pool, self.flatten, linear)


class NormFlattenHead(nn.Module):
    """BN, Flatten, Linear."""

    def __init__(self, channels: int = 4, size: int = 5, classes: int = 6) -> None:
        super().__init__()
        self.image = (channels, size, size)
        self.bn = nn.BatchNorm2d(channels)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels * size * size, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.flatten(self.bn(x)))

    def collapsed(self) -> nn.Module:
        return nn.Sequential(self.flatten, _Flat(self, self.image).collapsed())


class TransposedBranches(Collapsible):
    """Two transposed convolutions of different size; each with BN, or one BN behind the sum."""

    def __init__(self, inputs: int, outputs: int, shared: bool) -> None:
        super().__init__()
        self.shape = ConvShape(inputs, outputs, 4, 2, 1, transposed=True)
        self.large = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=shared)
        self.small = nn.ConvTranspose2d(inputs, outputs, 2, 2, bias=shared)
        self.bn_large = nn.Identity() if shared else nn.BatchNorm2d(outputs)
        self.bn_small = nn.Identity() if shared else nn.BatchNorm2d(outputs)
        self.bn = nn.BatchNorm2d(outputs) if shared else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.bn_large(self.large(x)) + self.bn_small(self.small(x)))
