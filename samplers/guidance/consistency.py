"""Agreement with a measurement by projection, in place of a gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Prediction, from_x0
from ..run import Hook
from ..schedule import Level


@dataclass
class Consistency(Hook):
    """Replace what y = A x tells of every predicted x0 and keep the rest: x0 + strength * A^+ (y - A x0).

    inverse is A's pseudo-inverse. strength 1 agrees exactly, less trusts a noisy y less. Source: Wang et al. 2023 (DDNM), Eq. 13.
    """

    operator: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    y: Tensor
    strength: float = 1.0

    def predict(self, x: Tensor, level: Level, pred: Prediction) -> Prediction:
        missing = self.inverse(self.y.to(pred.x0) - self.operator(pred.x0))
        return from_x0(x, level, pred.x0 + self.strength * missing, pred.frac)
