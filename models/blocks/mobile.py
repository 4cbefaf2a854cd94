"""Mobile networks: MobileOne, RepGhost, GhostNetV3, RepViT, FastViT, PP-LCNetV3, LevIT."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from blocks.base import (
    Collapsible,
    CollapsibleLinear,
    ConvShape,
    Head,
    Residual,
    SqueezeExcite,
    conv_bn,
)


class MobileOneBranches(Collapsible):
    """n kxk conv + BN, a 1x1 conv + BN, a bare BN; summed from a literal zero."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        branches: int = 4,
    ) -> None:
        super().__init__()
        padding = kernel // 2
        self.shape = ConvShape(inputs, outputs, kernel, stride, padding, groups=groups)
        self.skip = nn.BatchNorm2d(inputs) if stride == 1 and inputs == outputs else None
        self.scale = conv_bn(inputs, outputs, 1, stride, groups=groups) if kernel > 1 else None
        self.branches = nn.ModuleList(
            conv_bn(inputs, outputs, kernel, stride, padding, groups=groups)
            for _ in range(branches)
        )

    def forward(self, x: Tensor) -> Tensor:
        skip = self.skip(x) if self.skip is not None else 0
        scale = self.scale(x) if self.scale is not None else 0
        y = scale + skip
        for branch in self.branches:
            y = y + branch(x)
        return y


def mobileone() -> nn.Module:
    """Build depthwise and pointwise MobileOne blocks in turn, the last one with SE."""
    return nn.Sequential(
        MobileOneBranches(3, 8, 3, 2),
        nn.ReLU(),
        MobileOneBranches(8, 8, 3, groups=8),
        nn.ReLU(),
        MobileOneBranches(8, 12, 1),
        nn.ReLU(),
        MobileOneBranches(12, 12, 3, 2, groups=12),
        SqueezeExcite(12, 4),
        nn.ReLU(),
        MobileOneBranches(12, 12, 1),
        nn.ReLU(),
        Head(12, 5),
    )


class GhostCheapBranches(Collapsible):
    """RepGhost: depthwise 3x3 conv + BN and a bare BN over the same feature."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shape = ConvShape(channels, channels, 3, 1, 1, groups=channels)
        self.cheap = conv_bn(channels, channels, 3, padding=1, groups=channels)
        self.fusion = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.cheap(x) + self.fusion(x)


class RepGhostBottleneck(nn.Module):
    """Two RepGhost modules around SE, with a residual."""

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        self.ghost1 = nn.Sequential(
            conv_bn(channels, middle, 1, act=nn.ReLU()), GhostCheapBranches(middle), nn.ReLU()
        )
        self.se = SqueezeExcite(middle, 4, nn.Hardsigmoid())
        self.ghost2 = nn.Sequential(conv_bn(middle, channels, 1), GhostCheapBranches(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.ghost2(self.se(self.ghost1(x)))


class GhostV3Module(nn.Module):
    """GhostNetV3: both halves re-parameterized, concatenated and cropped to the width."""

    def __init__(self, inputs: int, outputs: int, act: bool = True) -> None:
        super().__init__()
        self.outputs = outputs
        half = (outputs + 1) // 2
        self.primary = MobileOneBranches(inputs, half, 1, branches=3)
        self.cheap = MobileOneBranches(half, half, 3, groups=half, branches=3)
        self.act = nn.ReLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        primary = self.act(self.primary(x))
        cheap = self.act(self.cheap(primary))
        return torch.cat((primary, cheap), 1)[:, : self.outputs]


class GhostV3Bottleneck(nn.Module):
    """Ghost module, depthwise convolution of stride 2, SE, ghost module, shortcut."""

    def __init__(self, inputs: int = 6, middle: int = 11, outputs: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(
            GhostV3Module(inputs, middle),
            MobileOneBranches(middle, middle, 3, 2, groups=middle, branches=3),
            SqueezeExcite(middle, 4, nn.Hardsigmoid()),
            GhostV3Module(middle, outputs, act=False),
        )
        self.shortcut = nn.Sequential(
            conv_bn(inputs, inputs, 3, 2, 1, groups=inputs), conv_bn(inputs, outputs, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class RepViTMixer(Collapsible):
    """Depthwise 3x3 conv + BN, bare depthwise 1x1 conv and x; BN after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shape = ConvShape(channels, channels, 3, 1, 1, groups=channels)
        self.conv = conv_bn(channels, channels, 3, padding=1, groups=channels)
        self.conv1 = nn.Conv2d(channels, channels, 1, groups=channels)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn((self.conv(x) + self.conv1(x)) + x)


class RepViTBlock(nn.Sequential):
    """Token mixer, SE, channel mixer with a residual."""

    def __init__(self, channels: int) -> None:
        wide = 2 * channels
        super().__init__(
            RepViTMixer(channels),
            SqueezeExcite(channels, 4),
            Residual(
                nn.Sequential(conv_bn(channels, wide, 1), nn.GELU(), conv_bn(wide, channels, 1))
            ),
        )


class RepMixer(Collapsible):
    """FastViT: x + layer_scale * (mixer(x) - norm(x)); layer_scale is per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shape = ConvShape(channels, channels, 3, 1, 1, groups=channels)
        self.norm = MobileOneBranches(channels, channels, 1, groups=channels, branches=0)
        self.mixer = MobileOneBranches(channels, channels, 3, groups=channels, branches=1)
        self.layer_scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer_scale * (self.mixer(x) - self.norm(x))


class ScaledPointwise(Collapsible):
    """The last 1x1 convolution of FastViT's ConvFFN, times layer_scale."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shape = ConvShape(inputs, outputs, 1)
        self.conv = nn.Conv2d(inputs, outputs, 1)
        self.layer_scale = nn.Parameter(torch.ones(outputs, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer_scale * self.conv(x)


class FastViTBlock(nn.Sequential):
    """RepMixer, then ConvFFN (depthwise 7x7 conv + BN, 1x1, GELU, 1x1) with a residual."""

    def __init__(self, channels: int) -> None:
        ffn = nn.Sequential(
            conv_bn(channels, channels, 7, padding=3, groups=channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.GELU(),
            ScaledPointwise(2 * channels, channels),
        )
        super().__init__(RepMixer(channels), Residual(ffn))


class ScalarAffine(nn.Module):
    """A learnable scalar scale and a learnable scalar bias."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.bias


class LCBranches(Collapsible):
    """PP-LCNetV3: identity BN, 1x1 conv + BN, n kxk conv + BN, then a scalar affine."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.shape = ConvShape(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
        self.identity = nn.BatchNorm2d(inputs) if stride == 1 and inputs == outputs else None
        self.pointwise = conv_bn(inputs, outputs, 1, stride, groups=groups) if kernel > 1 else None
        self.branches = nn.ModuleList(
            conv_bn(inputs, outputs, kernel, stride, kernel // 2, groups=groups) for _ in range(4)
        )
        self.lab = ScalarAffine()

    def forward(self, x: Tensor) -> Tensor:
        y = self.branches[0](x)
        if self.identity is not None:
            y = y + self.identity(x)
        if self.pointwise is not None:
            y = y + self.pointwise(x)
        for branch in self.branches[1:]:
            y = y + branch(x)
        return self.lab(y)


def lcnetv3() -> nn.Module:
    """Build two depthwise separable blocks; Hardswish with a scalar affine behind each sum."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((6, 6, 1), (6, 10, 2)):
        layers += [
            LCBranches(inputs, inputs, 3, stride, groups=inputs),
            nn.Hardswish(),
            ScalarAffine(),
            LCBranches(inputs, outputs, 1),
            nn.Hardswish(),
            ScalarAffine(),
        ]
    return nn.Sequential(*layers)


class LinearBN(CollapsibleLinear):
    """LevIT: a linear layer without bias, BN over all tokens."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return self.bn(y.flatten(0, -2)).reshape(y.shape)


class LevITAttention(nn.Module):
    """Attention whose projections are linear layers with BN."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = LinearBN(width, 3 * width)
        self.proj = LinearBN(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, self.heads, -1)
        q, k, v = qkv.chunk(3, dim=3)
        q, k, v = q.permute(0, 2, 1, 3), k.permute(0, 2, 3, 1), v.permute(0, 2, 1, 3)
        attention = functional.softmax(q @ k * self.scale, -1)
        y = (attention @ v).transpose(1, 2).reshape(batch, tokens, width)
        return self.proj(functional.hardswish(y))


class LevIT(nn.Module):
    """Convolutional stem, one attention block and one MLP, both with residuals."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_bn(3, 8, 3, 2, 1, act=nn.Hardswish()), conv_bn(8, width, 3, 2, 1)
        )
        self.attention = Residual(LevITAttention(width))
        self.mlp = Residual(
            nn.Sequential(LinearBN(width, 2 * width), nn.Hardswish(), LinearBN(2 * width, width))
        )

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        return self.mlp(self.attention(tokens)).mean(1)
