"""Pictures of any size on priors of one size: tiles, and what of a picture a prior sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ...samplers.denoiser import Denoiser
from ...samplers.noise import Noise
from ...samplers.tiled import Tiled
from ..settings import Settings, option
from .color import grey, rgb_to_ycbcr, ycbcr_to_rgb
from .images import check_pixels
from .resize import MAX_SIDE, enlarged_size, resize, size_of

LEAST_TILE = 32  # pixels that a prior must see to know what it looks at


class SizedDenoiser(Denoiser, Protocol):
    """A denoiser of pictures of some size, whose sides are multiples of something."""

    @property
    def size(self) -> int: ...

    @property
    def multiple(self) -> int: ...


@dataclass(frozen=True)
class TileSettings(Settings):
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

    def smaller(self, prior: SizedDenoiser) -> tuple[TileSettings, str]:
        """Half of the tiles in a call or, of one, tiles half as large; and in words, nothing where there is
        no less.
        """
        if self.tile_batch > 1:
            batch = self.tile_batch // 2
            return replace(self, tile_batch=batch), f"{batch} tiles a call"
        tile = (self.tile or prior.size) // 2 // prior.multiple * prior.multiple
        if tile < max(LEAST_TILE, prior.multiple):
            return self, ""
        return replace(self, tile=tile, overlap=min(self.overlap, tile // 2)), f"tiles of {tile} pixels"

    def tiles(self, prior: SizedDenoiser) -> Tiled:
        """The prior on pictures of any size, in tiles whose sides fit it. Raises ValueError when none
        does.
        """
        tile = (self.tile or prior.size) // prior.multiple * prior.multiple
        if tile == 0:
            raise ValueError(
                f"a tile of {self.tile} is smaller than the {prior.multiple} pixels this prior needs: give "
                "more"
            )
        return Tiled(prior, tile, min(self.overlap, tile // 2), self.tile_batch)


def check_enlargement(low: Tensor, scale: float) -> None:
    """Raises ValueError unless low is B 1 or 3 h w in 0..1 and the scale enlarges it."""
    check_pixels(low)
    if low.shape[1] not in (1, 3):
        raise ValueError(f"a picture of {low.shape[1]} channels cannot be enlarged: give 1 or 3, alpha apart")
    if scale < 1:
        raise ValueError(f"a scale of {scale:g} would shrink the image: give 1 or more, or resize instead")


def noise_for(low: Tensor, seeds: Sequence[int] | None) -> Noise:
    """The noise of a batch: one seed a picture, 0 for all by default.

    Raises ValueError for another number of them.
    """
    seeds = [0] * len(low) if seeds is None else list(seeds)
    if len(seeds) != len(low):
        raise ValueError(f"{len(low)} pictures need {len(low)} seeds, not {len(seeds)}: give one for each")
    return Noise(seeds)


def padded(x: Tensor, sides: tuple[int, int]) -> Tensor:
    """A picture with its last row and column repeated up to `sides`."""
    return F.pad(x, (0, sides[1] - x.shape[-1], 0, sides[0] - x.shape[-2]), mode="replicate")


def enlarge(
    low: Tensor,
    scale: float,
    channels: int,
    multiple: int,
    restore: Callable[[Tensor, tuple[int, int], tuple[int, int]], Tensor],
) -> Tensor:
    """Enlarge B C h w in 0..1 (C is 1 or 3) by what a prior of so many channels restores; the journey of
    every such method.

    restore(shown, size, sides): the small picture as the prior's channels in 0..1, the size of the result,
    and the sides, at least that and multiples of `multiple`, to B channels sides in about 0..1. A one-channel
    prior restores luma and chroma is enlarged bicubically; grey pictures go through a colour prior as equal
    channels. Raises ValueError.
    """
    check_enlargement(low, scale)
    size = enlarged_size(size_of(low), scale)
    shown, back = to_prior_channels(channels, low, size)
    sides = -(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple
    restored = restore(shown, size, sides)[..., : size[0], : size[1]]
    return back(restored.float().clamp(0, 1))


def resized_from(result: Tensor, low: Tensor, scale: float, native: float) -> Tensor:
    """What was enlarged by the scale that a network is trained for, brought to the one that was asked for."""
    if scale == native:
        return result
    return resize(result, enlarged_size(size_of(low), scale)).clamp(0, 1)


def to_prior_channels(
    channels: int, low: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """What a prior of so many channels restores of a picture B C h w in 0..1, and how the picture of `size`
    comes back from that.

    Luma comes with bicubically enlarged chroma, grey as equal channels. Raises ValueError unless channels is
    1 or 3.
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
