"""Classifier-free guidance as a denoiser."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Cond, Denoiser, Prediction
from ..schedule import Level


@dataclass(frozen=True)
class CFG:
    """negative + scale * (positive - negative), both computed in one call of twice the batch (Ho and Salimans
    2022).

    A negative condition of one sample serves every sample of a batch.
    """

    denoiser: Denoiser
    negative: Cond
    scale: float = 4.0

    def __call__(self, x: Tensor, level: Level, cond: Cond | None = None) -> Prediction:
        if cond is None:
            raise ValueError("classifier-free guidance needs a positive condition beside the negative one")
        pred = self.denoiser(torch.cat([x, x]), level, Cond.cat([cond, self.negative.expand(len(x))]))
        (x0, x0_negative), (eps, eps_negative) = pred.x0.chunk(2), pred.eps.chunk(2)
        frac = None if pred.frac is None else pred.frac.chunk(2)[0]
        return Prediction(
            torch.lerp(x0_negative, x0, self.scale), torch.lerp(eps_negative, eps, self.scale), frac
        )
