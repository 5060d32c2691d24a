"""Pictures of any size on priors of one size: tiles, and what of a picture a prior sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...samplers.tiled import Tiled
from ..settings import Settings, option
from .color import grey, rgb_to_ycbcr, ycbcr_to_rgb
from .resize import MAX_SIDE, resize


@dataclass(frozen=True)
class CanvasSettings(Settings):
    """How a picture that is not of the prior's own size is worked on."""

    tile: int = option(
        0,
        "Side of the pieces the prior sees; 0: what it was trained on. Larger pictures are blended from them",
        low=0,
        high=MAX_SIDE,
    )
    overlap: int = option(
        64, "How far neighbouring pieces overlap, in pixels; at most half of a piece", low=0, high=MAX_SIDE
    )
    tile_batch: int = option(
        1, "Pieces in one network call; more is faster and needs more memory", low=1, high=4096
    )

    def tiles(self, prior: ADMPrior | EDMPrior) -> Tiled:
        """The prior on pictures of any size, in tiles whose sides fit it. Raises ValueError when none does."""
        tile = (self.tile or prior.size) // prior.multiple * prior.multiple
        if tile == 0:
            raise ValueError(
                f"a tile of {self.tile} is smaller than the {prior.multiple} pixels this prior needs: give more"
            )
        return Tiled(prior, tile, min(self.overlap, tile // 2), self.tile_batch)


def planes(channels: int, low: Tensor, size: tuple[int, int]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """What a prior of so many channels restores of a picture B C h w in 0..1, and how the picture of `size` comes back from that.

    Luma comes with bicubically enlarged chroma, grey as equal channels. Raises ValueError unless channels is 1 or 3.
    """
    if channels not in (1, 3):
        raise ValueError(
            f"the prior works on {channels} channels; only luma and RGB priors can enlarge pictures"
        )
    if channels == low.shape[1]:
        return low, lambda x: x
    if channels == 3:
        return low.expand(-1, 3, -1, -1), lambda x: x.mean(1, keepdim=True)
    chroma = rgb_to_ycbcr(resize(low, size) * 255)

    def recolour(restored: Tensor) -> Tensor:
        return (ycbcr_to_rgb(torch.cat([16 + restored * 219, chroma[:, 1:]], 1)) / 255).clamp(0, 1)

    return grey(low), recolour
