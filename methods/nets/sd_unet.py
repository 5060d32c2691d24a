"""Stable Diffusion's UNet: an ADM UNet whose attention also looks at the prompt (Rombach et al. 2022, section
3.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .adm_blocks import GroupNorm32, ResBlock, Stage, attend
from .adm_config import ADMConfig
from .adm_unet import ADMUNet


@dataclass(frozen=True)
class SDConfig(ADMConfig):
    """The defaults are Stable Diffusion 2.1's; image_size is that of the latent it was trained on at
    first.
    """

    image_size: int = 64
    in_channels: int = 4
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[float, ...] = (1, 2, 4, 4)
    attention_factors: tuple[int, ...] = (1, 2, 4)
    scale_shift: bool = False
    resblock_updown: bool = False
    context_dim: int = 1024  # of a prompt's tokens


class Attention(nn.Module):
    """Multi-head attention of tokens B L C on themselves or on a context B M D."""

    def __init__(self, channels: int, heads: int, context_dim: int | None = None):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context_dim or channels, channels, bias=False)
        self.to_v = nn.Linear(context_dim or channels, channels, bias=False)
        self.to_out = nn.Sequential(nn.Linear(channels, channels), nn.Identity())

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        q, k, v = (
            rearrange(t, "b l (h c) -> b h l c", h=self.heads)
            for t in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        return self.to_out(attend(q, k, v).transpose(1, 2))


class GEGLU(nn.Module):
    """A linear layer gated by another (Shazeer 2020)."""

    def __init__(self, channels: int, wide: int):
        super().__init__()
        self.proj = nn.Linear(channels, 2 * wide)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, -1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.net = nn.Sequential(
            GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    """Attention on the picture, attention on the prompt, feed-forward; each normalised before and added
    after.
    """

    def __init__(self, channels: int, heads: int, context_dim: int):
        super().__init__()
        self.attn1, self.attn2 = Attention(channels, heads), Attention(channels, heads, context_dim)
        self.ff = FeedForward(channels)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """A transformer block over all positions of a map B C h w, added to it; projections are linear, as in
    Stable Diffusion 2.
    """

    def __init__(self, channels: int, heads: int, context_dim: int):
        super().__init__()
        self.norm = GroupNorm32(channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, heads, context_dim)])
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        tokens = self.proj_in(rearrange(self.norm(x), "b c h w -> b (h w) c"))
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return x + rearrange(self.proj_out(tokens), "b (h w) c -> b c h w", h=x.shape[-2])


class SDUNet(ADMUNet):
    """x B 4 h w, t (B,) in training steps and a prompt's tokens B L D to what it was trained to predict (eps
    or v), in x's precision.

    Sides are multiples of config.reduction. State-dict keys equal those below `model.diffusion_model.` of the
    released files. Raises ValueError.
    """

    config: SDConfig

    def attention(self, width: int, decoder: bool = False) -> SpatialTransformer:
        return SpatialTransformer(width, self.config.heads(width), self.config.context_dim)

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        self.check_inputs(x, t)
        wanted = self.config.context_dim
        if context.ndim != 3 or len(context) != len(x) or context.shape[-1] != wanted:
            raise ValueError(
                f"{len(x)} latents need prompts of shape ({len(x)}, tokens, {wanted}), not "
                f"{tuple(context.shape)}"
            )
        emb, maps = self.embed(t), [self.stem(x)]
        context = context.to(maps[0].dtype)
        for block in list(self.input_blocks)[1:]:
            maps.append(_through(block, maps[-1], emb, context))
        h = _through(self.middle_block, maps[-1], emb, context)
        for block in self.output_blocks:
            h = _through(block, torch.cat([h, maps.pop()], 1), emb, context)
        return self.out(h).to(x.dtype)


def _through(stage: nn.Module, x: Tensor, emb: Tensor, context: Tensor) -> Tensor:
    """The layers of a stage one after the other, each told what it looks at."""
    for layer in cast(Stage, stage):
        told = (
            (emb,)
            if isinstance(layer, ResBlock)
            else (context,)
            if isinstance(layer, SpatialTransformer)
            else ()
        )
        x = layer(x, *told)
    return x
