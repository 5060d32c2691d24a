"""DDNM: of every predicted picture only what the measurement cannot see is kept (Wang et al., ICLR 2023)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...samplers.denoiser import Denoiser
from ...samplers.hooks import ClipX0
from ...samplers.run import Draw, Predict, Step
from ...samplers.schedule import Level
from ...samplers.travel import travel
from ..imaging.svd import SeparableSVD, reduction_svd
from ..priors.measured import OPERATORS, Measured, measured_method
from ..priors.prior import Prior
from ..settings import Settings, option


@dataclass(frozen=True)
class DDNMSettings(Settings):
    """What reduced the picture, and how it is restored; steps and eta are the paper's."""

    operator: str = option(
        "bicubic", "What made the picture small: cubic reduction, or means", choices=OPERATORS
    )
    noise: float = option(0.0, "Standard deviation of its noise, in levels of 255 (DDNM+)", low=0, high=255)
    respacing: str = option("100", "Which of the trained steps are taken: all, or 250, 10,10, ddim20")
    eta: float = option(0.85, "Randomness of the steps", low=0, high=1)
    length: int = option(1, "Steps that time travel goes back", low=1, high=1000)
    repeats: int = option(
        1, "How often each stretch of them is walked; 1 is without time travel", low=1, high=100
    )


@dataclass(frozen=True)
class NullSpace:
    """A transition that replaces what is measured of every prediction (Eq. 13), the noise of the measurement
    being part of the step's (Eq. 17 to 19, along each singular vector).
    """

    svd: SeparableSVD
    y: Tensor
    noise: float = 0.0
    eta: float = 0.85

    def begin(self, levels: Sequence[Level]) -> Callable[[Predict, Tensor, int, Draw], Step]:
        svd, keep, told = self.svd, math.sqrt(1 - self.eta**2), self.svd.measured(self.y)
        seen, doubt = svd.values > 0, svd.doubt(self.noise)

        def advance(predict: Predict, x: Tensor, i: int, draw: Draw) -> Step:
            cur, nxt = levels[i], levels[i + 1]
            pred = predict(x, cur)
            room, brought = self.eta * nxt.sigma, nxt.alpha * doubt
            # Sigma_t: 1 where the step is more random than the measurement, else as much of it as fits
            trust = torch.where(brought > room, room / brought.clamp_min(1e-12), 1.0)
            x0 = svd.spectral(pred.x0)
            x0 = torch.where(seen, x0 + trust * (told - x0), x0)
            mean = nxt.alpha * svd.pixels(x0) + nxt.sigma * keep * pred.eps
            spread = (room**2 - (trust * brought) ** 2).clamp_min(0).sqrt()
            if room == 0:
                return Step(i, x, cur, nxt, pred, mean)
            return Step(
                i, x, cur, nxt, pred, mean, std=1.0, noise=svd.pixels(spread * svd.spectral(draw(x.shape)))
            )

        return advance


def ddnm(
    prior: Prior,
    y: Tensor,
    task: Measured,
    settings: DDNMSettings = DDNMSettings(),
    denoiser: Denoiser | None = None,
) -> Tensor:
    """Restore B C sides in -1..1 from its reduction y, B C h w in -1..1; denoiser runs in the prior's place.

    Raises ValueError.
    """
    svd = reduction_svd(settings.operator, task.size, task.sides, y)
    levels = prior.spaced_levels(settings.respacing)
    start = levels[0].sigma * task.noise((*y.shape[:2], *task.sides)).to(y)
    transition = NullSpace(svd, y, 2 * settings.noise / 255, settings.eta)
    return travel(
        denoiser or prior,
        start,
        levels,
        transition,
        [ClipX0()],
        task.noise,
        task.on_step,
        settings.length,
        settings.repeats,
    )


METHOD = measured_method(
    "ddnm",
    "PriorSRUpscaleDDNM",
    "DDNM Super-Resolution",
    "Enlarge images with any diffusion prior: what the small picture tells is put into every step, noise and "
    "time travel included (Wang et al. 2023).",
    DDNMSettings,
    ddnm,
)
