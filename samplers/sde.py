"""Reverse-time SDE steps for variance-exploding priors: reverse diffusion with Langevin correction, Euler-Maruyama."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .run import Draw, Predict, Step
from .schedule import Level


@dataclass(frozen=True)
class ReverseDiffusion:
    """Predictor-corrector sampling (Song et al. 2021, Algorithm 2): `corrections` Langevin steps at a signal-to-noise ratio first.

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
                score = -predict(state, cur).eps / cur.sigma
                noise = draw(x.shape)
                size = 2 * (self.snr * self._norm(noise) / self._norm(score)) ** 2
                state = state + size * score + (2 * size).sqrt() * noise
            pred = predict(state, cur)
            # nxt.sigma 0 is the table's end, where the whole of sigma_0 is taken off (G_0 = sigma_0)
            added = cur.sigma**2 - nxt.sigma**2
            mean = state - added / cur.sigma * pred.eps
            noise = draw(x.shape) if nxt.sigma > 0 else None
            return Step(i, x, cur, nxt, pred, mean, added, math.sqrt(added), noise)

        return advance

    def _norm(self, x: Tensor) -> Tensor:
        norm = x.flatten(1).norm(dim=1)
        return norm.mean() if self.joint_norm else norm.view(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True)
class EulerMaruyama:
    """Euler-Maruyama on the reverse SDE in log sigma: the diffusion coefficient is taken at the current level."""

    def begin(self, levels: Sequence[Level]):
        _exploding(levels)

        def advance(predict: Predict, x: Tensor, i: int, draw: Draw) -> Step:
            cur, nxt = levels[i], levels[i + 1]
            pred = predict(x, cur)
            if nxt.sigma == 0:
                return Step(i, x, cur, nxt, pred, pred.x0)
            added = 2 * cur.sigma**2 * math.log(cur.sigma / nxt.sigma)  # g(t)^2 dt of sigma_min (sigma_max / sigma_min)^t
            mean = x - added / cur.sigma * pred.eps
            return Step(i, x, cur, nxt, pred, mean, added, math.sqrt(added), draw(x.shape))

        return advance


def _exploding(levels: Sequence[Level]) -> None:
    if any(level.alpha != 1 for level in levels):
        raise ValueError("this transition needs a variance-exploding prior (alpha 1): use ddpm or ddim for this one")
