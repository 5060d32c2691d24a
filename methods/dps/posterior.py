"""Low-resolution pictures of any size enlarged by posterior sampling: DPS on ADM priors, EDM-DPS on EDM priors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ...samplers.noise import Noise
from ...samplers.run import Step
from ..imaging.canvas import CanvasSettings, planes
from ..imaging.images import check_pixels
from ..imaging.operators import ReduceTo
from ..imaging.resize import scaled_size
from ..priors.adm import ADMPrior
from ..priors.edm import EDMPrior
from ..visionrefine.edm_dps import EDMDPSSettings, edm_dps, pixels
from .sampling import DPSSettings, dps


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
    sides = tuple(
        -(-n // prior.multiple) * prior.multiple for n in size
    )  # a rim beyond the picture is left to the prior
    operator = ReduceTo(tuple(low.shape[-2:]), size)
    tiles = canvas.tiles(prior)
    if isinstance(prior, EDMPrior):
        result = (
            pixels(edm_dps(prior, y * 255, operator, sides, settings, noise, on_step=on_step, denoiser=tiles))
            / 255
        )
    else:
        result = (
            dps(prior, y * 2 - 1, operator, sides, settings, noise, on_step=on_step, denoiser=tiles) + 1
        ) / 2
    return back(result[..., : size[0], : size[1]].float().clamp(0, 1))


def steps_of(prior: ADMPrior | EDMPrior, settings: DPSSettings | EDMDPSSettings) -> int:
    """How many steps a run takes. Raises ValueError when the settings are those of the other kind of prior."""
    if not isinstance(settings, EDMDPSSettings if isinstance(prior, EDMPrior) else DPSSettings):
        raise ValueError(
            f"{type(settings).__name__} do not fit an {type(prior).__name__}: use EDM-DPS for EDM priors and DPS for ADM ones"
        )
    return (
        settings.steps
        if isinstance(settings, EDMDPSSettings)
        else len(prior.schedule.respace(settings.respacing).table)
    )
