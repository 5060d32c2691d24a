"""Agreement with a measurement by projection, in place of a gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..denoiser import Prediction, from_x0
from ..run import Hook
from ..schedule import Level


class Reversible(Protocol):
    """A linear operator A and how to lift a difference of measurements: A^+ d, in the shape of x."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def lift(self, d: Tensor, like: Tensor) -> Tensor: ...


@dataclass
class Consistency(Hook):
    """Replace what y = A x tells of every predicted x0 and keep the rest: x0 + strength * A^+ (y - A x0).

    strength 1 agrees exactly, less trusts a noisy y less. Source: Wang et al. 2023 (DDNM), Eq. 13.
    """

    operator: Reversible
    y: Tensor
    strength: float = 1.0

    def predict(self, x: Tensor, level: Level, pred: Prediction) -> Prediction:
        difference = self.operator.lift(self.y.to(pred.x0) - self.operator(pred.x0), pred.x0)
        return from_x0(x, level, pred.x0 + self.strength * difference, pred.frac)
