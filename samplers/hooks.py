"""Hooks that need no measurement and no classifier: keeping x0 in range."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .denoiser import Prediction, from_x0
from .run import Hook
from .schedule import Level


@dataclass
class ClipX0(Hook):
    """Clamp the predicted clean data to low..high and derive the noise anew."""

    low: float = -1.0
    high: float = 1.0

    def predict(self, x: Tensor, level: Level, pred: Prediction) -> Prediction:
        return from_x0(x, level, pred.x0.clamp(self.low, self.high), pred.frac)


@dataclass
class DynamicThreshold(Hook):
    """Clamp to the given percentile of |x0| of each sample, at least 1, and divide by it (Saharia et al.
    2022, section 2.3).
    """

    percentile: float = 0.995

    def predict(self, x: Tensor, level: Level, pred: Prediction) -> Prediction:
        flat = pred.x0.detach().abs().flatten(1).float()
        limit = (
            torch.quantile(flat, self.percentile, dim=1).clamp(min=1.0).view(-1, *[1] * (x.ndim - 1)).to(x)
        )
        return from_x0(x, level, pred.x0.clamp(-limit, limit) / limit, pred.frac)
