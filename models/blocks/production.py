"""Blocks of detectors, matchers, readers and backbones that people deploy as they were trained.

RT-DETR, RT-DETRv2, D-FINE and EfficientLoFTR in Transformers, FAST in docTR, IDetect of YOLOv7,
SPAN, Next-ViT, SHViT and TinyViT.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from blocks.base import Collapsible, ConvShape, Residual, SqueezeExcite, conv_bn
from blocks.repvgg import RepVGGBranches


class RTDetrBranches(Collapsible):
    """RT-DETR: 3x3 conv + BN and 1x1 conv + BN, summed; no identity branch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shape = ConvShape(channels, channels, 3, 1, 1)
        self.conv1 = conv_bn(channels, channels, 3, padding=1)
        self.conv2 = conv_bn(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1(x) + self.conv2(x)


class CSPRepLayer(nn.Module):
    """RT-DETR's encoder: two 1x1 paths, three RepVGG blocks in one of them, a 1x1 behind."""

    def __init__(self, inputs: int = 8, channels: int = 6) -> None:
        super().__init__()
        self.conv1 = conv_bn(inputs, channels, 1, act=nn.SiLU())
        self.conv2 = conv_bn(inputs, channels, 1, act=nn.SiLU())
        blocks = (nn.Sequential(RTDetrBranches(channels), nn.SiLU()) for _ in range(3))
        self.bottlenecks = nn.Sequential(*blocks)
        self.conv3 = conv_bn(channels, inputs, 1, act=nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.bottlenecks(self.conv1(x)) + self.conv2(x))


def efficientloftr() -> nn.Module:
    """Build a stage of EfficientLoFTR's backbone: RepVGG blocks, the first one with stride 2."""
    blocks = (RepVGGBranches(1, 6, 2), RepVGGBranches(6, 6), RepVGGBranches(6, 8, 2))
    return nn.Sequential(*(layer for b in blocks for layer in (b, nn.ReLU())))


class FASTBranches(Collapsible):
    """docTR's FAST: 3x3, 3x1 and 1x3, each with BN, and a bare BN where the shape allows it."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.shape = ConvShape(inputs, outputs, 3, stride, 1)
        self.conv = conv_bn(inputs, outputs, 3, stride, 1)
        self.ver_conv = conv_bn(inputs, outputs, (3, 1), stride, (1, 0))
        self.hor_conv = conv_bn(inputs, outputs, (1, 3), stride, (0, 1))
        same = inputs == outputs and stride == 1
        self.rbr_identity = nn.BatchNorm2d(inputs) if same else None

    def forward(self, x: Tensor) -> Tensor:
        identity = self.rbr_identity(x) if self.rbr_identity is not None else 0
        return self.conv(x) + self.ver_conv(x) + self.hor_conv(x) + identity


def fast() -> nn.Module:
    """Build three layers of FAST's backbone with ReLU."""
    blocks = (FASTBranches(3, 6, 2), FASTBranches(6, 6), FASTBranches(6, 8, 2))
    return nn.Sequential(*(layer for b in blocks for layer in (b, nn.ReLU())))


class ImplicitHead(Collapsible):
    """YOLOv7's IDetect: a learned shift, a 1x1 conv, a learned scale."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shape = ConvShape(inputs, outputs, 1)
        self.ia = nn.Parameter(torch.zeros(1, inputs, 1, 1))
        self.im = nn.Parameter(torch.ones(1, outputs, 1, 1))
        self.m = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.im * self.m(self.ia + x)


def yolov7_implicit() -> nn.Module:
    """Build a 3x3 layer and a head with implicit knowledge."""
    return nn.Sequential(conv_bn(4, 8, 3, padding=1, act=nn.SiLU()), ImplicitHead(8, 9))


class Conv3XC(Collapsible):
    """SPAN: x is padded, then 1x1 - 3x3 - 1x1 with biases, and a 1x1 beside them."""

    def __init__(self, inputs: int, outputs: int, gain: int = 2) -> None:
        super().__init__()
        self.shape = ConvShape(inputs, outputs, 3, 1, 1)
        self.sk = nn.Conv2d(inputs, outputs, 1)
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, inputs * gain, 1),
            nn.Conv2d(inputs * gain, outputs * gain, 3),
            nn.Conv2d(outputs * gain, outputs, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.pad(x, (1, 1, 1, 1))) + self.sk(x)


class SPAB(nn.Module):
    """SPAN's block: three Conv3XC, and attention without parameters."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.c1 = Conv3XC(channels, channels)
        self.c2 = Conv3XC(channels, channels)
        self.c3 = Conv3XC(channels, channels)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.c3(self.act(self.c2(self.act(self.c1(x)))))
        return (y + x) * (torch.sigmoid(y) - 0.5)


class PreNormPointwise(Collapsible):
    """A BN, and the 1x1 conv that alone reads it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shape = ConvShape(inputs, outputs, 1)
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))


def nextvit() -> nn.Module:
    """Build Next-ViT's convolutional block: grouped 3x3 and 1x1, then BN and a perceptron."""
    mixer = nn.Sequential(
        conv_bn(8, 8, 3, padding=1, groups=2, act=nn.ReLU()), nn.Conv2d(8, 8, 1, bias=False)
    )
    mlp = nn.Sequential(PreNormPointwise(8, 16), nn.ReLU(), nn.Conv2d(16, 8, 1))
    return nn.Sequential(conv_bn(4, 8, 1), Residual(mixer), Residual(mlp), nn.BatchNorm2d(8))


class DepthwiseResidual(Collapsible):
    """SHViT: x and a depthwise 3x3 with BN."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shape = ConvShape(channels, channels, 3, 1, 1, groups=channels)
        self.m = conv_bn(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.m(x)


class SingleHead(nn.Module):
    """SHViT's attention: one head on a part of the channels, the rest is handed on."""

    def __init__(self, channels: int, part: int = 4, width: int = 3) -> None:
        super().__init__()
        self.part, self.width, self.scale = part, width, width**-0.5
        self.rest = channels - part
        self.norm = nn.GroupNorm(1, part)
        self.qkv = conv_bn(part, 2 * width + part, 1)
        self.proj = nn.Sequential(nn.ReLU(), conv_bn(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        some, rest = torch.split(x, [self.part, self.rest], 1)
        parts = [self.width, self.width, self.part]
        q, k, v = (t.flatten(2) for t in torch.split(self.qkv(self.norm(some)), parts, 1))
        attention = functional.softmax(q.transpose(-2, -1) @ k * self.scale, -1)
        some = (v @ attention.transpose(-2, -1)).reshape(batch, self.part, height, width)
        return self.proj(torch.cat([some, rest], 1))


def _perceptron(channels: int) -> nn.Module:
    return nn.Sequential(
        conv_bn(channels, 2 * channels, 1), nn.ReLU(), conv_bn(2 * channels, channels, 1)
    )


def shvit() -> nn.Module:
    """Build a block of SHViT: depthwise residual, attention, perceptron, and a merging with SE."""
    merging = nn.Sequential(
        conv_bn(8, 16, 1, act=nn.ReLU()),
        conv_bn(16, 16, 3, 2, 1, groups=16, act=nn.ReLU()),
        SqueezeExcite(16, 4),
        conv_bn(16, 8, 1),
    )
    body = (DepthwiseResidual(8), Residual(SingleHead(8)), Residual(_perceptron(8)))
    return nn.Sequential(*body, merging, DepthwiseResidual(8))


class TinyViT(nn.Module):
    """TinyViT: a stem and MBConv with GELU; attention, a depthwise 3x3, a perceptron."""

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.stem = nn.Sequential(conv_bn(3, 4, 3, 2, 1, act=nn.GELU()), conv_bn(4, width, 3, 2, 1))
        self.mbconv = Residual(
            nn.Sequential(
                conv_bn(width, 2 * width, 1, act=nn.GELU()),
                conv_bn(2 * width, 2 * width, 3, padding=1, groups=2 * width, act=nn.GELU()),
                conv_bn(2 * width, width, 1),
            )
        )
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.local_conv = conv_bn(width, width, 3, padding=1, groups=width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.mbconv(self.stem(x)))
        batch, width, height, columns = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attend(self.norm(tokens))
        x = self.local_conv(tokens.transpose(1, 2).reshape(batch, width, height, columns))
        tokens = x.flatten(2).transpose(1, 2)
        return tokens + self.mlp(tokens)

    def attend(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        shape = (batch, tokens, self.heads, -1)
        q, k, v = (t.reshape(shape).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        scale = (width // self.heads) ** -0.5
        attention = functional.softmax(q @ k.transpose(-2, -1) * scale, -1)
        return self.proj((attention @ v).transpose(1, 2).reshape(batch, tokens, width))
