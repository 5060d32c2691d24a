"""CodeFormer's first stage: an autoencoder whose latent is made of the rows of a codebook (VQGAN, Esser et
al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .adm_blocks import GroupNorm32, Upsample
from .autoencoder_blocks import EPS, AttnBlock, HalfSize, ResnetBlock


@dataclass(frozen=True)
class VQGANConfig:
    """Sizes of the autoencoder; the defaults are those of the released networks."""

    image_size: int = 512
    width: int = 64
    multipliers: tuple[int, ...] = (1, 2, 2, 4, 4, 8)  # of the width, largest map first
    res_blocks: int = 2  # a level
    attention: tuple[int, ...] = (16,)  # sides of the maps that have it
    codes: int = 1024
    code_channels: int = 256

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the maps of each level."""
        return tuple(self.image_size >> level for level in range(len(self.multipliers)))

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.width * m for m in self.multipliers)


class Quantised(NamedTuple):
    """The nearest codes: maps B C H W (gradients pass straight to the input), indices (B, H, W), the loss of
    stage I, and how many codes are in use (the exponential of the entropy).
    """

    maps: Tensor
    indices: Tensor
    loss: Tensor
    perplexity: Tensor


class Blocks(nn.Module):
    """Blocks run in order. `taps` tells after which of them the map of a side is read or changed."""

    def __init__(self, blocks: list[nn.Module], taps: dict[int, int]):
        super().__init__()
        self.blocks, self.taps = nn.ModuleList(blocks), taps

    def forward(
        self, x: Tensor, sides: Sequence[int] = (), visit: Callable[[int, Tensor], Tensor] | None = None
    ) -> Tensor:
        """visit(side, map) at the tap of each of `sides`; it answers the map to go on with."""
        places = {self.taps[side]: side for side in sides}
        for index, block in enumerate(self.blocks):
            x = block(x)
            if visit is not None and index in places:
                x = visit(places[index], x)
        return x


def residual(channels: int, out: int) -> ResnetBlock:
    return ResnetBlock(channels, out, skip="conv_out")


def middle(channels: int) -> list[nn.Module]:
    """The blocks at the smallest size."""
    return [residual(channels, channels), AttnBlock(channels), residual(channels, channels)]


def encoder(config: VQGANConfig) -> Blocks:
    """B 3 S S to B code_channels s s; a level's tap is its last residual block."""
    blocks: list[nn.Module] = [nn.Conv2d(3, config.width, 3, padding=1)]
    taps, channels = {}, config.width
    for level, (side, out) in enumerate(zip(config.sides, config.widths, strict=True)):
        for _ in range(config.res_blocks):
            taps[side] = len(blocks)
            blocks.append(residual(channels, out))
            channels = out
            if side in config.attention:
                blocks.append(AttnBlock(channels))
        if level < len(config.sides) - 1:
            blocks.append(HalfSize(channels))
    blocks += middle(channels)
    return Blocks(
        [*blocks, GroupNorm32(channels, EPS), nn.Conv2d(channels, config.code_channels, 3, padding=1)], taps
    )


def generator(config: VQGANConfig) -> Blocks:
    """B code_channels s s to B 3 S S; a level's tap is its first residual block, of the smallest level its
    last.
    """
    channels = config.widths[-1]
    blocks: list[nn.Module] = [nn.Conv2d(config.code_channels, channels, 3, padding=1)]
    blocks += middle(channels)
    taps, smallest = {}, config.sides[-1]
    for side, out in zip(reversed(config.sides), reversed(config.widths), strict=True):
        for block in range(config.res_blocks):
            if block == 0 or side == smallest:
                taps[side] = len(blocks)
            blocks.append(residual(channels, out))
            channels = out
            if side in config.attention:
                blocks.append(AttnBlock(channels))
        if side != config.image_size:
            blocks.append(Upsample(channels, conv=True))
    return Blocks([*blocks, GroupNorm32(channels, EPS), nn.Conv2d(channels, 3, 3, padding=1)], taps)


class Codebook(nn.Module):
    """`codes` vectors; maps B C H W are replaced position by position. beta weighs the commitment of the
    encoder.
    """

    def __init__(self, codes: int, channels: int, beta: float = 0.25):
        super().__init__()
        self.embedding = nn.Embedding(codes, channels)
        self.beta = beta
        nn.init.uniform_(self.embedding.weight, -1 / codes, 1 / codes)

    def distances(self, z: Tensor) -> Tensor:
        """Squared distances of each position of z B C H W, row by row, to each code: (B H W, codes),
        float32.
        """
        rows, table = rearrange(z.float(), "b c h w -> (b h w) c"), self.embedding.weight.float()
        return rows.square().sum(1, keepdim=True) + table.square().sum(1) - 2 * rows @ table.T

    def lookup(self, indices: Tensor) -> Tensor:
        """Maps B C H W of indices (B, H, W)."""
        return rearrange(self.embedding(indices), "b h w c -> b c h w")

    def forward(self, z: Tensor) -> Quantised:
        indices = self.distances(z).argmin(1).reshape(len(z), *z.shape[2:])
        found = self.lookup(indices).to(z.dtype)
        loss = F.mse_loss(found, z.detach()) + self.beta * F.mse_loss(z, found.detach())
        share = (
            torch.bincount(indices.flatten(), minlength=self.embedding.num_embeddings).float()
            / indices.numel()
        )
        perplexity = torch.exp(-(share * (share + 1e-10).log()).sum())
        return Quantised(z + (found - z).detach(), indices, loss, perplexity)


class VQGAN(nn.Module):
    """Pictures B 3 S S in -1..1 through the codebook and back.

    State-dict keys equal the released stage I checkpoint's.
    """

    def __init__(self, config: VQGANConfig = VQGANConfig()):
        super().__init__()
        self.config = config
        self.encoder, self.quantize, self.generator = (
            encoder(config),
            Codebook(config.codes, config.code_channels),
            generator(config),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Quantised]:
        """The reconstruction and the quantised latent."""
        quantised = self.quantize(self.encoder(x))
        return self.generator(quantised.maps), quantised
