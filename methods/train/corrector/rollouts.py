"""What a corrector sees in runs of DPI with the weights it has just now, and what it should have said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ....samplers.noise import Noise
from ...device import device_of
from ...dpi.corrector import Corrector
from ...dpi.masks import on_grid
from ...dpi.method import PRESETS, dpi, preset
from ...dpi.objective import grid_error
from ...imaging.resize import size_of
from ...priors.prior import Prior
from ..loop import Batch
from .recipe import CorrectorRecipe, conditions

# training steps between rounds of runs; checkpoints fall on rounds, so that a resumed training repeats the
# uninterrupted one
EVERY = 50
RUNS, FACES = 4, 8  # of a round
TAUS = (0.0, 100.0, 300.0, 500.0, 1000.0)
STEPS = (15, 25, 40, 60)
JUDGED, JUDGED_STEPS = 16, 25


class RolloutBatch(NamedTuple):
    """m_f s of some steps on the grid, B C S/k S/k, their corrector times (B,), the truth B C S S and its
    base condition B C S/k S/k.
    """

    x: Tensor
    t: Tensor
    truth: Tensor
    base: Tensor


@dataclass
class Rollouts:
    """Draws from runs of a frozen prior on uint8 images N C S S, lowered as the recipe says."""

    recipe: CorrectorRecipe
    prior: Prior
    images: Tensor

    def __post_init__(self):
        self.settings = preset(self.recipe.scale) if self.recipe.degradation == "bicubic" else PRESETS["real"]
        self._calls, self._seen = 0, []

    def __call__(self, net: nn.Module, batch: Batch, count: int) -> RolloutBatch:
        """Some of what the last round's runs showed the corrector; every EVERY calls a new round is run."""
        if self._calls % EVERY == 0:
            self._seen = [one for _ in range(RUNS) for one in self._round(net, batch)]
        self._calls += 1
        chosen = torch.randint(len(self._seen), (count,), generator=batch.generator).tolist()
        rows = torch.randint(FACES, (count,), generator=batch.generator).tolist()
        return RolloutBatch(
            *(
                torch.stack([self._seen[i][part][row] for i, row in zip(chosen, rows, strict=True)])
                for part in range(4)
            )
        )

    def _round(self, net: nn.Module, batch: Batch) -> list[RolloutBatch]:
        draw = lambda high, count=1: torch.randint(high, (count,), generator=batch.generator)  # noqa: E731
        seeds = draw(2**62, FACES).tolist()
        truth, base = (
            x.to(batch.device)
            for x in conditions(self.images[draw(len(self.images), FACES)], self.recipe, seeds)
        )
        tau, steps = TAUS[int(draw(len(TAUS)))], STEPS[int(draw(len(STEPS)))]
        return [seen for seen, _ in self.rollout(net, truth, base, seeds, steps, tau)]

    @torch.no_grad()
    def rollout(
        self,
        net: nn.Module,
        truth: Tensor,
        base: Tensor,
        seeds: Sequence[int],
        steps: int,
        tau: float | None = None,
    ) -> list[tuple[RolloutBatch, Tensor]]:
        """Every call of the corrector in one run, in order, and its answer B C S S."""
        self.prior.network.to(base.device)
        network: Any = getattr(net, "module", net)
        calls, k = [], self.recipe.k
        corrector, training = Corrector(network, k), network.training

        def watched(x: Tensor, t: float, y_T: Tensor) -> Tensor:
            seen = RolloutBatch(on_grid(x, k).clone(), torch.full((len(x),), t, device=x.device), truth, base)
            calls.append((seen, corrector(x, t, y_T)))
            return calls[-1][1]

        tau = self.settings.tau if tau is None else tau
        settings = replace(
            self.settings, tau=tau, omega=max(self.settings.omega, tau), k=k, respacing=str(steps)
        )
        network.eval()
        try:
            dpi(self.prior, watched, base, size_of(truth), settings, Noise(seeds))
        finally:
            network.train(training)
        return calls

    def error(self, net: nn.Module, truth: Tensor, base: Tensor) -> float:
        """Squared error on the grid of the corrector's answers, the mean over the steps of runs with the
        preset's strengths.
        """
        truth, base = (x[:JUDGED].to(device_of(net)) for x in (truth, base))
        calls = self.rollout(net, truth, base, range(len(truth)), JUDGED_STEPS)
        return sum(float(grid_error(answer, truth, self.recipe.k).mean()) for _, answer in calls) / len(calls)
