"""Focus, space to depth and upsampling around a convolution; decoders and pyramids with them."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from blocks.base import Collapsible, ConvShape, conv_bn


class Focus(Collapsible):
    """Four slices of every second pixel, concatenated, and a 3x3 (YOLOv5, YOLOX)."""

    def __init__(self, outputs: int, order: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        self.shape = ConvShape(3, outputs, 6, 2, 2, multiple=2)
        self.order = order
        self.conv = conv_bn(12, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.cat([x[..., i::2, j::2] for i, j in self.order], 1))


class Unshuffled(Collapsible):
    """PixelUnshuffle and a 3x3."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shape = ConvShape(inputs, outputs, 6, 2, 2, multiple=2)
        self.conv = conv_bn(4 * inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.pixel_unshuffle(x, 2))


class Upsampled(Collapsible):
    """Twice the size, nearest, and a 3x3: every decoder."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shape = ConvShape(inputs, outputs, 4, 2, 1, transposed=True)
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class Resnet(nn.Module):
    """GroupNorm, SiLU and a 3x3, twice, with a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(
                layer
                for _ in range(2)
                for layer in (
                    nn.GroupNorm(4, channels),
                    nn.SiLU(),
                    nn.Conv2d(channels, channels, 3, padding=1),
                )
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class UNet(nn.Module):
    """One stage down and up again, with the skip concatenated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = conv_bn(3, channels, 3, padding=1, act=nn.ReLU())
        self.deep = conv_bn(channels, 4 * channels, 3, padding=1, act=nn.ReLU())
        self.up = Upsampled(4 * channels, channels)
        self.out = conv_bn(2 * channels, channels, 3, padding=1, act=nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x)
        wide = functional.relu(self.up(self.deep(functional.max_pool2d(skip, 2))))
        return self.out(torch.cat([skip, wide], 1))


class Pyramid(nn.Module):
    """Top-down path of an FPN, and the Concat and 1x1 of a PAN."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fine = conv_bn(3, channels, 3, 2, 1, act=nn.ReLU())
        self.coarse = conv_bn(channels, 2 * channels, 3, 2, 1, act=nn.ReLU())
        self.lateral = nn.Conv2d(2 * channels, channels, 1)
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1)
        self.joined = conv_bn(3 * channels, channels, 1, act=nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        coarse = self.coarse(fine)
        added = fine + functional.interpolate(self.lateral(coarse), scale_factor=2.0)
        wide = functional.interpolate(coarse, scale_factor=2.0)
        return self.smooth(added) * self.joined(torch.cat([wide, fine], 1))


def focus() -> nn.Module:
    order = ((0, 0), (1, 0), (0, 1), (1, 1))
    return nn.Sequential(Focus(8, order), nn.SiLU(), conv_bn(8, 8, 3, 2, 1, act=nn.SiLU()))


def shuffle_skip() -> nn.Module:
    return nn.Sequential(conv_bn(3, 3, 3, padding=1, act=nn.ReLU()), Shuffled(3))


def shuffle_written() -> nn.Module:
    return nn.Sequential(conv_bn(3, 3, 3, padding=1, act=nn.ReLU()), Shuffled(3, written=True))


def unshuffle() -> nn.Module:
    return nn.Sequential(Unshuffled(3, 8), nn.LeakyReLU(0.1))


def vae_decoder() -> nn.Module:
    return nn.Sequential(
        Resnet(16), Upsampled(16, 8), nn.GroupNorm(4, 8), nn.SiLU(), nn.Conv2d(8, 3, 3, padding=1)
    )


def espcn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2),
        nn.Tanh(),
        nn.Conv2d(8, 6, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(6, 4, 3, padding=1),
        nn.PixelShuffle(2),
    )


class Shuffled(nn.Module):
    """Super-resolution: a 3x3, PixelShuffle, the source made larger, and the mean put back.

    The mean is a fixed 1x1 as in EDSR; the skip is a nearest one, as in PlainUSR and ABPN.
    `written` has the shuffle as a view, a permutation and a reshape.
    """

    def __init__(self, channels: int, factor: int = 3, *, written: bool = False) -> None:
        super().__init__()
        self.factor, self.written = factor, written
        self.conv = nn.Conv2d(channels, channels * factor**2, 3, padding=1)
        self.mean = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        deep, f = self.conv(x), self.factor
        if self.written:
            n, c, h, w = deep.shape
            deep = deep.view(n, c // f**2, f, f, h, w).permute(0, 1, 4, 2, 5, 3)
            long = deep.reshape(n, c // f**2, h * f, w * f)
        else:
            long = functional.pixel_shuffle(deep, f)
        return self.mean(long + functional.interpolate(x, scale_factor=float(f), mode="nearest"))


class Patches(nn.Module):
    """Patches of 4x4 pixels, each a row of a matrix, and a linear layer of them (MLP-Mixer)."""

    def __init__(self, inputs: int, outputs: int, size: int = 4) -> None:
        super().__init__()
        self.size = size
        self.embed = nn.Linear(inputs * size * size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        p, h, w = self.size, height // self.size, width // self.size
        x = x.reshape(batch, channels, h, p, w, p).permute(0, 2, 4, 3, 5, 1)
        return functional.gelu(self.embed(x.reshape(batch, h * w, p * p * channels)))
