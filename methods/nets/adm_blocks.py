"""The parts of the ADM networks: time embedding, group norm in float32, resampling, residual and attention
blocks.

Source: Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis (2021), section 3; Nichol and
Dhariwal, Improved Denoising Diffusion Probabilistic Models (2021), appendix A.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .adm_config import GROUPS
from .attention import attention

Resampling = Literal["up", "down"]


def timestep_embedding(t: Tensor, channels: int, shift: int = 0) -> Tensor:
    """Cosines, then sines, of t (B, may be fractional) at frequencies from 1 to nearly 1/10000, or to that
    itself with a shift of 1.

    B to B channels, float32.
    """
    half = channels // 2
    frequencies = torch.exp(
        torch.arange(half, dtype=torch.float32, device=t.device) * (-math.log(10000.0) / (half - shift))
    )
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


def time_mlp(channels: int) -> nn.Sequential:
    """B channels to B 4*channels."""
    return nn.Sequential(nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, 4 * channels))


def zeroed(layer: nn.Module) -> nn.Module:
    """A layer that starts at zero, so that a new residual block is the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class GroupNorm32(nn.GroupNorm):
    """32 groups or as given; sums are taken in float32 whatever the precision, which torch's kernels do
    without a copy of the map. The input's precision comes back.
    """

    def __init__(self, channels: int, eps: float = 1e-5, groups: int = GROUPS):
        super().__init__(groups, channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return F.group_norm(x, self.num_groups, weight, bias, self.eps)


class Downsample(nn.Module):
    """Half the size: a strided convolution, or the mean of 2x2 without weights. B C H W to B C H/2 W/2.

    pad_after: the convolution sees zeros below and to the right only.
    """

    def __init__(self, channels: int, conv: bool, pad_after: bool = False):
        super().__init__()
        self.pad_after = pad_after and conv
        padding = 0 if pad_after else 1
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=padding) if conv else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(F.pad(x, (0, 1, 0, 1)) if self.pad_after else x)


class Upsample(nn.Module):
    """Twice the size by repetition, then a convolution if asked for. B C H W to B C 2H 2W."""

    def __init__(self, channels: int, conv: bool):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if conv else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


RESAMPLERS = {None: nn.Identity, "up": Upsample, "down": Downsample}


class ResBlock(nn.Module):
    """Residual block with the time embedding, before whose first convolution both branches may be resampled
    by 2.

    x B C H W and emb B E to B C' H' W'.
    """

    def __init__(
        self,
        channels: int,
        emb_channels: int,
        out_channels: int,
        scale_shift: bool,
        dropout: float = 0.0,
        resampling: Resampling | None = None,
        groups: int = GROUPS,
        eps: float = 1e-5,
    ):
        super().__init__()
        self.scale_shift = scale_shift
        self.in_layers = nn.Sequential(
            GroupNorm32(channels, eps, groups), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.resample = RESAMPLERS[resampling](channels, False)
        self.emb_layers = nn.Sequential(
            nn.SiLU(), nn.Linear(emb_channels, out_channels * (2 if scale_shift else 1))
        )
        last = zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.out_layers = nn.Sequential(
            GroupNorm32(out_channels, eps, groups), nn.SiLU(), nn.Dropout(dropout), last
        )
        self.skip_connection = (
            nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        )

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        norm, activation, conv = self.in_layers
        h = conv(self.resample(activation(norm(x))))
        shift = self.emb_layers(emb).to(h.dtype)[:, :, None, None]
        norm, activation, dropout, conv = self.out_layers
        if self.scale_shift:
            scale, shift = shift.chunk(2, 1)
            h = torch.addcmul(shift, norm(h), 1 + scale)
        else:
            h = norm(h + shift)
        return self.skip_connection(self.resample(x)) + conv(dropout(activation(h)))


def split_heads(qkv: Tensor, heads: int, new_order: bool) -> tuple[Tensor, Tensor, Tensor]:
    """B (3*C) L to q, k, v of B heads L C/heads; the channels are (head, [q k v], c), in the new order ([q k
    v], head, c).
    """
    pattern = "b (k h c) l -> k b h l c" if new_order else "b (h k c) l -> k b h l c"
    q, k, v = rearrange(qkv, pattern, k=3, h=heads).contiguous()
    return q, k, v


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of B heads L c with the heads side by side: B (heads*c) L."""
    return rearrange(attention(q, k, v), "b h l c -> b (h c) l")


class AttentionBlock(nn.Module):
    """Residual self-attention over all positions. B C H W to the same shape."""

    def __init__(
        self,
        channels: int,
        heads: int,
        new_order: bool = False,
        groups: int = GROUPS,
        eps: float = 1e-5,
    ):
        super().__init__()
        self.heads, self.new_order = heads, new_order
        self.norm = GroupNorm32(channels, eps, groups)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.qkv(self.norm(x).flatten(2))
        return x + self.proj_out(attend(*split_heads(tokens, self.heads, self.new_order))).view_as(x)


class Stage(nn.Sequential):
    """Layers one after the other; the residual blocks among them get the time embedding too."""

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, emb) if isinstance(layer, ResBlock) else layer(x)
        return x
