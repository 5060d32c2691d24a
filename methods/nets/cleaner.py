"""A compact network that removes noise, compression and blur of unknown strength, at one or two times the
size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from .adm_blocks import zeroed

SCALES = (1, 2)
BLOCK = 2  # pixels squared that the network sees as channels
MULTIPLE = 2 * BLOCK  # of which sides are multiples inside


@dataclass(frozen=True)
class CleanerConfig:
    """Sizes of the network."""

    width: int = 48  # channels at half of the size; twice as many at a quarter
    blocks: int = 2  # residual blocks at half of the size, on each way
    deep: int = 4  # at a quarter

    @property
    def reach(self) -> int:
        """How far, in pixels, a result depends on the picture, rounded up to MULTIPLE."""
        at_half, at_quarter = 4 * self.blocks + 2, 2 * self.deep
        pixels = BLOCK * at_half + MULTIPLE * at_quarter + MULTIPLE
        return -(-pixels // MULTIPLE) * MULTIPLE


class Residual(nn.Module):
    """x + two convolutions of it."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.normal_(self.second.weight, std=0.01)
        nn.init.zeros_(cast(Tensor, self.second.bias))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


class Cleaner(nn.Module):
    """What to add to a picture, or to its bicubic enlargement, B 3 h w in 0..1 to B 3 sh sw for s in SCALES.

    A new network answers 0. Sides of any length are taken: what lacks to a multiple is repeated from the rim.
    """

    def __init__(self, config: CleanerConfig = CleanerConfig()):
        super().__init__()
        self.config = config
        width = config.width
        self.stem = nn.Conv2d(3 * BLOCK**2, width, 3, padding=1)
        self.down = nn.Sequential(*(Residual(width) for _ in range(config.blocks)))
        self.reduce = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.middle = nn.Sequential(*(Residual(2 * width) for _ in range(config.deep)))
        self.enlarge = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.up = nn.Sequential(*(Residual(width) for _ in range(config.blocks)))
        self.tails = nn.ModuleDict(
            {f"x{s}": nn.Conv2d(width, 3 * (BLOCK * s) ** 2, 3, padding=1) for s in SCALES}
        )
        for tail in self.tails.values():
            zeroed(tail)

    def forward(self, x: Tensor, scale: int) -> Tensor:
        height, width = x.shape[-2:]
        lacks = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        if any(lacks):
            x = F.pad(x, lacks, mode="replicate")
        seen = F.pixel_unshuffle(x - 0.5, BLOCK).to(self.stem.weight.dtype)
        fine = self.down(self.stem(seen))
        coarse = self.middle(self.reduce(fine))
        answer = self.tails[f"x{scale}"](self.up(fine + self.enlarge(coarse)))
        # sums of pictures and changes are too fine for half precision
        return F.pixel_shuffle(answer, BLOCK * scale)[..., : height * scale, : width * scale].to(x.dtype)
