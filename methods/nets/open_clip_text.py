"""The text encoder of OpenCLIP's ViT-H, as far as Stable Diffusion 2 uses it: all but the last of its 24
blocks, then the final norm.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

import torch
from torch import Tensor, nn

BLOCKS = 23
LENGTH, VOCABULARY = 77, 49408  # tokens of a prompt, and how many there are to choose from
HEAD = 64  # channels of an attention head


class TextBlock(nn.Module):
    """Attention on the tokens so far, then two linear layers; each normalised before and added after."""

    def __init__(self, width: int):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, max(1, width // HEAD), batch_first=True)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=nn.GELU(), c_proj=nn.Linear(4 * width, width))
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        seen = self.ln_1(x)
        x = x + self.attn(seen, seen, seen, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class OpenCLIPText(nn.Module):
    """Tokens B 77 (int64) to what Stable Diffusion 2 is told, B 77 D. Keys are the published ones.

    Source: Radford et al. 2021, section 2.4; OpenCLIP's ViT-H-14 (width 1024), second to last layer.
    """

    def __init__(self, width: int = 1024):
        super().__init__()
        self.token_embedding = nn.Embedding(VOCABULARY, width)
        self.positional_embedding = nn.Parameter(torch.empty(LENGTH, width))
        self.transformer = nn.ModuleDict(
            {"resblocks": nn.ModuleList(TextBlock(width) for _ in range(BLOCKS))}
        )
        self.ln_final = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token_embedding(tokens) + self.positional_embedding
        mask = torch.full((LENGTH, LENGTH), float("-inf"), dtype=x.dtype, device=x.device).triu(1)
        for block in cast(nn.ModuleList, self.transformer["resblocks"]):
            x = block(x, mask)
        return self.ln_final(x)
