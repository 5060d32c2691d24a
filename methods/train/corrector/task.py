"""Training of DPI's condition corrector (Yang et al. 2025, Eq. 15-18) on square pictures, degraded as they
are drawn.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ....samplers.noise import Noise
from ...dpi.masks import on_grid, sparse
from ...dpi.objective import grid_error
from ...dpi.timestep import STEPS
from ...imaging.images import Picture, write
from ...nets.corrector import CorrectorUNet
from ...priors.calibration import midpoint_timesteps
from ...priors.load import load_prior
from ...priors.prior import Prior
from ...settings import to_json
from ..curve import plot_profiles
from ..init import begin_from
from ..loop import Batch, Optimisation, Task, channels_last
from ..prior import drawn, grid
from .loss import PriorChain, corrector_loss, runs_loss, trace
from .recipe import CorrectorRecipe, conditions
from .rollouts import Rollouts

TUNED = Optimisation(steps=4000, lr=3e-3, ema=0.995, validate_every=500)
JUDGED = 64  # validation pictures that figures come from
TIMES = midpoint_timesteps(STEPS, 10)  # steps at which they are taken


def check(recipe: CorrectorRecipe, settings: Optimisation) -> None:
    """Raises ValueError when the training cannot give a corrector that sampling takes."""
    recipe.config()
    build(recipe)
    if recipe.objective == "runs" and not recipe.prior:
        raise ValueError("objective runs follows runs of a prior: name one with --prior, such as face64")
    if recipe.objective == "runs" and recipe.batch < 2:
        raise ValueError(
            "objective runs halves the batch between noised truth and runs: give a batch of 2 or more"
        )
    if frozen_prior(recipe) and recipe.objective == "released":
        raise ValueError(
            "objective released shows the corrector nothing that a prior could noise: leave out the prior, "
            "or choose another objective"
        )
    if not settings.ema:
        raise ValueError(
            "ema 0 leaves the weights as they jump about, which no sampling takes: give 0.9 to 0.9999"
        )


def frozen_prior(recipe: CorrectorRecipe) -> Prior | None:
    """The prior of the recipe, if it has one. Raises ValueError when it is for other pictures."""
    if not recipe.prior:
        return None
    prior, colours = load_prior(recipe.prior), recipe.config().in_channels
    if prior.channels != colours or recipe.size % prior.multiple:
        raise ValueError(
            f"{recipe.prior} is for {prior.channels} channels and sides that are multiples of "
            f"{prior.multiple}, the recipe for {colours} channels "
            f"and a side of {recipe.size}: choose another prior, or change channels or size"
        )
    return prior


def build(recipe: CorrectorRecipe, seed: int = 0) -> CorrectorUNet:
    """A new network, or one with the weights to go on from. Raises ValueError for those of another one."""
    torch.manual_seed(seed)
    network = channels_last(CorrectorUNet(recipe.config()))
    begin_from(network, recipe.init, "corrector")
    return network


def task(recipe: CorrectorRecipe, images: Tensor, validation: Tensor, seed: int = 0) -> Task:
    """Train on uint8 images N C S S, judging by the errors on the grid at every noise level on
    `validation`.
    """
    network = build(recipe, seed)
    prior = frozen_prior(recipe)
    runs = Rollouts(recipe, prior, images) if prior and recipe.objective == "runs" else None
    chain = PriorChain.of(prior) if prior and not runs else None
    count = recipe.batch // 2 if runs else recipe.batch
    judged = validation[:JUDGED]
    truth, base = conditions(judged, recipe, range(len(judged)))

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        draw: dict[str, Any] = {"generator": batch.generator}
        x = drawn(images, count, images.shape[1], recipe.flip, batch.generator)
        seeds = torch.randint(2**62, (count,), **draw).tolist()
        clean, low = (z.to(batch.device) for z in conditions(x, recipe, seeds))
        t = torch.randint(STEPS, (1 if chain else count,), **draw).expand(count)
        if runs:
            seen = runs(net, batch, recipe.batch - count)
        with batch.autocast():
            if runs:
                return runs_loss(net, recipe, clean, low, t, Noise(seeds), seen)
            return corrector_loss(net, recipe, chain, clean, low, t, Noise(seeds))

    def validate(net: nn.Module) -> dict[str, float]:
        figures = {
            "base": float(grid_error(sparse(base, recipe.k), truth, recipe.k).mean()),
            "prior": 0.0,
            "gap": 0.0,
        }
        for t, *answers in trace(net, truth, base, TIMES, recipe.k):
            for name, answer in zip(("prior", "gap"), answers, strict=True):
                figures[f"{name}@{t}"] = error = float(grid_error(answer, truth, recipe.k).mean())
                figures[name] += error / len(TIMES)
        return {**figures, "runs": runs.error(net, truth, base)} if runs else figures

    def show(net: nn.Module, run: Path) -> None:
        plot_profiles(run / "log.jsonl", run / "error.png")
        few = slice(8)
        shown = [answer for _, _, answer in trace(net, truth[few], base[few], TIMES, recipe.k)]
        columns = [base[few], *(on_grid(x, recipe.k) for x in (*shown, truth[few]))]
        strip = grid(torch.stack(columns, 1).flatten(0, 1).clamp(-1, 1) / 2 + 0.5, len(columns))
        write(Picture(strip), run / "conditions.png", overwrite=True)

    return Task(network, loss, validate, lambda net: net, {**asdict(recipe), "images": len(images)}, show)


def metadata(recipe: CorrectorRecipe, settings: Optimisation) -> dict[str, object]:
    """What the weight file says of itself: for which conditions it is, and how it is built and trained."""
    return {
        "kind": "corrector",
        "scale": recipe.scale if recipe.degradation == "bicubic" else "any",
        "k": recipe.k,
        "ema": settings.ema,
        "degradation": recipe.degradation,
        "settings": json.dumps(asdict(recipe.config())),
        "training": to_json(recipe, settings),
    }
