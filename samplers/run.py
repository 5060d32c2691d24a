"""The one sampling loop: levels, a transition, hooks, noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from .denoiser import Cond, Denoiser, Prediction
from .schedule import Level

Predict = Callable[[Tensor, Level], Prediction]
Draw = Callable[[Sequence[int]], Tensor]


@dataclass(frozen=True)
class Step:
    """One step from `cur` to `nxt`: x before it, the prediction it used last, and the Gaussian of the next
    state.

    The next state is mean + std * noise; `variance` is that of the model, which may be more than std^2 where
    no noise is added. shared_graph: several hooks take gradients through the network, so that none may free
    its graph.
    """

    i: int
    x: Tensor
    cur: Level
    nxt: Level
    pred: Prediction
    mean: Tensor
    variance: Tensor | float = 0.0
    std: Tensor | float = 0.0
    noise: Tensor | None = None
    shared_graph: bool = False


class Transition(Protocol):
    """Turns predictions into the next state's Gaussian.

    `begin` is called once a run and returns the stepper of that run.
    """

    def begin(self, levels: Sequence[Level]) -> Callable[[Predict, Tensor, int, Draw], Step]: ...


class Hook:
    """Changes a run at three places; a subclass overrides those it needs.

    `needs_grad` asks for a graph from x to the prediction. `replaces_state` says that the state after a step
    is set, not moved, which samplers that look back at earlier steps do not follow.
    """

    needs_grad = False
    replaces_state = False

    def begin(self, x: Tensor, levels: Sequence[Level]) -> None:
        """Called once before the first step; the place to reset what belongs to a run."""

    def predict(self, x: Tensor, level: Level, pred: Prediction) -> Prediction:
        """After every network call."""
        return pred

    def mean(self, step: Step) -> Tensor:
        """On the Gaussian of a step, before noise is added."""
        return step.mean

    def state(self, step: Step, x: Tensor) -> Tensor:
        """On the state after the step."""
        return x


@torch.inference_mode(False)
def run(
    denoiser: Denoiser,
    x: Tensor,
    levels: Sequence[Level],
    transition: Transition,
    hooks: Sequence[Hook] = (),
    noise: Draw | None = None,
    cond: Cond | None = None,
    on_step: Callable[[Step, Tensor], None] | None = None,
) -> Tensor:
    """Walk x (B C H W, at levels[0]) down to the last level and return it.

    noise draws standard normal tensors of a shape; on_step(step, next state) serves progress, previews and
    cancelling, which it does by raising. Raises ValueError for levels that do not descend, FloatingPointError
    when the state stops being finite.
    """
    if len(levels) < 2 or any(b.sigma / b.alpha >= a.sigma / a.alpha for a, b in pairwise(levels)):
        raise ValueError("a run needs at least two levels, each with less noise than the one before")

    def predict(x: Tensor, level: Level) -> Prediction:
        pred = denoiser(x, level, cond)
        for hook in hooks:
            pred = hook.predict(x, level, pred)
        return pred

    def draw(shape: Sequence[int]) -> Tensor:
        if noise is None:
            raise ValueError("this transition is random: give the run a Noise")
        return noise(shape).to(x)

    x = x.detach().clone()
    for hook in hooks:
        hook.begin(x, levels)
    gradients = sum(hook.needs_grad for hook in hooks)
    grad = gradients > 0
    advance, sums = transition.begin(levels), []
    for i in range(len(levels) - 1):
        with torch.set_grad_enabled(grad):
            step = advance(predict, x.requires_grad_(grad), i, draw)
            if gradients > 1:
                step = replace(step, shared_graph=True)
            for hook in hooks:
                if (mean := hook.mean(step)) is not step.mean:
                    step = replace(step, mean=mean)
            x = step.mean if step.noise is None else step.mean + step.std * step.noise
            for hook in hooks:
                x = hook.state(step, x)
        x = x.detach()
        sums.append(
            x.sum()
        )  # not finite if any value is not; looked at after the run, so that no step waits for the device
        if on_step:
            on_step(step, x)
        step = None  # its graph must not live beside the next one
    broken = (~torch.isfinite(torch.stack(sums))).tolist()
    if any(broken):
        where = (
            f"step {broken.index(True) + 1} of {len(broken)}, at sigma {levels[broken.index(True)].sigma:.4g}"
        )
        raise FloatingPointError(
            f"NaN or infinite values came up in {where}: use full precision, less guidance or other levels"
        )
    return x
