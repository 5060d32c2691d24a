"""Diff-SR on whole pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from ..batches import of_picture
from ..imaging.canvas import TileSettings
from ..inputs import FaceUse, WeightInput
from ..method import Given, Method, Report
from ..priors.load import PRIORS, PriorSettings, frame_of, load_prior, shipped_priors
from ..priors.prior import Prior
from ..priors.upscaler import PriorUpscaler
from .method import DiffSRSettings, FieldSettings, diffsr_upscale


class DiffSRUpscaler(PriorUpscaler):
    """Diff-SR on any prior; reports the noise level of each picture."""

    def __init__(self, prior: Prior, settings: DiffSRSettings, canvas: TileSettings, frame: str = "ffhq"):
        super().__init__(prior, canvas, frame=frame)
        self.settings = settings

    def calls(self, scale: float) -> int:
        return self.settings.steps

    def enlarge(
        self, low: Tensor, scale: float, seeds: Sequence[int], step: Callable, report: Report
    ) -> Tensor:
        def tell(i: int, text: str) -> None:
            report(of_picture(i, text))

        return diffsr_upscale(self.prior, low, scale, self.settings, self.canvas, seeds, step, tell)


def _load(files: Mapping[str, str], given: Given) -> DiffSRUpscaler:
    name = files["prior"]
    prior = given.make(FieldSettings).applied(load_prior(name, given.make(PriorSettings)))
    return DiffSRUpscaler(prior, given.make(DiffSRSettings), given.make(TileSettings), frame_of(name))


METHOD = Method(
    "diffsr",
    "PriorSRUpscaleDiffSR",
    "Diff-SR Super-Resolution",
    "Enlarge images by any factor with one diffusion prior: noise hides what was lost, the prior restores "
    "it (Diff-SR).",
    settings=(DiffSRSettings, PriorSettings, TileSettings, FieldSettings),
    load=_load,
    weights=(WeightInput("prior", "an ADM or EDM prior", "face128", shipped=shipped_priors, kinds=PRIORS),),
    faces=FaceUse(),
)
