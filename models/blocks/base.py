"""What all blocks share: conv + BN, random statistics, and the measured deploy form.

A block that one convolution can replace at inference time says so by deriving from `Collapsible`.
Its deploy form is not derived by any fusion rule: the kernel is *measured*, as the block's
derivative with respect to its input (float64), and then compared with the block on random input,
borders included. So the deploy files are an oracle that is independent of the optimizer.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

CONV: dict[int, type[_ConvNd]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORM: dict[int, type[_BatchNorm]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, ...],
    stride: int = 1,
    padding: int | tuple[int, ...] = 0,
    *,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
    dims: int = 2,
    eps: float = 1e-5,
    act: nn.Module | None = None,
) -> nn.Sequential:
    """Convolution, batch normalization and, if given, an activation."""
    conv = CONV[dims](inputs, outputs, kernel, stride, padding, dilation, groups, bias)
    layers: list[nn.Module] = [conv, BATCH_NORM[dims](outputs, eps=eps)]
    return nn.Sequential(*layers, *([act] if act is not None else []))


@dataclass(frozen=True)
class ConvShape:
    """The geometry of the one convolution that a block collapses into; the same on every axis."""

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    padding_mode: str = "zeros"
    dims: int = 2
    transposed: bool = False
    multiple: int = 1  # sizes that the block takes are multiples of this

    def fitting(self, size: int) -> int:
        """The smallest size from this one on that the block takes."""
        return -(-size // self.multiple) * self.multiple


class Collapsible(nn.Module):
    """A block that is one convolution of its input, in several pieces."""

    shape: ConvShape

    def collapsed(self) -> nn.Module:
        """Return the single convolution that computes the same."""
        return measured_conv_transpose(self) if self.shape.transposed else measured_conv(self)


class CollapsibleLinear(nn.Module):
    """A block that is one fully connected layer over the last axis, in several pieces."""

    inputs: int

    def collapsed(self) -> nn.Module:
        """Return the single linear layer that computes the same."""
        probe = torch.zeros(1, self.inputs, dtype=torch.float64)
        linear = nn.Linear(self.inputs, self(probe).shape[-1], dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda x: self(x)[0], probe)
        with torch.no_grad():
            linear.weight.copy_(jacobian[:, 0])
            linear.bias.copy_(self(probe)[0])
        _assert_same(self, linear, torch.randn(3, self.inputs, dtype=torch.float64))
        return linear


def measured_conv(block: Collapsible) -> nn.Module:
    """Measure the kernel and bias of `block` in float64 and check that they are all there is."""
    s = block.shape
    conv = CONV[s.dims](
        s.inputs,
        s.outputs,
        s.kernel,
        s.stride,
        s.padding,
        s.dilation,
        s.groups,
        padding_mode=s.padding_mode,
        dtype=torch.float64,
    )
    # One output position whose whole window lies inside the input.
    position = math.ceil(s.padding / s.stride)
    first = position * s.stride - s.padding
    size = s.fitting(first + s.dilation * (s.kernel - 1) + 1 + s.padding + s.stride)
    at = (0, slice(None), *[position] * s.dims)
    probe = torch.zeros(1, s.inputs, *[size] * s.dims, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: block(x)[at], probe)
    taps = slice(first, first + s.dilation * (s.kernel - 1) + 1, s.dilation)
    kernel = jacobian[(slice(None), 0, slice(None), *[taps] * s.dims)]
    per_group, outputs_per_group = s.inputs // s.groups, s.outputs // s.groups
    with torch.no_grad():
        for output in range(s.outputs):
            begin = output // outputs_per_group * per_group
            conv.weight[output] = kernel[output, begin : begin + per_group]
        conv.bias.copy_(block(probe)[at])
    sizes = [s.fitting(size + 3 + axis) for axis in range(s.dims)]
    _assert_same(block, conv, torch.randn(2, s.inputs, *sizes, dtype=torch.float64))
    return conv


def measured_conv_transpose(block: Collapsible) -> nn.Module:
    """Measure a 2-D transposed convolution by its response to one-hot inputs."""
    s = block.shape
    conv = nn.ConvTranspose2d(
        s.inputs, s.outputs, s.kernel, s.stride, s.padding, dtype=torch.float64
    )
    position = math.ceil(s.padding / s.stride) + s.kernel
    first = position * s.stride - s.padding
    size = 2 * position + s.kernel
    window = slice(first, first + s.kernel)
    probe = torch.zeros(s.inputs, s.inputs, size, size, dtype=torch.float64)
    with torch.no_grad():
        silent = block(probe)
        probe[range(s.inputs), range(s.inputs), position, position] = 1
        conv.weight.copy_((block(probe) - silent)[:, :, window, window])
        conv.bias.copy_(silent[0, :, first, first])
    _assert_same(block, conv, torch.randn(2, s.inputs, 7, 9, dtype=torch.float64))
    return conv


def _assert_same(
    block: Callable[[Tensor], Tensor], conv: Callable[[Tensor], Tensor], x: Tensor
) -> None:
    with torch.no_grad():
        expected, actual = block(x), conv(x)
    if expected.shape != actual.shape:
        raise AssertionError(f"the deploy form gives {actual.shape}, not {expected.shape}")
    error = ((expected - actual).abs().max() / expected.abs().max()).item()
    if error > 1e-12:
        raise AssertionError(f"{type(block).__name__} is not that convolution: error {error:.1e}")


def deploy_form(model: nn.Module) -> nn.Module:
    """Return a float32 copy of `model` with every collapsible block collapsed."""
    model = copy.deepcopy(model).double().eval()
    if hasattr(model, "collapsed"):
        return model.collapsed().float().eval()
    for name, child in list(model.named_children()):
        setattr(model, name, deploy_form(child).double())
    return model.float().eval()


def randomize(model: nn.Module, seed: int) -> nn.Module:
    """Give every parameter and statistic a value that no fusion can get right by luck."""
    generator = torch.Generator().manual_seed(seed)

    def fill(tensor: Tensor | None, low: float, high: float, negative: float) -> None:
        if tensor is None:
            return
        values = torch.rand(tensor.shape, generator=generator) * (high - low) + low
        flipped = torch.rand(tensor.shape, generator=generator) < negative
        tensor.copy_(torch.where(flipped, -values, values))

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                fill(module.running_mean, 0.2, 0.9, 0.5)
                fill(module.running_var, 0.3, 3.0, 0.0)
            if isinstance(module, _BatchNorm | nn.LayerNorm | nn.GroupNorm):
                fill(module.weight, 0.4, 1.8, 0.2)
                fill(module.bias, 0.2, 0.9, 0.5)
            elif isinstance(module, _ConvNd | nn.Linear):
                weight = module.weight
                transposed = isinstance(module, nn.ConvTranspose2d)
                fan_in = weight.numel() // weight.shape[1 if transposed else 0]
                weight.copy_(torch.randn(weight.shape, generator=generator) / fan_in**0.5)
                fill(module.bias, 0.2, 0.8, 0.5)
            else:
                for parameter in module.parameters(recurse=False):
                    fill(parameter, 0.3, 1.5, 0.2)
    return model.eval()


class SqueezeExcite(nn.Module):
    """Global average pool, two 1x1 convolutions, a gate."""

    def __init__(self, channels: int, reduced: int, gate: nn.Module | None = None) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, reduced, 1)
        self.up = nn.Conv2d(reduced, channels, 1)
        self.relu = nn.ReLU()
        self.gate = gate if gate is not None else nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        squeezed = nn.functional.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.up(self.relu(self.down(squeezed))))


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Head(nn.Module):
    """Global average pool, Flatten, Linear."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.pool(x), 1))
