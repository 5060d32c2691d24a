"""DDRM: a picture sampled in the singular basis of the measurement (Kawar et al., NeurIPS 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...samplers.denoiser import Denoiser
from ...samplers.hooks import ClipX0
from ...samplers.run import Draw, Predict, Step, run
from ...samplers.schedule import Level
from ..imaging.svd import SeparableSVD, reduction_svd
from ..priors.measured import OPERATORS, Measured, measured_method
from ..priors.prior import Prior
from ..settings import Settings, option


@dataclass(frozen=True)
class DDRMSettings(Settings):
    """What reduced the picture, and how randomly it is restored; the defaults are the paper's."""

    operator: str = option(
        "bicubic", "What made the picture small: cubic reduction, or means", choices=OPERATORS
    )
    noise: float = option(0.0, "Standard deviation of its noise, in levels of 255", low=0, high=255)
    respacing: str = option("20", "Which of the trained steps are taken: all, or 250, 10,10, ddim20")
    eta: float = option(0.85, "Randomness of what the picture does not tell", low=0, high=1)
    eta_b: float = option(1.0, "How far each step goes to what the picture tells", low=0, high=1)


@dataclass(frozen=True)
class Restoration:
    """A transition that holds what is measured, known to the standard deviation `noise`, and lets the prior
    tell the rest (Eq. 7 and 8).
    """

    svd: SeparableSVD
    y: Tensor
    noise: float = 0.0
    eta: float = 0.85
    eta_b: float = 1.0

    def start(self, level: Level, draw: Tensor) -> Tensor:
        """The state at the first level, of standard normal numbers B C H W (Eq. 7, first line)."""
        spread = ((level.sigma / level.alpha) ** 2 - self.svd.doubt(self.noise) ** 2).clamp_min(0).sqrt()
        return level.alpha * self.svd.pixels(self.svd.measured(self.y) + spread * draw)

    def begin(self, levels: Sequence[Level]) -> Callable[[Predict, Tensor, int, Draw], Step]:
        keep, told = math.sqrt(1 - self.eta**2), self.svd.measured(self.y)
        seen, doubt = self.svd.values > 0, self.svd.doubt(self.noise)

        def advance(predict: Predict, x: Tensor, i: int, draw: Draw) -> Step:
            cur, nxt = levels[i], levels[i + 1]
            pred = predict(x, cur)
            sigma = nxt.sigma / nxt.alpha
            sure = seen & (sigma >= doubt)
            x0 = self.svd.spectral(pred.x0)
            unseen = (self.svd.spectral(x) / cur.alpha - x0) * (cur.alpha / cur.sigma)
            doubtful = (told - x0) / doubt.clamp_min(1e-12)
            guess = x0 + keep * sigma * torch.where(seen, doubtful, unseen)
            mean = torch.where(sure, (1 - self.eta_b) * x0 + self.eta_b * told, guess)
            spread = (sigma**2 - (self.eta_b * doubt) ** 2).clamp_min(0).sqrt()
            std = torch.where(sure, spread, self.eta * sigma)
            noise = nxt.alpha * self.svd.pixels(std * draw(x.shape))
            return Step(i, x, cur, nxt, pred, nxt.alpha * self.svd.pixels(mean), std=1.0, noise=noise)

        return advance


def ddrm(
    prior: Prior,
    y: Tensor,
    task: Measured,
    settings: DDRMSettings = DDRMSettings(),
    denoiser: Denoiser | None = None,
) -> Tensor:
    """Restore B C sides in -1..1 from its reduction y, B C h w in -1..1; denoiser runs in the prior's place,
    for example tiles around it. Raises ValueError.
    """
    svd = reduction_svd(settings.operator, task.size, task.sides, y)
    restoration = Restoration(svd, y, 2 * settings.noise / 255, settings.eta, settings.eta_b)
    levels = prior.spaced_levels(settings.respacing)
    start = restoration.start(levels[0], task.noise((*y.shape[:2], *task.sides)).to(y))
    return run(denoiser or prior, start, levels, restoration, [ClipX0()], task.noise, on_step=task.on_step)


METHOD = measured_method(
    "ddrm",
    "PriorSRUpscaleDDRM",
    "DDRM Super-Resolution",
    "Enlarge images in few steps: what the small picture tells is held, a diffusion prior tells the rest "
    "(Kawar et al. 2022).",
    DDRMSettings,
    ddrm,
)
