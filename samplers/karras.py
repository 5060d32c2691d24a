"""Solvers of the probability flow ODE in sigma / alpha: Euler, Heun with churn, DPM-Solver++(2M)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from .denoiser import Prediction
from .run import Draw, Predict, Step
from .schedule import Level

LARGEST_GAMMA = math.sqrt(2) - 1


@dataclass(frozen=True)
class Euler:
    """First order: the direction at the current level all the way (DDIM with eta 0 in other words)."""

    def begin(self, levels: Sequence[Level]):
        def advance(predict: Predict, x: Tensor, i: int, draw: Draw) -> Step:
            cur, nxt = levels[i], levels[i + 1]
            pred = predict(x, cur)
            return Step(i, x, cur, nxt, pred, nxt.alpha * pred.x0 + nxt.sigma * pred.eps)

        return advance


@dataclass(frozen=True)
class Heun:
    """Second order with churn (Karras et al. 2022, Algorithm 2); two network calls a step but the last.

    Churn lifts the level between s_min and s_max by a factor of at most sqrt 2, which needs levels with alpha
    1 and a network whose clock is defined between them: `c_noise` is that of the schedule.
    """

    churn: float = 0.0
    s_min: float = 0.0
    s_max: float = math.inf
    s_noise: float = 1.0
    c_noise: Callable[[float], float] | None = None

    def begin(self, levels: Sequence[Level]):
        clock = self.c_noise
        if self.churn > 0 and (clock is None or any(level.alpha != 1 for level in levels)):
            raise ValueError(
                "churn needs a variance-exploding prior with a continuous clock: set churn to 0 for this one"
            )
        gamma = min(self.churn / (len(levels) - 1), LARGEST_GAMMA)

        def advance(predict: Predict, x: Tensor, i: int, draw: Draw) -> Step:
            cur, nxt = levels[i], levels[i + 1]
            lifted, hat = x, cur
            if self.churn > 0 and clock is not None:
                noise = draw(
                    x.shape
                )  # drawn on every step, so that the range of the churn does not shift later draws
                if self.s_min <= cur.sigma <= self.s_max:
                    sigma = cur.sigma * (1 + gamma)
                    hat = Level(clock(sigma), 1.0, sigma)
                    lifted = x + math.sqrt(sigma**2 - cur.sigma**2) * self.s_noise * noise
            first = predict(lifted, hat)
            mean = _between(lifted, hat, nxt, first.eps, first)
            if nxt.sigma == 0:
                return Step(i, x, cur, nxt, first, mean)
            second = predict(mean, nxt)
            return Step(
                i, x, cur, nxt, second, _between(lifted, hat, nxt, (first.eps + second.eps) / 2, first)
            )

        return advance


def _between(x: Tensor, cur: Level, nxt: Level, eps: Tensor, pred: Prediction) -> Tensor:
    """x moved along eps, the slope of x / alpha in sigma / alpha."""
    return nxt.alpha * (x / cur.alpha + (nxt.sigma / nxt.alpha - cur.sigma / cur.alpha) * eps)


@dataclass(frozen=True)
class DPMpp2M:
    """DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2): second order from the previous step's prediction, one
    call a step.
    """

    def begin(self, levels: Sequence[Level]):
        before: list[Tensor] = []

        def advance(predict: Predict, x: Tensor, i: int, draw: Draw) -> Step:
            cur, nxt = levels[i], levels[i + 1]
            pred = predict(x, cur)
            x0 = pred.x0
            if nxt.sigma > 0:
                h = _half_log_snr(nxt) - _half_log_snr(cur)
                if before:
                    r = (_half_log_snr(cur) - _half_log_snr(levels[i - 1])) / h
                    x0 = x0 + (x0 - before.pop()) / (2 * r)
                mean = nxt.sigma / cur.sigma * x - nxt.alpha * math.expm1(-h) * x0
            else:
                mean = x0
            before.append(pred.x0.detach())
            return Step(i, x, cur, nxt, pred, mean)

        return advance


def _half_log_snr(level: Level) -> float:
    return math.log(level.alpha / level.sigma)
