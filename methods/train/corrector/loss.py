"""The loss of a corrector's training: what it is shown of each picture, and its errors along a chain of its
own answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ....samplers.noise import Noise
from ....samplers.schedule import Level
from ...device import device_of
from ...dpi.masks import sparse
from ...dpi.method import DPISettings, levels_of
from ...dpi.objective import (
    crt_loss,
    grid_error,
    omega,
    on_grid_only,
    posterior_sample,
    prior_sample,
    released_loss,
)
from ...dpi.timestep import STEPS, corrector_time
from ...priors.adm import ADMPrior
from ...priors.prior import Prior
from .recipe import CorrectorRecipe
from .rollouts import RolloutBatch


@dataclass(frozen=True)
class PriorChain:
    """A frozen prior's steps, by what the corrector is told of them."""

    prior: Prior
    pairs: tuple[tuple[Level, Level], ...]
    times: Tensor

    @staticmethod
    def of(prior: Prior) -> PriorChain:
        levels = levels_of(prior, DPISettings(respacing="" if isinstance(prior, ADMPrior) else str(STEPS)))
        pairs = tuple(pairwise(levels[:-1]))
        return PriorChain(prior, pairs, torch.tensor([corrector_time(nxt) for _, nxt in pairs]))

    def sample(self, truth: Tensor, t: int, noise: Noise) -> Tensor:
        """x_{t-1} of the truth B C S S by the prior's own step that is nearest."""
        self.prior.network.to(truth.device)
        return prior_sample(self.prior, truth, *self.pairs[int((self.times - t).abs().argmin())], noise)


def corrector_loss(
    net: Any,
    recipe: CorrectorRecipe,
    chain: PriorChain | None,
    truth: Tensor,
    base: Tensor,
    t: Tensor,
    noise: Noise,
) -> Tensor:
    """The mean of the recipe's objective for truth B C S S and its base condition B C S/k S/k at steps t
    (B,), on the CPU.

    With a chain all pictures share one step.
    """
    first, second = (noise(truth.shape).to(truth) for _ in range(2))
    told, k = t.to(truth.device), recipe.k
    if recipe.objective == "released":
        return released_loss(net, truth, base, told, first, second, k).mean()
    weight = omega(told, recipe.omega, recipe.omega_level)
    share, chance = torch.special.ndtr(noise.child("chance")((len(t), 2))).unbind(1)  # uniform in 0..1
    earlier = (t + (share * (STEPS - t)).long()).clamp_(max=STEPS - 1)
    noisy = chain.sample(truth, int(t[0]), noise) if chain else posterior_sample(truth, t, first, second)
    if recipe.objective == "paper":
        refined = posterior_sample(_answer(net, base, earlier, noise, k), t, first, second)
        return crt_loss(net, truth, base, told, noisy, refined, weight, k).total.mean()
    own = chance >= weight.cpu()
    if own.any():
        draws = Noise([seed for seed, chosen in zip(noise.seeds, own.tolist(), strict=True) if chosen]).child(
            "earlier"
        )
        answers = _answer(net, base[own], earlier[own], draws, k)
        noisy[own] = posterior_sample(answers, t[own], first[own], second[own])
    return grid_error(net(on_grid_only(noisy, k), told, sparse(base, k)), truth, k).mean()


def runs_loss(
    net: Any,
    recipe: CorrectorRecipe,
    truth: Tensor,
    base: Tensor,
    t: Tensor,
    noise: Noise,
    seen: RolloutBatch,
) -> Tensor:
    """Eq. 18 whose gap is that of real runs: the errors on noised truth, as `corrector_loss`, and on what
    runs showed the corrector.
    """
    k, first = recipe.k, noise(truth.shape).to(truth)
    noisy = on_grid_only(posterior_sample(truth, t, first, noise(truth.shape).to(truth)), k)
    told = torch.cat([t.to(seen.t), seen.t])
    answers = net(torch.cat([noisy, sparse(seen.x, k)]), told, sparse(torch.cat([base, seen.base]), k))
    prior, gap = grid_error(answers, torch.cat([truth, seen.truth]), k).split([len(truth), len(seen.x)])
    weight, other = omega(told, recipe.omega, recipe.omega_level).split([len(truth), len(seen.x)])
    return (weight * prior).mean() + ((1 - other) * gap).mean()


@torch.no_grad()
def _answer(net: nn.Module, base: Tensor, t: Tensor, noise: Noise, k: int) -> Tensor:
    """What the corrector says of the base condition at a noisier step: the condition that it has to refine
    later, B C S S.

    It is computed anew and not kept from an earlier visit to the picture: it belongs to the present weights,
    and a resumed run repeats it.
    """
    y_T = sparse(base, k)
    first, second = (noise(y_T.shape).to(y_T) for _ in range(2))
    return on_grid_only(
        net(on_grid_only(posterior_sample(y_T, t, first, second), k), t.to(base.device), y_T), k
    )


@torch.no_grad()
def trace(
    net: nn.Module, truth: Tensor, base: Tensor, times: Sequence[int], k: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """From the noisiest step on: t, the answers to noised true conditions and those to its own last answers,
    noised; B C S S.

    The second is what stage 1 of the sampling would see without a prior. Picture i has the noise of seed i.
    """
    net.eval()
    device = device_of(net)
    truth, base, noise = truth.to(device), base.to(device), Noise(range(len(truth)))
    y_T = y = sparse(base, k)
    for t in sorted(times, reverse=True):
        at, draws = torch.full((len(truth),), t), [noise(truth.shape).to(truth) for _ in range(2)]
        shown, y = (
            net(on_grid_only(posterior_sample(x, at, *draws), k), at.to(device), y_T) for x in (truth, y)
        )
        yield t, shown.cpu(), y.cpu()
