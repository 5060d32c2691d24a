"""Low-resolution pictures of any size enlarged by posterior sampling: DPS on ADM priors, EDM-DPS on EDM priors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..samplers.noise import Noise
from ..samplers.run import Step
from ..samplers.tiled import Tiled
from .color import grey, rgb_to_ycbcr, ycbcr_to_rgb
from .dps import DPSSettings, dps
from .images import check_pixels
from .operators import ReduceTo
from .priors.adm import ADMPrior
from .priors.edm import EDMPrior
from .resize import MAX_SIDE, resize, scaled_size
from .settings import Settings, option
from .visionrefine.edm_dps import EDMDPSSettings, edm_dps, pixels


@dataclass(frozen=True)
class CanvasSettings(Settings):
    """How a picture that is not of the prior's own size is worked on."""

    tile: int = option(0, "Side of the pieces the prior sees; 0: what it was trained on. Larger pictures are blended from them", low=0, high=MAX_SIDE)
    overlap: int = option(64, "How far neighbouring pieces overlap, in pixels; at most half of a piece", low=0, high=MAX_SIDE)
    tile_batch: int = option(1, "Pieces in one network call; more is faster and needs more memory", low=1, high=4096)

    def tiles(self, prior: ADMPrior | EDMPrior) -> Tiled:
        """The prior on pictures of any size, in tiles whose sides fit it. Raises ValueError when none does."""
        tile = (self.tile or prior.size) // prior.multiple * prior.multiple
        if tile == 0:
            raise ValueError(f"a tile of {self.tile} is smaller than the {prior.multiple} pixels this prior needs: give more")
        return Tiled(prior, tile, min(self.overlap, tile // 2), self.tile_batch)


def posterior_upscale(
    prior: ADMPrior | EDMPrior,
    low: Tensor,
    scale: float,
    settings: DPSSettings | EDMDPSSettings,
    canvas: CanvasSettings = CanvasSettings(),
    seeds: Sequence[int] | None = None,
    on_step: Callable[[Step, Tensor], None] | None = None,
) -> Tensor:
    """Enlarge B C h w in 0..1 (C is 1 or 3) by `scale` so that its antialiased bicubic reduction is the input again.

    A one-channel prior restores luma and enlarges chroma bicubically; grey pictures go through a colour prior as equal channels.
    settings choose the method: DPS for ADM priors, EDM-DPS for EDM ones. seeds: one an image, 0 for all by default.
    """
    check_pixels(low)
    steps_of(prior, settings)
    if scale < 1:
        raise ValueError(f"a scale of {scale:g} would shrink the image: give 1 or more, or resize instead")
    size = tuple(scaled_size(n, scale) for n in low.shape[-2:])
    noise = Noise([0] * len(low) if seeds is None else seeds)
    y, back = planes(prior.channels, low, size)
    sides = tuple(-(-n // prior.multiple) * prior.multiple for n in size)  # a rim beyond the picture is left to the prior
    operator = ReduceTo(tuple(low.shape[-2:]), size)
    tiles = canvas.tiles(prior)
    if isinstance(prior, EDMPrior):
        result = pixels(edm_dps(prior, y * 255, operator, sides, settings, noise, on_step=on_step, denoiser=tiles)) / 255
    else:
        result = (dps(prior, y * 2 - 1, operator, sides, settings, noise, on_step=on_step, denoiser=tiles) + 1) / 2
    return back(result[..., : size[0], : size[1]].float().clamp(0, 1))


def steps_of(prior: ADMPrior | EDMPrior, settings: DPSSettings | EDMDPSSettings) -> int:
    """How many steps a run takes. Raises ValueError when the settings are those of the other kind of prior."""
    if not isinstance(settings, EDMDPSSettings if isinstance(prior, EDMPrior) else DPSSettings):
        raise ValueError(f"{type(settings).__name__} do not fit an {type(prior).__name__}: use EDM-DPS for EDM priors and DPS for ADM ones")
    return settings.steps if isinstance(settings, EDMDPSSettings) else len(prior.schedule.respace(settings.respacing).table)


def planes(channels: int, low: Tensor, size: tuple[int, int]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """What a prior of so many channels restores of a picture B C h w in 0..1, and how the picture of `size` comes back from that.

    Luma comes with bicubically enlarged chroma, grey as equal channels. Raises ValueError unless channels is 1 or 3.
    """
    if channels not in (1, 3):
        raise ValueError(f"the prior works on {channels} channels; only luma and RGB priors can enlarge pictures")
    if channels == low.shape[1]:
        return low, lambda x: x
    if channels == 3:
        return low.expand(-1, 3, -1, -1), lambda x: x.mean(1, keepdim=True)
    chroma = rgb_to_ycbcr(resize(low, size) * 255)

    def recolour(restored: Tensor) -> Tensor:
        return (ycbcr_to_rgb(torch.cat([16 + restored * 219, chroma[:, 1:]], 1)) / 255).clamp(0, 1)

    return grey(low), recolour
