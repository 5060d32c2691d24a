"""ParseNet, which tells the parts of an aligned face, as released with facexlib (parsing_parsenet.pth)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ParseNetConfig:
    """Sizes; the defaults are those of the released network."""

    in_size: int = 512
    out_size: int = 512
    smallest: int = 32  # side of the innermost map
    width: int = 64
    classes: int = 19
    depth: int = 10  # blocks at the innermost map
    limits: tuple[int, int] = (32, 256)  # of the width


class ConvLayer(nn.Module):
    """A 3x3 convolution over a reflected border, after doubling or while halving the map; batch norm and
    rectifier where `normed`.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        sampling: str | None = None,
        normed: bool = False,
        rectified: bool = False,
    ):
        super().__init__()
        self.conv2d = nn.Conv2d(channels, out, 3, stride=2 if sampling == "down" else 1, bias=not normed)
        self.norm = nn.ModuleDict({"norm": nn.BatchNorm2d(out)}) if normed else None
        self.doubled, self.rectified = sampling == "up", rectified

    def forward(self, x: Tensor) -> Tensor:
        if self.doubled:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = self.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"))
        if self.norm is not None:
            x = self.norm["norm"](x)
        return F.leaky_relu(x, 0.2) if self.rectified else x


class ResidualBlock(nn.Module):
    """Two layers around a shortcut; a map is doubled by the first of them and halved by the second."""

    def __init__(self, channels: int, out: int, sampling: str | None = None):
        super().__init__()
        same = sampling is None and channels == out
        self.shortcut_func = nn.Identity() if same else ConvLayer(channels, out, sampling)
        self.conv1 = ConvLayer(channels, out, "up" if sampling == "up" else None, normed=True, rectified=True)
        self.conv2 = ConvLayer(out, out, "down" if sampling == "down" else None, normed=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut_func(x) + self.conv2(self.conv1(x))


class ParseNet(nn.Module):
    """Faces B 3 S S, RGB in -1..1, to class scores B classes S S and a picture B 3 S S that training used."""

    def __init__(self, config: ParseNetConfig = ParseNetConfig()):
        super().__init__()
        self.config = config
        down, up = (round(math.log2(size / config.smallest)) for size in (config.in_size, config.out_size))

        def width(level: int) -> int:
            return min(max(int(config.width * 2.0**level), config.limits[0]), config.limits[1])

        self.encoder = nn.Sequential(
            ConvLayer(3, config.width),
            *(ResidualBlock(config.width if i == 0 else width(i), width(i + 1), "down") for i in range(down)),
        )
        self.body = nn.Sequential(*(ResidualBlock(width(down), width(down)) for _ in range(config.depth)))
        self.decoder = nn.Sequential(
            *(ResidualBlock(width(down - i), width(down - i - 1), "up") for i in range(up))
        )
        self.out_img_conv, self.out_mask_conv = (
            ConvLayer(width(down - up), 3),
            ConvLayer(width(down - up), config.classes),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.encoder(x)
        x = self.decoder(x + self.body(x))
        return self.out_mask_conv(x), self.out_img_conv(x)
