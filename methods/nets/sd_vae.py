"""Stable Diffusion's autoencoder (Rombach et al. 2022, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .adm_blocks import GroupNorm32, Upsample
from .autoencoder_blocks import EPS, AttnBlock, HalfSize, ResnetBlock


@dataclass(frozen=True)
class VAEConfig:
    """The defaults are the released autoencoder's."""

    channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2  # of each level; the decoder has one more
    latent_channels: int = 4

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, the finest first."""
        return tuple(m * self.channels for m in self.channel_mult)

    @property
    def reduction(self) -> int:
        """How many pixels lie under one of the latent along each side."""
        return 2 ** (len(self.channel_mult) - 1)


class Middle(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.block_1, self.attn_1, self.block_2 = (
            ResnetBlock(channels, channels),
            AttnBlock(channels),
            ResnetBlock(channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Resolution(nn.Module):
    """The residual blocks of one level, and under `resample` what leads to the next."""

    def __init__(
        self, channels: int, width: int, blocks: int, resample: str = "", layer: nn.Module | None = None
    ):
        super().__init__()
        self.block = nn.ModuleList([ResnetBlock(channels if i == 0 else width, width) for i in range(blocks)])
        self._resample = resample
        if resample:
            self.add_module(resample, layer)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return getattr(self, self._resample)(x) if self._resample else x


class Encoder(nn.Module):
    """Pictures B 3 H W in -1..1 to moments B 2Z H/r W/r, before `quant_conv`."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        widths, last = config.widths, len(config.widths) - 1
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            name, layer = ("downsample", HalfSize(width)) if i < last else ("", None)
            self.down.append(Resolution(widths[max(i - 1, 0)], width, config.num_res_blocks, name, layer))
        self.mid = Middle(widths[-1])
        self.norm_out, self.conv_out = (
            GroupNorm32(widths[-1], EPS),
            nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    """Latents B Z h w, after `post_quant_conv`, to pictures B 3 h*r w*r in about -1..1.

    Level 0 of `up` is the finest.
    """

    def __init__(self, config: VAEConfig):
        super().__init__()
        widths, last = config.widths, len(config.widths) - 1
        self.conv_in, self.mid = (
            nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1),
            Middle(widths[-1]),
        )
        self.up = nn.ModuleList()
        for i, width in enumerate(widths):
            name, layer = ("upsample", Upsample(width, conv=True)) if i > 0 else ("", None)
            self.up.append(
                Resolution(widths[min(i + 1, last)], width, config.num_res_blocks + 1, name, layer)
            )
        self.norm_out, self.conv_out = GroupNorm32(widths[0], EPS), nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(h)))


class VAE(nn.Module):
    """Pictures to the mean and deviation of their latents and back; nothing is scaled.

    Keys equal the released ones.
    """

    def __init__(self, config: VAEConfig = VAEConfig()):
        super().__init__()
        self.config = config
        z = config.latent_channels
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(2 * z, 2 * z, 1), nn.Conv2d(z, z, 1)

    def encode(self, image: Tensor) -> Tensor:
        """B 3 H W in -1..1, sides multiples of config.reduction, to moments B 2Z h w: means, then log
        variances.
        """
        step, (height, width) = self.config.reduction, image.shape[-2:]
        if image.ndim != 4 or image.shape[1] != 3 or height % step or width % step:
            raise ValueError(
                f"the autoencoder takes pictures (B, 3, H, W) whose sides are multiples of {step}, not "
                f"{tuple(image.shape)}: pad them"
            )
        return self.quant_conv(self.encoder(image.to(self.quant_conv.weight.dtype))).to(image.dtype)

    def decode(self, z: Tensor) -> Tensor:
        """B Z h w to B 3 H W in about -1..1."""
        if z.ndim != 4 or z.shape[1] != self.config.latent_channels:
            raise ValueError(
                f"the autoencoder takes latents (B, {self.config.latent_channels}, h, w), not "
                f"{tuple(z.shape)}"
            )
        return self.decoder(self.post_quant_conv(z.to(self.post_quant_conv.weight.dtype))).to(z.dtype)


def split_moments(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, B Z h w each."""
    mean, log_variance = moments.chunk(2, 1)
    return mean, torch.exp(0.5 * log_variance.clamp(-30, 20))
