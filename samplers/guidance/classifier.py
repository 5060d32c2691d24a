"""Guidance by the gradient of a noise-aware classifier (Dhariwal and Nichol 2021)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Prediction, from_eps
from ..run import Hook, Step
from ..schedule import Level

LogProb = Callable[[Tensor, Level], Tensor]  # x B C H W and a level to log p(y | x) of each sample, B


@dataclass
class ClassifierGuidance(Hook):
    """Push samples towards a class: scale * grad log p(y | x_t), taken at x_t.

    form: `mean` shifts a random step's mean by its variance times the gradient (Algorithm 1), `score` shifts eps (Algorithm 2),
    which serves deterministic steps too. x0 is not clipped again after it.
    """

    log_prob: LogProb
    scale: float = 1.0
    form: str = "score"

    def __post_init__(self):
        if self.form not in ("mean", "score"):
            raise ValueError(f"form {self.form!r} is not one of mean, score")

    def gradient(self, x: Tensor, level: Level) -> Tensor:
        """scale * grad of the summed log probabilities, so that samples stay independent; detached."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.log_prob(x, level).sum(), x)
        return gradient * self.scale

    def predict(self, x: Tensor, level: Level, pred: Prediction) -> Prediction:
        if self.form == "mean":
            return pred
        return from_eps(x, level, pred.eps - level.sigma * self.gradient(x, level), pred.frac)

    def mean(self, step: Step) -> Tensor:
        if self.form == "score":
            return step.mean
        return step.mean + step.variance * self.gradient(step.x, step.cur)
