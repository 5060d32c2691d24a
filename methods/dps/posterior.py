"""Low-resolution pictures of any size enlarged by posterior sampling:

DPS on ADM priors, EDM-DPS on EDM priors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from torch import Tensor

from ...samplers.run import Step
from ..imaging.canvas import TileSettings, enlarge, noise_for
from ..imaging.operators import ReduceTo
from ..imaging.resize import size_of
from ..priors.adm import ADMPrior
from ..priors.edm import EDMPrior
from ..priors.prior import Prior
from .edm_dps import EDMDPSSettings, edm_dps, pixels
from .sampling import DPSSettings, dps


def posterior_upscale(
    prior: Prior,
    low: Tensor,
    scale: float,
    settings: DPSSettings | EDMDPSSettings,
    canvas: TileSettings = TileSettings(),
    seeds: Sequence[int] | None = None,
    on_step: Callable[[Step, Tensor], None] | None = None,
) -> Tensor:
    """Enlarge B C h w in 0..1 (C is 1 or 3) by `scale` so that its antialiased bicubic reduction is the input
    again.

    A one-channel prior restores luma and enlarges chroma bicubically; grey pictures go through a colour prior
    as equal channels. settings choose the method: DPS for ADM priors, EDM-DPS for EDM ones. seeds: one an
    image, 0 for all by default.
    """
    steps_of(prior, settings)
    noise = noise_for(low, seeds)
    tiles = canvas.tiles(prior)

    def restore(shown: Tensor, size: tuple[int, int], sides: tuple[int, int]) -> Tensor:
        operator = ReduceTo(size_of(low), size)  # a rim beyond the picture is left to the prior
        if isinstance(settings, EDMDPSSettings):
            result = edm_dps(
                cast(EDMPrior, prior),  # as steps_of has seen
                shown * 255,
                operator,
                sides,
                settings,
                noise,
                on_step=on_step,
                denoiser=tiles,
            )
            return pixels(result) / 255
        adm = cast(ADMPrior, prior)
        result = dps(adm, shown * 2 - 1, operator, sides, settings, noise, on_step=on_step, denoiser=tiles)
        return (result + 1) / 2

    return enlarge(low, scale, prior.channels, prior.multiple, restore)


def steps_of(prior: Prior, settings: DPSSettings | EDMDPSSettings) -> int:
    """How many steps a run takes. Raises ValueError when the settings are those of the other kind of
    prior.
    """
    if not isinstance(settings, EDMDPSSettings if isinstance(prior, EDMPrior) else DPSSettings):
        raise ValueError(
            f"{type(settings).__name__} do not fit an {type(prior).__name__}: use EDM-DPS for EDM priors "
            "and DPS for ADM ones"
        )
    if isinstance(settings, EDMDPSSettings):
        return settings.steps
    return len(cast(ADMPrior, prior).schedule.respace(settings.respacing).table)
