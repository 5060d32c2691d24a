"""Guidance folded into what a prior predicts, for samplers that know no hooks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Cond, Denoiser, Prediction, from_x0
from ..run import Hook, Step
from ..schedule import Level

CLOSE = 1e-5  # of a sigma: single precision keeps seven digits


@dataclass(frozen=True)
class Folded:
    """A denoiser whose x0 is changed so that a sampler which walks down `levels` goes where hooks would lead.

    A change of the state after a step becomes the change of x0 that moves a step of Euler as far, so that
    Euler and DDIM with eta 0 arrive where `run` does with the same hooks; other solvers agree to first order.
    Levels have alpha 1, or alpha + sigma 1 (a flow). The graph from x stays where x takes part in one. Hooks
    on the mean of random steps cannot be folded: `begin`, called once before the run, raises ValueError.
    """

    denoiser: Denoiser
    hooks: Sequence[Hook]
    levels: Sequence[Level]

    @torch.inference_mode(False)
    @torch.no_grad()
    def begin(self, x: Tensor) -> None:
        check_foldable(self.hooks)
        for hook in self.hooks:
            hook.begin(x, self.levels)

    def __call__(self, x: Tensor, level: Level, cond: Cond | None = None) -> Prediction:
        wanting, kept = sum(hook.needs_grad for hook in self.hooks), x.requires_grad
        if not kept:
            x = x.detach().requires_grad_(wanting > 0)
        with torch.set_grad_enabled(wanting > 0 or kept):
            pred = self.denoiser(x, level, cond)
            for hook in self.hooks:
                pred = hook.predict(x, level, pred)
            i = self._interval(level.sigma)
            high, nxt = self.levels[i], self.levels[i + 1]
            mean = nxt.alpha * pred.x0 + nxt.sigma * pred.eps
            step = Step(i, x, level, nxt, pred, mean, shared_graph=kept or wanting > 1)
            state = mean
            for hook in self.hooks:
                state = hook.state(step, state)
        x0 = pred.x0
        if state is not mean:
            # Euler moves x by (high - low) / sigma of a change of x0, from wherever in the step it asks
            x0 = x0 + (state - mean) * (level.sigma / (high.sigma - nxt.sigma))
        done = from_x0(x, level, x0, pred.frac)
        return done if kept else Prediction(done.x0.detach(), done.eps.detach(), done.frac)

    def _interval(self, sigma: float) -> int:
        """Which step asks: the one that begins at this sigma, else the one that it lies in."""
        ends = [-level.sigma * (1 + CLOSE) for level in self.levels[1:]]
        return min(bisect_left(ends, -sigma), len(ends) - 1)


def check_foldable(hooks: Sequence[Hook]) -> None:
    """Raises ValueError for hooks that change what only a sampler of random steps has."""
    if any(getattr(hook, "form", "") == "mean" for hook in hooks):
        raise ValueError(
            "form mean moves the mean of random steps, which no MODEL knows of: choose score, or give this "
            "guidance to Sampler (PriorSR)"
        )
