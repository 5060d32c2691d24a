"""Guidance by the gradient of a noise-aware classifier (Dhariwal and Nichol 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Prediction
from ..run import Hook, Step
from ..schedule import Level

LogProb = Callable[[Tensor, Level], Tensor]  # x B C H W and a level to log p(y | x) of each sample, B


def weighted(parts: Sequence[tuple[LogProb, float]]) -> LogProb:
    """Any number of classifiers as one: the sum of weight * log p. Those of weight 0 are not asked."""
    asked = [(log_prob, weight) for log_prob, weight in parts if weight]
    if not asked:
        raise ValueError(
            "no classifier has a weight: give one of them a weight that is not 0, or leave the guidance out"
        )
    (first, most), others = asked[0], asked[1:]
    if not others and most == 1:
        return first
    return lambda x, level: sum(
        (weight * log_prob(x, level) for log_prob, weight in others), most * first(x, level)
    )


@dataclass
class ClassifierGuidance(Hook):
    """Push samples towards a class: scale * grad log p(y | x_t), taken at x_t.

    form: `mean` shifts a random step's mean by its variance times the gradient (Algorithm 1), `score` shifts
    eps (Algorithm 2), which serves deterministic steps too. x0 is not clipped again after it. limit: the
    largest ratio of the push to the score that it is added to, of each sample; a stronger push keeps its
    direction. That score is the prior's own with what earlier hooks made of it, so that each of several
    guidances keeps its own limit. window: the noise levels sigma / alpha, ends included, outside which no
    classifier is asked.
    """

    log_prob: LogProb
    scale: float = 1.0
    form: str = "score"
    limit: float | None = None
    window: tuple[float, float] = (0.0, math.inf)

    def __post_init__(self):
        if self.form not in ("mean", "score"):
            raise ValueError(f"form {self.form!r} is not one of mean, score")
        if self.limit is not None and not 0 < self.limit < math.inf:
            raise ValueError(
                f"a limit of {self.limit} lets no push through, or does not limit: give a positive number, "
                "or none"
            )
        if not 0 <= self.window[0] < self.window[1]:
            raise ValueError(
                f"the window from {self.window[0]:g} to {self.window[1]:g} holds no noise level: give two "
                "ascending ones"
            )

    def gradient(self, x: Tensor, level: Level) -> Tensor:
        """scale * grad of the summed log probabilities, so that samples stay independent; detached."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            log_prob = self.log_prob(x, level)
            (gradient,) = torch.autograd.grad(
                log_prob, x, torch.full_like(log_prob, self.scale)
            )  # scaled where it is a number a sample
        return gradient

    def predict(self, x: Tensor, level: Level, pred: Prediction) -> Prediction:
        if self.form == "mean" or not self._within(level):
            return pred
        push = self._push(x, level, pred)
        # eps - sigma * push and the x0 that goes with it, without a pass over x
        return Prediction(
            pred.x0.add(push, alpha=level.sigma**2 / level.alpha),
            pred.eps.sub(push, alpha=level.sigma),
            pred.frac,
        )

    def mean(self, step: Step) -> Tensor:
        if (
            self.form == "mean"
            and step.i == 0
            and step.nxt.sigma > 0
            and isinstance(step.variance, float)
            and step.variance == 0
        ):
            raise ValueError(
                "form mean moves the mean of random steps, and this transition draws no noise: choose "
                "score, or ddpm"
            )
        if self.form == "score" or not self._within(step.cur):
            return step.mean
        return step.mean + step.variance * self._push(step.x, step.cur, step.pred)

    def _within(self, level: Level) -> bool:
        return self.window[0] <= level.sigma / level.alpha <= self.window[1]

    def _push(self, x: Tensor, level: Level, pred: Prediction) -> Tensor:
        """The gradient, no longer than `limit` scores."""
        gradient = self.gradient(x, level)
        if self.limit is None:
            return gradient
        eps, push = (torch.linalg.vector_norm(v.detach().flatten(1), dim=1) for v in (pred.eps, gradient))
        most = eps * (self.limit / level.sigma)
        # a sample that is not pushed at all has no direction to shorten
        return gradient * torch.where(push > most, most / push, 1.0).view(-1, *[1] * (x.ndim - 1))
