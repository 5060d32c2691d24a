"""DDRM on whole pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from ..imaging.canvas import TileSettings, enlarge, noise_for
from ..method import FaceUse, Given, Method, Report, WeightInput
from ..priors.load import PriorSettings, frame_of, load_prior, shipped_priors
from ..priors.prior import Prior
from ..priors.upscaler import PriorUpscaler
from .ddrm import DDRMSettings, ddrm


class DDRMUpscaler(PriorUpscaler):
    """DDRM on any prior (Kawar et al. 2022)."""

    def __init__(self, prior: Prior, settings: DDRMSettings, canvas: TileSettings, frame: str = "ffhq"):
        super().__init__(prior, canvas, frame=frame)
        self.settings = settings

    def calls(self, scale: float) -> int:
        return len(self.prior.spaced_levels(self.settings.respacing)) - 1

    def enlarge(
        self, low: Tensor, scale: float, seeds: Sequence[int], step: Callable, report: Report
    ) -> Tensor:
        noise = noise_for(low, seeds)
        tiles = self.canvas.tiles(self.prior)

        def restore(shown: Tensor, size: tuple[int, int], sides: tuple[int, int]) -> Tensor:
            y = shown * 2 - 1
            restored = ddrm(self.prior, y, size, sides, noise, self.settings, (), step, tiles)
            return (restored + 1) / 2

        return enlarge(low, scale, self.prior.channels, self.prior.multiple, restore)


def _load(files: Mapping[str, str], given: Given) -> DDRMUpscaler:
    prior = load_prior(files["prior"], given.make(PriorSettings))
    return DDRMUpscaler(prior, given.make(DDRMSettings), given.make(TileSettings), frame_of(files["prior"]))


METHOD = Method(
    "ddrm",
    "PriorSRUpscaleDDRM",
    "DDRM Super-Resolution",
    "Enlarge images in few steps: what the small picture tells is held, a diffusion prior tells the rest "
    "(Kawar et al. 2022).",
    settings=(DDRMSettings, PriorSettings, TileSettings),
    load=_load,
    weights=(WeightInput("prior", "an ADM or EDM prior", "face64", shipped=shipped_priors),),
    faces=FaceUse(),
)
