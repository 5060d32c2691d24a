"""The parts of CodeFormer: residual and attention blocks of the autoencoder, the transformer layer, the controllable fusion."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def group_norm(channels: int) -> nn.GroupNorm:
    """32 groups."""
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResBlock(nn.Module):
    """Norm, swish and convolution twice, with a 1x1 convolution on the shortcut where the width changes. B C H W."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.conv_out = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (self.conv_out(x) if hasattr(self, "conv_out") else x) + h


class Attention(nn.Module):
    """Self-attention of one head over all positions. B C H W."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = group_norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (rearrange(part(h), "b c h w -> b 1 (h w) c") for part in (self.q, self.k, self.v))
        out = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(rearrange(out, "b 1 (h w) c -> b c h w", h=x.shape[2]))


class Downsample(nn.Module):
    """A convolution of stride 2 with zeros to the right and below. B C H W to B C H/2 W/2."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Nearest neighbour, then a convolution. B C H W to B C 2H 2W."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Fuse(nn.Module):
    """Controllable feature transformation: the decoder's map, scaled and shifted by what the encoder saw (Zhou et al. 2022, Eq. 5)."""

    def __init__(self, channels: int):
        super().__init__()
        self.encode_enc = ResBlock(2 * channels, channels)
        self.scale, self.shift = (
            nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(channels, channels, 3, padding=1))
            for _ in range(2)
        )

    def forward(self, encoded: Tensor, decoded: Tensor, w: float) -> Tensor:
        e = self.encode_enc(torch.cat([encoded, decoded], 1))
        return decoded + w * (decoded * self.scale(e) + self.shift(e))


class TransformerLayer(nn.Module):
    """Pre-norm self-attention and MLP. x B N C; the position (N, C) is added to queries and keys, not to values."""

    def __init__(self, channels: int, heads: int, width: int):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.linear1 = nn.Linear(channels, width)
        self.linear2 = nn.Linear(width, channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        a = self.norm1(x)
        at = a + position
        x = x + self.self_attn(at, at, a, need_weights=False)[0]
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


def adain(x: Tensor, style: Tensor, eps: float = 1e-5, correction: int = 1) -> Tensor:
    """x B C H W with the mean and deviation of `style` in every channel (variance plus eps, unbiased with correction 1)."""
    wide = torch.promote_types(x.dtype, torch.float32)
    (mean, deviation), (wanted, spread) = (_moments(t.to(wide), eps, correction) for t in (x, style))
    return ((x - mean) / deviation * spread + wanted).to(x.dtype)


def _moments(x: Tensor, eps: float, correction: int) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(x, (2, 3), keepdim=True, correction=correction)
    return mean, (variance + eps).sqrt()
