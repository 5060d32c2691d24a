"""Posterior sampling on whole pictures: DPS, and EDM-DPS of VisionRefine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from ..imaging.canvas import TileSettings
from ..inputs import FaceUse, WeightInput
from ..method import Given, Method, Report
from ..priors.load import PriorSettings, load_prior
from ..priors.prior import Prior
from ..priors.upscaler import PriorUpscaler
from .edm_dps import EDMDPSSettings
from .posterior import posterior_upscale, steps_of
from .sampling import DPSSettings


class PosteriorUpscaler(PriorUpscaler[Prior]):
    """Posterior sampling: DPS on an ADM prior (Chung et al. 2023), EDM-DPS on an EDM one (VisionRefine)."""

    gradient = True

    def __init__(self, prior: Prior, settings: DPSSettings | EDMDPSSettings, canvas: TileSettings):
        super().__init__(prior, canvas)
        self.settings = settings
        steps_of(prior, settings)

    def calls(self, scale: float) -> int:
        return steps_of(self.prior, self.settings)

    def enlarge(
        self, low: Tensor, scale: float, seeds: Sequence[int], step: Callable, report: Report
    ) -> Tensor:
        def made(which: slice, step: Callable) -> Tensor:
            return posterior_upscale(
                self.prior, low[which], scale, self.settings, self.canvas, seeds[which], step
            )

        if self.settings.joint:  # which couples the pictures of a batch
            return made(slice(None), step)
        return self.one_by_one(scale, step, len(low), made)


def _load_dps(files: Mapping[str, str], given: Given) -> PosteriorUpscaler:
    prior = load_prior(files["prior"], given.make(PriorSettings))
    return PosteriorUpscaler(prior, given.make(DPSSettings), given.make(TileSettings))


DPS_METHOD = Method(
    "dps",
    "PriorSRUpscaleDPS",
    "DPS Super-Resolution",
    "Enlarge images with an ADM diffusion prior, guided so that the result agrees with the input (Chung et "
    "al. 2023).",
    settings=(DPSSettings, PriorSettings, TileSettings),
    load=_load_dps,
    weights=(WeightInput("prior", "an ADM prior", kinds=("adm",)),),
    faces=FaceUse(),
)


def _load_edm_dps(files: Mapping[str, str], given: Given) -> PosteriorUpscaler:
    return PosteriorUpscaler(load_prior(files["prior"]), given.make(EDMDPSSettings), given.make(TileSettings))


EDM_DPS_METHOD = Method(
    "edm-dps",
    "PriorSRUpscaleEDMDPS",
    "EDM-DPS Super-Resolution",
    "Enlarge images with an EDM diffusion prior and its Heun sampler, guided by the input (VisionRefine, "
    "Algorithm 3).",
    settings=(EDMDPSSettings, TileSettings),
    load=_load_edm_dps,
    weights=(WeightInput("prior", "an EDM prior", kinds=("edm",)),),
    faces=FaceUse(),
)
