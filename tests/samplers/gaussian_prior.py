"""Priors whose answers are known exactly: independent Gaussians, and a mixture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from priorsr.samplers.denoiser import Cond, Prediction, from_x0
from priorsr.samplers.schedule import Level


@dataclass
class GaussianPrior:
    """x0 ~ N(mean, std^2), each pixel by itself; mean and std are C H W."""

    mean: Tensor
    std: Tensor
    calls: int = 0

    def __call__(self, x: Tensor, level: Level, cond: Cond | None = None) -> Prediction:
        self.calls += 1
        gain = level.alpha * self.std**2 / (level.alpha**2 * self.std**2 + level.sigma**2)
        return from_x0(x, level, self.mean + gain * (x - level.alpha * self.mean))

    def flow(self, x: Tensor, level: Level) -> Tensor:
        """Where the probability flow ODE takes x at a level to."""
        return self.mean + self.std / (level.alpha**2 * self.std**2 + level.sigma**2).sqrt() * (
            x - level.alpha * self.mean
        )


@dataclass
class MixturePrior:
    """Two equal peaks at -centre and +centre of one standard deviation, each pixel by itself."""

    centre: float
    std: float

    def __call__(self, x: Tensor, level: Level, cond: Cond | None = None) -> Prediction:
        variance = level.alpha**2 * self.std**2 + level.sigma**2
        side = torch.tanh(level.alpha * self.centre * x / variance)
        gain = level.alpha * self.std**2 / variance
        return from_x0(x, level, side * self.centre * (1 - gain * level.alpha) + gain * x)
