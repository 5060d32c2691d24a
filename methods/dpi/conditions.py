"""DPI's conditions as a hook of any run: noising, fixed and adaptive masks, fusion, refinement (Yang et al.
2025, Algorithm 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ...samplers.denoiser import Prediction
from ...samplers.noise import Noise
from ...samplers.run import Draw, Hook, Step
from ...samplers.schedule import Level
from ...samplers.transition import Posterior
from ..imaging.resize import size_of
from .masks import UniformDraws, adaptive_mask, base_condition, chances, compounded, on_grid, sparse
from .timestep import STEPS, corrector_time, original_step

Correct = Callable[
    [Tensor, float, Tensor], Tensor
]  # m_f s (B C H W), the step 0 .. 999, y_T; to the corrected picture


@dataclass(frozen=True)
class Convention:
    """What the paper and the released code do differently.

    The defaults are the paper's, but for `signed`, against its own text.

    count_from: the number of the last step, from which stage (t <= tau) and weight (t / omega) follow.
    condition_last: the last step takes conditions too. raw_noise: Eq. 6 uses the network's noise although x0
    is clipped, for ancestral steps only; else that of the clipped x0. joint: edges are stretched over the
    whole batch, which couples its images. signed: edges with their sign. stride: tau and omega count steps of
    the respaced run, and the corrector hears that count times `stride`; None: original steps (timestep.py),
    and the corrector hears the noise level of its input.
    """

    count_from: int = 1
    condition_last: bool = True
    raw_noise: bool = False
    joint: bool = False
    signed: bool = False
    stride: int | None = None


PAPER = Convention()
RELEASED = {  # by sampler
    "ddpm": Convention(0, False, True, True, stride=1),
    "ddim": Convention(0, False, False, True, stride=50),
}


class _Moment(NamedTuple):
    t: float  # of tau and omega
    time: float  # of the corrector
    gain: float  # from the state after the step to the unit variance that the corrector was trained on
    worth: float  # how many original steps it stands for


@dataclass
class Conditions(Hook):
    """Keeps the pixels of a sparse grid near a condition that a corrector refines after every step; put it
    before ClipX0.

    low: B C h w in the prior's units (-1..1), enlarged to the grid of each run's picture; one serves a whole
    batch. Stage 1 (t > tau) sets every grid pixel (Eq. 8), stage 2 a random part that follows the edges, with
    weight t / omega (Eq. 9). corrector: CRT; None leaves the condition as it is. refine: it sees its last
    answer, in stage 2 in the fused state (line 13); without, the base condition at every step (Table 4).
    weighted: False makes every weight 1. compound: a step of stage 2 that stands for several original ones
    holds as they would together, so that tau, s and omega mean the same under any respacing. uniform: draws
    in 0..1 on the CPU, or a seed for a stream per image. start: y at the first step where it is not the base
    condition, B C H/k W/k.

    `y` is the present condition on the grid, B C H/k W/k, `mask` the last step's adaptive mask, B 1 H/k W/k,
    None in stage 1. Raises ValueError before the first step.
    """

    low: Tensor
    corrector: Correct | None = None
    tau: float = 300.0
    s: float = 1.2
    omega: float = 750.0
    k: int = 2
    refine: bool = True
    weighted: bool = True
    compound: bool = True
    convention: Convention = PAPER
    uniform: Draw | int = 0
    start: Tensor | None = None
    replaces_state = True
    y: Tensor = field(init=False)
    mask: Tensor | None = field(init=False, default=None)

    def __post_init__(self):
        check_strengths(self.tau, self.s, self.omega)

    def begin(self, x: Tensor, levels: Sequence[Level]) -> None:
        if len(self.low) not in (1, len(x)) or self.low.shape[1] != x.shape[1]:
            raise ValueError(
                f"the condition has {len(self.low)} pictures of {self.low.shape[1]} channels, the run "
                f"{len(x)} of {x.shape[1]}: they must agree"
            )
        base = base_condition(self.low.to(x.device, torch.float32), size_of(x), self.k)
        base = base.expand(len(x), -1, -1, -1)
        self.y = base if self.start is None else self.start.to(base).expand_as(base)
        self.mask, self._eps = None, None
        self._y_T, self._shown = sparse(base, self.k), sparse(torch.zeros_like(base), self.k)
        self._seen = on_grid(self._shown, self.k)
        self._moments = [self._moment(len(levels) - 2 - i, *pair) for i, pair in enumerate(pairwise(levels))]
        draws = self.uniform
        self._uniform = (
            UniformDraws(Noise([draws + i for i in range(len(x))]).child("dpi"))
            if isinstance(draws, int)
            else draws
        )

    def predict(self, x: Tensor, level: Level, pred: Prediction) -> Prediction:
        if self.convention.raw_noise:
            self._eps = pred.eps.detach()
        return pred

    @torch.no_grad()
    def state(self, step: Step, x: Tensor) -> Tensor:
        last = step.nxt.sigma == 0
        self.mask = None
        if last and not self.convention.condition_last:
            return x
        moment, fused = (
            self._moments[step.i],
            x.clone(),
        )  # another hook may hold x, and without noise it is step.mean
        grid = on_grid(fused, self.k)
        pull, share = self._pull(step, grid, self.y)
        alone = None
        if self.corrector is not None and not self.refine:
            base, part = self._pull(step, grid, on_grid(self._y_T, self.k))
            alone = grid + part * base
        if moment.t > self.tau:
            grid.add_(pull, alpha=share)
        else:
            weight = moment.t / self.omega if self.weighted else 1.0
            rule = self.convention
            if self.compound and moment.worth != 1:
                chance = chances(self.y, self.s, rule.joint, rule.signed)
                self.mask, held = compounded(chance, weight, moment.worth, self._uniform)
                grid.addcmul_(pull, held.to(pull), value=share)
            else:
                self.mask = adaptive_mask(self.y, self.s, self._uniform, rule.joint, rule.signed)
                grid.addcmul_(pull, self.mask.to(pull), value=share * weight)
        if self.corrector is not None and not last:
            seen = grid if alone is None else alone
            self._seen.copy_(seen if moment.gain == 1 else seen * moment.gain)
            self.y = on_grid(self.corrector(self._shown, moment.time, self._y_T), self.k)
        return fused

    def _pull(self, step: Step, free: Tensor, y: Tensor) -> tuple[Tensor, float]:
        """From x' to y' on the grid, as a tensor and a factor: the condition takes the place of x0, the noise
        stays (Eq. 6 and 7).
        """
        y = y.to(free)
        if not self.convention.raw_noise:
            return y - on_grid(step.pred.x0, self.k), step.nxt.alpha
        if self._eps is None:
            raise RuntimeError("a step was not predicted before its condition was asked for")
        q = Posterior.between(step.cur, step.nxt)
        held = q.on_x0 * y + q.on_x * (step.cur.alpha * y + step.cur.sigma * on_grid(self._eps, self.k))
        if step.noise is not None:
            std = on_grid(step.std, self.k) if isinstance(step.std, Tensor) else step.std
            held = held + std * on_grid(step.noise, self.k)
        return held - free, 1.0

    def _moment(self, index: int, cur: Level, nxt: Level) -> _Moment:
        rule = self.convention
        gain = round((nxt.alpha**2 + nxt.sigma**2) ** -0.5, 9)
        if rule.stride is not None:
            return _Moment(index + rule.count_from, index * rule.stride, gain, 1.0)
        now, after = original_step(cur), original_step(nxt) if nxt.sigma > 0 else -1.0
        return _Moment(
            now + rule.count_from, corrector_time(nxt) if nxt.sigma > 0 else 0.0, gain, round(now - after, 6)
        )


def check_strengths(tau: float, s: float, omega: float) -> None:
    """Raises ValueError for a tau outside the schedule, an s that is not positive, a weight t / omega that
    would pass 1.
    """
    if not 0 <= tau <= STEPS:
        raise ValueError(
            f"tau {tau:g} lies outside the schedule: give 0 (no second stage) to {STEPS} (no first one)"
        )
    if not 0 < s < float("inf"):
        raise ValueError(f"s {s:g} is no exponent of a chance: give a positive number, such as 1.2")
    if not max(tau, 1e-9) <= omega < float("inf"):
        raise ValueError(
            f"omega {omega:g} is below tau {tau:g}, so that the weight t / omega would pass 1: give an "
            "omega of at least tau"
        )
