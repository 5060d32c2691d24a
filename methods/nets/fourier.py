"""The noise embedding of score networks: sines and cosines of ln sigma at Gaussian frequencies."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .edm_blocks import FourierEmbedding


class GaussianFourierProjection(nn.Module):
    """sigma (B,) to B 2 `count`: the sines, then the cosines, of 2 pi W ln sigma, float32.

    W is stored and never trained.

    Source: Song et al., Score-Based Generative Modeling through SDEs (2021), NCSN++.
    """

    W: Tensor
    keep_float32 = True

    def __init__(self, count: int, scale: float = 16.0):
        super().__init__()
        self.register_buffer("W", FourierEmbedding(2 * count, scale).freqs)

    def forward(self, sigma: Tensor) -> Tensor:
        angles = sigma.float().log()[:, None] * self.W.float() * 2 * math.pi
        return torch.cat([angles.sin(), angles.cos()], 1)
