"""What score networks and attribute classifiers are trained to do, and the published optimiser step."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...samplers.schedule import ExplodingSchedule
from ..nets.densenet import DenseNet
from ..nets.ncsnpp import NCSNpp
from ..settings import Settings, option


def train_times(u: Tensor, schedule: ExplodingSchedule = ExplodingSchedule()) -> Tensor:
    """Uniform draws in 0..1 as times, none below the schedule's end."""
    return u * (1 - schedule.end) + schedule.end


def noisy(clean: Tensor, t: Tensor, noise: Tensor, schedule: ExplodingSchedule) -> tuple[Tensor, Tensor]:
    """x_t B C H W of pictures in 0..1 at times (B,), and sigma(t)."""
    sigma = schedule.sigma(t)
    return clean + sigma.view(-1, 1, 1, 1) * noise, sigma


def score_loss(
    network: NCSNpp,
    clean: Tensor,
    low: Tensor,
    t: Tensor,
    noise: Tensor,
    schedule: ExplodingSchedule = ExplodingSchedule(),
    residual: float = 0.0,
) -> Tensor:
    """Denoising score matching (SRDG, Eq. 3, with lambda = sigma^2): half of |sigma * score + noise|^2,
    summed over a picture, (B,).

    clean and low B C H W in 0..1, low enlarged; t (B,); noise standard normal. residual: the spread of what
    the small picture leaves open, by which all levels come to weigh alike (Karras et al. 2022, Table 1:
    lambda (sigma^2 + residual^2) / residual^2); 0: lambda alone.
    """
    x, sigma = noisy(clean, t, noise, schedule)
    errors = 0.5 * (network(x, sigma, low) + noise).square().flatten(1).sum(1)
    return errors * (1 + (sigma / residual) ** 2) if residual else errors


def attribute_loss(
    network: DenseNet,
    clean: Tensor,
    labels: Tensor,
    t: Tensor,
    noise: Tensor,
    schedule: ExplodingSchedule = ExplodingSchedule(),
) -> Tensor:
    """Cross-entropy on noisy pictures, (B,): what makes a classifier's gradient fit for guidance."""
    return -network.log_prob(*noisy(clean, t, noise, schedule), labels)


@dataclass(frozen=True)
class ScoreOptimisation(Settings):
    """How the score networks were trained."""

    lr: float = option(2e-4, "Adam's learning rate after the warm-up", low=0, high=1)
    beta1: float = option(0.9, "Adam's memory of gradients", low=0, high=1)
    beta2: float = option(0.999, "Adam's memory of their squares", low=0, high=1)
    eps: float = option(1e-8, "Added to Adam's denominators", low=0, high=1)
    warmup: int = option(5000, "Steps in which the learning rate rises from 0", low=0)
    clip: float = option(1.0, "Largest norm of the gradient over all weights", low=0)
    ema: float = option(0.999, "Decay of the averaged weights", low=0, high=1)
    ema_warmup: bool = option(
        True, "The average forgets faster at first (SDE-SR); else its decay is constant (SRDG)"
    )


class ScoreTraining:
    """The published optimiser:

    Adam with a linear warm-up from 0, clipped gradients, and an average of the weights in `average`.
    """

    def __init__(self, network: nn.Module, settings: ScoreOptimisation = ScoreOptimisation()):
        self.network, self.settings, self.average, self.steps = (
            network,
            settings,
            deepcopy(network).requires_grad_(False),
            0,
        )
        self.adam = torch.optim.Adam(
            network.parameters(), settings.lr, (settings.beta1, settings.beta2), settings.eps
        )

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of a scalar loss."""
        s = self.settings
        self.adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), s.clip)
        for group in self.adam.param_groups:
            group["lr"] = s.lr * min(self.steps / s.warmup, 1.0) if s.warmup else s.lr
        self.adam.step()
        self.steps += 1
        decay = min(s.ema, (1 + self.steps) / (10 + self.steps)) if s.ema_warmup else s.ema
        with torch.no_grad():
            for mean, weight in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(weight, 1 - decay)
