"""The parts of the EDM networks: embeddings of the noise level, resampling convolutions and the residual
block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .attention import attention
from .fir import fir_down, fir_kernel, fir_reach, fir_up

Sampling = Literal["up", "down"]


def given_labels(labels: Tensor | None) -> Tensor:
    """Raises ValueError where a class-conditional network gets no class."""
    if labels is None:
        raise ValueError("this network is class-conditional: give class labels, zeros for no class")
    return labels


class PositionalEmbedding(nn.Module):
    """Cosines, then sines, of the noise label at frequencies falling from 1 to 1/10000. B to B C, float32.

    With `endpoint` the last frequency is exactly 1/10000 (DDPM++), else one step short of it (ADM).
    """

    def __init__(self, channels: int, endpoint: bool):
        super().__init__()
        self.count, self.endpoint = channels // 2, endpoint

    def forward(self, labels: Tensor) -> Tensor:
        # computed here, not a buffer: no key in any checkpoint would bring it to a network made on the meta
        # device
        steps = torch.arange(self.count, dtype=torch.float32, device=labels.device) / (
            self.count - self.endpoint
        )
        return _waves(labels, 10000.0**-steps)


class FourierEmbedding(nn.Module):
    """Cosines, then sines, of the noise label at Gaussian frequencies stored in the checkpoint.

    B to B C, float32.

    Source: Song et al., Score-Based Generative Modeling through SDEs (2021), NCSN++.
    """

    freqs: Tensor
    keep_float32 = True

    def __init__(self, channels: int, scale: float = 16.0):
        super().__init__()
        # before a checkpoint fills it: the quantiles of the same Gaussian, so that a new network needs no
        # random numbers
        quantiles = (torch.arange(channels // 2, dtype=torch.float32) + 0.5) / (channels // 2)
        self.register_buffer("freqs", torch.special.ndtri(quantiles) * scale)

    def forward(self, labels: Tensor) -> Tensor:
        return _waves(labels, 2 * math.pi * self.freqs.float())


def _waves(labels: Tensor, frequencies: Tensor) -> Tensor:
    angles = labels.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


class Resample(nn.Module):
    """FIR resampling by 2 without weights. B C H W to B C 2H 2W or B C H/2 W/2."""

    resample_filter: Tensor

    def __init__(self, sampling: Sampling, taps: Sequence[float]):
        super().__init__()
        self.operation = fir_up if sampling == "up" else fir_down
        self.register_buffer("resample_filter", fir_kernel(taps))

    def forward(self, x: Tensor) -> Tensor:
        return self.operation(x, self.resample_filter)


class ResampleConv(nn.Conv2d):
    """FIR resampling by 2, then a convolution; `fused` convolves first, over the zero border that the filter
    needs too.

    The order matters at the border only. Up is never fused in the released networks.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        sampling: Sampling,
        taps: Sequence[float],
        fused: bool = False,
    ):
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2)
        if fused and sampling == "up":
            raise ValueError("only downsampling can be fused with its convolution: leave fused off")
        self.operation, self.fused = fir_up if sampling == "up" else fir_down, fused
        self.register_buffer("resample_filter", fir_kernel(taps))

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            wide = F.conv2d(
                x, self.weight, self.bias, padding=self.kernel_size[0] // 2 + fir_reach(self.resample_filter)
            )
            return fir_down(wide, self.resample_filter, padding=0)
        return super().forward(self.operation(x, self.resample_filter))


def group_norm(channels: int, eps: float) -> nn.GroupNorm:
    """At least four channels a group, at most 32 groups."""
    return nn.GroupNorm(min(32, channels // 4), channels, eps)


@dataclass(frozen=True)
class BlockStyle:
    """Where the residual blocks of the architectures differ."""

    eps: float  # of the group norms
    skip_scale: float  # of every residual sum
    scale_shift: bool  # the embedding scales and shifts after norm1, else it is added before
    project_resampled: bool  # a resampling shortcut has a 1x1 convolution even where the width stays
    head_channels: int | None  # width of an attention head; None: one head
    resample_filter: tuple[float, ...]
    dropout: float


class UNetBlock(nn.Module):
    """Residual block with the noise embedding, optional resampling by 2 at its entry and optional attention
    at its end.

    x B C H W and emb B E to B C' H' W'. Source: Karras et al. (2022), appendix F, table 7.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        emb_channels: int,
        style: BlockStyle,
        sampling: Sampling | None = None,
        attention: bool = False,
    ):
        super().__init__()
        self.style = style
        self.norm0 = group_norm(in_channels, style.eps)
        self.conv0 = self._conv(in_channels, out_channels, 3, sampling)
        self.affine = nn.Linear(emb_channels, out_channels * (2 if style.scale_shift else 1))
        self.norm1 = group_norm(out_channels, style.eps)
        self.conv1 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Identity()
        if in_channels != out_channels or (sampling and style.project_resampled):
            self.skip = self._conv(in_channels, out_channels, 1, sampling)
        elif sampling:
            self.skip = Resample(sampling, style.resample_filter)
        # fewer channels than one head has: no attention at all, as released
        self.heads = (
            (1 if style.head_channels is None else out_channels // style.head_channels) if attention else 0
        )
        if self.heads:
            self.norm2 = group_norm(out_channels, style.eps)
            self.qkv = nn.Conv2d(out_channels, 3 * out_channels, 1)
            self.proj = nn.Conv2d(out_channels, out_channels, 1)

    def _conv(self, in_channels: int, out_channels: int, kernel: int, sampling: Sampling | None) -> nn.Conv2d:
        if sampling:
            return ResampleConv(in_channels, out_channels, kernel, sampling, self.style.resample_filter)
        return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        modulation = self.affine(emb)[:, :, None, None]
        h = self.conv0(F.silu(self.norm0(x)))
        if self.style.scale_shift:
            scale, shift = modulation.chunk(2, 1)
            h = self.norm1(h) * (1 + scale) + shift
        else:
            h = self.norm1(h + modulation)
        h = self.conv1(F.dropout(F.silu(h), self.style.dropout, self.training))
        x = (self.skip(x) + h) * self.style.skip_scale
        return (x + self._attention(x)) * self.style.skip_scale if self.heads else x

    def _attention(self, x: Tensor) -> Tensor:
        # queries, keys and values alternate channel by channel within a head
        q, k, v = rearrange(
            self.qkv(self.norm2(x)), "b (n c three) h w -> three b n (h w) c", n=self.heads, three=3
        )
        out = attention(q, k, v)
        return self.proj(rearrange(out, "b n (h w) c -> b (n c) h w", h=x.shape[2]))
