"""What judges of attributes are shown, and how they are judged themselves."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..degrade import PRESETS, Recipe, recipe_named
from ..degrade.steps import OneOf, Resample
from ..degrade.steps import Sequence as Chain
from ..device import device_of
from ..imaging.resize import resize, size_of
from .labels import JUDGED, UNKNOWN

REDUCTIONS = (1, 2, 4, 8)  # of what a judge is judged on
# what a judge is trained on: clean pictures, smaller ones enlarged again, and mildly damaged faces
DAMAGE = Recipe(
    "judge",
    (
        OneOf(
            (
                Chain(()),
                *(Chain((Resample(1 / f, of_input=True), Resample(1.0, of_input=True))) for f in (2, 4, 8)),
                Chain(PRESETS["dpi-mild"]().steps),
            ),
            (0.4, 0.15, 0.15, 0.1, 0.2),
        ),
    ),
)


MIX = "mix"


def judge_damage(name: str) -> Recipe:
    """What a judge is trained on: DAMAGE for `mix`, else the preset or recipe of that name, brought back
    to the size of its input. Raises as `recipe_named`.
    """
    if name == MIX:
        return DAMAGE
    recipe = recipe_named(name)
    return Recipe(recipe.name, (*recipe.steps, Resample(1.0, of_input=True)))


@torch.no_grad()
def judged_accuracies(
    networks: Mapping[str, nn.Module], images: Tensor, told: Mapping[str, Tensor]
) -> dict[str, dict[float, float]]:
    """By attribute: how often judges are right, the mean over the classes, by how much smaller the pictures
    were made before they were enlarged again.
    """
    result = {}
    for name, network in networks.items():
        network.eval()
        device = device_of(network)
        chosen = (told[name] != UNKNOWN).nonzero()[:JUDGED, 0]
        labels, result[name] = told[name][chosen], {}
        for factor in REDUCTIONS:
            x = (images[chosen] / 255).expand(-1, 3, -1, -1)
            if factor > 1:
                small = x.shape[-2] // factor, x.shape[-1] // factor
                x = resize(resize(x, small), size_of(x)).clamp(0, 1)
            found = torch.cat([network(part.to(device)).argmax(1).cpu() for part in x.split(64)]) == labels
            result[name][factor] = float(
                torch.stack([found[labels == k].float().mean() for k in labels.unique()]).mean()
            )
    return result
