"""ACNet: asymmetric convolution blocks, alone and inside a small ResNet."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from blocks.base import BATCH_NORM, CONV, Collapsible, ConvShape, Head, conv_bn


class AsymmetricBranch(nn.Module):
    """A convolution of length 1 on one axis; where the padding falls short, it crops its input."""

    def __init__(self, shape: ConvShape, axis: int, bias: bool) -> None:
        super().__init__()
        kernel = [1 if other == axis else shape.kernel for other in range(shape.dims)]
        wanted = [
            shape.padding - (shape.kernel // 2 if other == axis else 0)
            for other in range(shape.dims)
        ]
        self.crop = [max(0, -amount) for amount in wanted]
        self.conv = CONV[shape.dims](
            shape.inputs,
            shape.outputs,
            tuple(kernel),
            shape.stride,
            tuple(max(0, amount) for amount in wanted),
            groups=shape.groups,
            bias=bias,
            padding_mode=shape.padding_mode,
        )
        self.bn = BATCH_NORM[shape.dims](shape.outputs)

    def forward(self, x: Tensor) -> Tensor:
        if any(self.crop):
            window = (slice(c, -c) if c else slice(None) for c in self.crop)
            x = x[(slice(None), slice(None), *window)]
        return self.bn(self.conv(x))


class ACBlock(Collapsible):
    """kxk + 1xk + kx1, each with its batch normalization (in 3-D: one thin branch per axis)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        padding: int = 1,
        *,
        groups: int = 1,
        padding_mode: str = "zeros",
        dims: int = 2,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.shape = ConvShape(
            inputs, outputs, kernel, stride, padding, 1, groups, padding_mode, dims
        )
        self.square_conv = CONV[dims](
            inputs,
            outputs,
            kernel,
            stride,
            padding,
            groups=groups,
            bias=bias,
            padding_mode=padding_mode,
        )
        self.square_bn = BATCH_NORM[dims](outputs)
        self.thin = nn.ModuleList(
            AsymmetricBranch(self.shape, axis, bias) for axis in reversed(range(dims))
        )

    def forward(self, x: Tensor) -> Tensor:
        total = self.square_bn(self.square_conv(x))
        for branch in self.thin:
            total = total + branch(x)
        return total


class ACResidual(nn.Module):
    """A basic block of ResNet whose 3x3 convolutions are asymmetric convolution blocks."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = ACBlock(inputs, outputs, stride=stride)
        self.conv2 = ACBlock(outputs, outputs)
        plain = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if plain else conv_bn(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(functional.relu(self.conv1(x)))
        return functional.relu(out + self.shortcut(x))


class ACResNet(nn.Sequential):
    """Stem, two residual stages, classifier."""

    def __init__(self) -> None:
        super().__init__(
            ACBlock(3, 8, stride=2), nn.ReLU(), ACResidual(8, 8), ACResidual(8, 12, 2), Head(12, 5)
        )


class DropPath(nn.Module):
    """Stochastic depth; does nothing at inference time."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = torch.rand(x.shape[0], 1, 1, 1, device=x.device) >= self.probability
        return x * keep / (1 - self.probability)


class ACDropPath(nn.Module):
    """An asymmetric convolution block followed by Dropout and DropPath, with a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = ACBlock(channels, channels, bias=True)
        self.dropout = nn.Dropout2d(0.1)
        self.drop_path = DropPath(0.1)
        self.identity = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.identity(x) + self.drop_path(self.dropout(functional.relu(self.block(x))))


class Choice(nn.Module):
    """Two asymmetric convolution blocks, of which the input decides which one runs: an If."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bright = ACBlock(inputs, outputs)
        self.dark = ACBlock(inputs, outputs, kernel=5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.mean() > 0, self.bright.forward, self.dark.forward, (x,))
