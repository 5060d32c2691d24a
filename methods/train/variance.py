"""The loss of a network that learns the variance of its steps too (Nichol and Dhariwal 2021, section 3.1)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...samplers.noise import Noise
from ...samplers.schedule import DiscreteSchedule

SHARE = 1e-3  # of the variational bound in the hybrid loss, Eq. 16
HALF = 1 / 255  # half of an 8-bit level in -1..1
LEAST = 1e-12  # chance of a level


class Variational:
    """The hybrid loss on one schedule: the error of the noise, and a little of the variational bound, which
    teaches the variance alone.
    """

    def __init__(self, schedule: DiscreteSchedule):
        self.steps = len(schedule.betas)
        tables = {
            "alpha": schedule.alphas_cumprod.sqrt(),
            "sigma": (1 - schedule.alphas_cumprod).sqrt(),
            "on_x0": schedule.posterior_mean_coef1,
            "on_x": schedule.posterior_mean_coef2,
            "small": schedule.posterior_log_variance_clipped,
            "large": schedule.betas.log(),
        }
        self.tables = {name: table.float() for name, table in tables.items()}

    def at(self, name: str, t: Tensor) -> Tensor:
        """A table's entries for steps (B,), B 1 1 1."""
        return self.tables[name].to(t.device)[t].view(-1, 1, 1, 1)

    def drawn(self, x0: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random steps (B,) and noise for pictures B C H W, on the processor."""
        draw: dict[str, Any] = {"generator": generator}
        t = torch.randint(self.steps, x0.shape[:1], **draw)
        return t, Noise(torch.randint(2**62, x0.shape[:1], **draw).tolist())(x0.shape)

    def noised(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t of pictures B C H W at steps (B,)."""
        return self.at("alpha", t) * x0 + self.at("sigma", t) * eps

    def loss(self, answer: Tensor, x0: Tensor, xt: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The mean over a batch; without a variance in the answer (C, not 2C channels) the error of the noise
        alone.
        """
        if answer.shape[1] == x0.shape[1]:
            return (answer - eps).square().mean()
        found, frac = answer.chunk(2, 1)
        bound = self.bound(found.detach(), (frac + 1) / 2, x0, xt, t)
        return (found - eps).square().mean() + SHARE * self.steps * bound.mean()

    def bound(self, eps: Tensor, frac: Tensor, x0: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        """The term of step t of the bound, in bits a value, (B,): Eq. 4-6, the variance between both of its
        bounds by `frac` (Eq. 15).
        """
        spread = frac * self.at("large", t) + (1 - frac) * self.at("small", t)
        guess = (xt - self.at("sigma", t) * eps) / self.at("alpha", t)
        mean = self.at("on_x0", t) * guess + self.at("on_x", t) * xt
        true = self.at("on_x0", t) * x0 + self.at("on_x", t) * xt
        own = self.at("small", t)
        apart = (true - mean).square() * (-spread).exp()
        divergence = 0.5 * (spread - own + (own - spread).exp() + apart - 1)
        terms = torch.where((t == 0).view(-1, 1, 1, 1), -log_chance(x0, mean, spread), divergence)
        return terms.flatten(1).mean(1) / math.log(2)


def log_chance(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """ln of how likely a Gaussian gives the 8-bit level of each value of x in -1..1; the outermost levels
    take all that lies beyond.
    """
    scale = (-0.5 * log_variance).exp()
    above, below = (torch.special.ndtr((x - mean + side * HALF) * scale) for side in (1, -1))
    inner = torch.where(x > 1 - HALF, 1 - below, above - below)
    return torch.where(x < -1 + HALF, above, inner).clamp(min=LEAST).log()
