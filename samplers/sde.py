"""Reverse-time SDE steps for variance-exploding priors: reverse diffusion with Langevin correction,
Euler-Maruyama.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .run import Draw, Predict, Step
from .schedule import Level


@dataclass(frozen=True)
class ReverseDiffusion:
    """Predictor-corrector sampling (Song et al. 2021, Algorithm 2):

    `corrections` Langevin steps at a signal-to-noise ratio first.

    joint_norm takes the step size from the whole batch, as published; else each sample has its own.
    """

    corrections: int = 0
    snr: float = 0.16
    joint_norm: bool = False

    def begin(self, levels: Sequence[Level]):
        _exploding(levels)

        def advance(predict: Predict, x: Tensor, i: int, draw: Draw) -> Step:
            cur, nxt = levels[i], levels[i + 1]
            state = x
            for _ in range(self.corrections):
                eps, noise = predict(state, cur).eps, draw(x.shape)
                mean, std = self.correct(state, cur, eps, noise)
                state = mean + std * noise
            pred = predict(state, cur)
            added = taken(cur, nxt)
            mean = state - added / cur.sigma * pred.eps
            noise = draw(x.shape) if nxt.sigma > 0 else None
            return Step(i, x, cur, nxt, pred, mean, added, math.sqrt(added), noise)

        return advance

    def correct(self, x: Tensor, level: Level, eps: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of a Langevin step (Algorithm 4), whose size follows from the noise
        that it will add.
        """
        score = -eps / level.sigma
        size = 2 * (self.snr * self._norm(noise) / self._norm(score)) ** 2
        return x + size * score, (2 * size).sqrt()

    def _norm(self, x: Tensor) -> Tensor:
        norm = x.flatten(1).norm(dim=1)
        return norm.mean() if self.joint_norm else norm.view(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True)
class EulerMaruyama:
    """Euler-Maruyama on the reverse SDE in log sigma: the diffusion coefficient is taken at the current
    level.

    stride: one width in ln sigma for every step, the last one included, as published (ln(largest / smallest)
    / N); None takes the distance of the levels and ends at the predicted x0.
    """

    stride: float | None = None

    def begin(self, levels: Sequence[Level]):
        _exploding(levels)

        def advance(predict: Predict, x: Tensor, i: int, draw: Draw) -> Step:
            cur, nxt = levels[i], levels[i + 1]
            pred = predict(x, cur)
            if nxt.sigma == 0 and self.stride is None:
                return Step(i, x, cur, nxt, pred, pred.x0)
            stride = math.log(cur.sigma / nxt.sigma) if self.stride is None else self.stride
            added = 2 * cur.sigma**2 * stride  # g(t)^2 dt of sigma_min (sigma_max / sigma_min)^t
            mean = x - added / cur.sigma * pred.eps
            return Step(
                i, x, cur, nxt, pred, mean, added, math.sqrt(added), draw(x.shape) if nxt.sigma > 0 else None
            )

        return advance


def taken(cur: Level, nxt: Level) -> float:
    """The variance that a step takes off, G^2; at the table's end the whole of sigma_0^2."""
    return cur.sigma**2 - nxt.sigma**2


def _exploding(levels: Sequence[Level]) -> None:
    if any(level.alpha != 1 for level in levels):
        raise ValueError(
            "this transition needs a variance-exploding prior (alpha 1): use ddpm or ddim for this one"
        )
