"""Ancestral, implicit and renoising steps on any alpha, sigma."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .run import Draw, Predict, Step
from .schedule import Level


@dataclass(frozen=True)
class Posterior:
    """q(x_s | x_t, x0) = N(on_x * x + on_x0 * x0, variance) for s below t; `beta` is the variance that t adds
    to s.
    """

    on_x: float
    on_x0: float
    variance: float
    beta: float

    @staticmethod
    def between(cur: Level, nxt: Level) -> Posterior:
        """Ho et al. 2020, Eq. 6-7, in the terms of any alpha and sigma."""
        ratio = cur.alpha / nxt.alpha
        beta = cur.sigma**2 - (ratio * nxt.sigma) ** 2
        share = nxt.sigma**2 / cur.sigma**2
        return Posterior(ratio * share, nxt.alpha * beta / cur.sigma**2, beta * share, beta)


@dataclass(frozen=True)
class DDPM:
    """Ancestral sampling (Ho et al. 2020, Algorithm 2).

    variance: `learned` where the network has one (Nichol and Dhariwal 2021, Eq. 15), else `small` (beta~) or
    `large` (beta).
    """

    variance: str = "learned"

    def __post_init__(self):
        if self.variance not in ("learned", "small", "large"):
            raise ValueError(f"variance {self.variance!r} is not one of learned, small, large")

    def begin(self, levels: Sequence[Level]):
        posteriors = [Posterior.between(a, b) for a, b in pairwise(levels)]

        def advance(predict: Predict, x: Tensor, i: int, draw: Draw) -> Step:
            cur, nxt, q = levels[i], levels[i + 1], posteriors[i]
            pred = predict(x, cur)
            # the last step's posterior has no variance; where a logarithm is taken, the published tables put
            # the one before there
            small = q.variance if q.variance > 0 else posteriors[i - 1].variance if i else q.beta
            if self.variance == "learned" and pred.frac is not None:
                variance = torch.exp(pred.frac * math.log(q.beta / small) + math.log(small))
            elif self.variance == "large":
                variance = q.beta if q.variance > 0 else small
            else:
                variance = q.variance
            mean = q.on_x0 * pred.x0 + q.on_x * x
            if nxt.sigma == 0:
                return Step(i, x, cur, nxt, pred, mean, variance)
            std = variance.sqrt() if isinstance(variance, Tensor) else math.sqrt(variance)
            return Step(i, x, cur, nxt, pred, mean, variance, std, draw(x.shape))

        return advance


@dataclass(frozen=True)
class DDIM:
    """Implicit sampling (Song et al. 2021, Eq. 12); eta 0 is deterministic, 1 as random as DDPM with the
    small variance.
    """

    eta: float = 0.0

    def __post_init__(self):
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta {self.eta} is outside 0 .. 1")

    def begin(self, levels: Sequence[Level]):
        def advance(predict: Predict, x: Tensor, i: int, draw: Draw) -> Step:
            cur, nxt = levels[i], levels[i + 1]
            pred = predict(x, cur)
            std = self.eta * math.sqrt(Posterior.between(cur, nxt).variance)
            mean = nxt.alpha * pred.x0 + math.sqrt(nxt.sigma**2 - std**2) * pred.eps
            return Step(i, x, cur, nxt, pred, mean, std**2, std, draw(x.shape) if std > 0 else None)

        return advance


@dataclass(frozen=True)
class Renoise:
    """The predicted clean picture, noised anew: alpha' x0 + sigma' (sqrt(1 - eta^2) eps + eta z), as DDRM and
    DDNM step (Wang et al. 2023).

    For restoration: what a measurement does not hold moves towards the prior's mean, the more, the larger eta
    and the more steps. eta 0 is DDIM; 1 is the multistep sampling of consistency models (Song et al. 2023,
    Algorithm 1).
    """

    eta: float = 1.0

    def __post_init__(self):
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta {self.eta} is outside 0 .. 1")

    def begin(self, levels: Sequence[Level]):
        def advance(predict: Predict, x: Tensor, i: int, draw: Draw) -> Step:
            cur, nxt = levels[i], levels[i + 1]
            pred, std = predict(x, cur), self.eta * nxt.sigma
            mean = nxt.alpha * pred.x0 + nxt.sigma * math.sqrt(1 - self.eta**2) * pred.eps
            return Step(i, x, cur, nxt, pred, mean, std**2, std, draw(x.shape) if std > 0 else None)

        return advance
