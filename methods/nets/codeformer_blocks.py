"""The parts of CodeFormer beside its autoencoder: the transformer layer, the controllable fusion,
statistics.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .autoencoder_blocks import ResnetBlock


class Fuse(nn.Module):
    """Controllable feature transformation: the decoder's map, scaled and shifted by what the encoder saw
    (Zhou et al. 2022, Eq. 5).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.encode_enc = ResnetBlock(2 * channels, channels, skip="conv_out")
        self.scale, self.shift = (
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for _ in range(2)
        )

    def forward(self, encoded: Tensor, decoded: Tensor, w: float) -> Tensor:
        e = self.encode_enc(torch.cat([encoded, decoded], 1))
        return decoded + w * (decoded * self.scale(e) + self.shift(e))


class TransformerLayer(nn.Module):
    """Pre-norm self-attention and MLP. x B N C; the position (N, C) is added to queries and keys, not to
    values.
    """

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
    """x B C H W with the mean and deviation of `style` in every channel (variance plus eps, unbiased with
    correction 1).
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    (mean, deviation), (wanted, spread) = (_moments(t.to(wide), eps, correction) for t in (x, style))
    return ((x - mean) / deviation * spread + wanted).to(x.dtype)


def _moments(x: Tensor, eps: float, correction: int) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(x, (2, 3), keepdim=True, correction=correction)
    return mean, (variance + eps).sqrt()
