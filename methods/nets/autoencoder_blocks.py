"""What the autoencoders of Stable Diffusion and CodeFormer are made of (Esser et al. 2021)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .adm_blocks import GroupNorm32
from .attention import attention

EPS = 1e-6  # of every group norm


class ResnetBlock(nn.Module):
    """Norm, swish and convolution twice, and a skip:

    B C h w to B C' h w; `skip` names the 1x1 convolution of one between other widths.
    """

    def __init__(self, channels: int, out_channels: int, skip: str = "nin_shortcut"):
        super().__init__()
        self.norm1, self.conv1 = GroupNorm32(channels, EPS), nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2, self.conv2 = (
            GroupNorm32(out_channels, EPS),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        self._skip = skip if channels != out_channels else ""
        if self._skip:
            self.add_module(skip, nn.Conv2d(channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (getattr(self, self._skip)(x) if self._skip else x) + h


class AttnBlock(nn.Module):
    """Self-attention of one head over all positions, added to the map. B C h w."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = GroupNorm32(channels, EPS)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2)[:, None] for layer in (self.q, self.k, self.v))
        h = attention(q, k, v)[:, 0].transpose(1, 2)
        return x + self.proj_out(h.reshape(x.shape))


class HalfSize(nn.Module):
    """A strided convolution that sees one row and column of zeros below and to the right only.

    B C h w to B C h/2 w/2.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))
