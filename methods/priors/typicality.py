"""What a prior's levels are, and whether a picture is of the kind that it knows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...samplers.noise import Noise
from ..imaging.canvas import to_prior_channels
from ..imaging.resize import resize, scaled_size, size_of
from .prior import PicturePrior, Prior

# noise under which a picture's parts are hidden and only knowing such pictures helps
SHARES = (0.5, 0.6, 0.7)
DRAWS = 2
COMMON = 0.98  # of the prior's own pictures count as typical
SMALLEST = 0.75  # of a prior's side: what is smaller shows less than it was trained on


@torch.no_grad()
def denoising_error_ratio(prior: Prior, pictures: Tensor) -> list[float]:
    """The prior's error of eps on each picture, B C size size in -1..1, over its usual one; about 1 for
    pictures of its kind.

    Enlarged pictures have less detail and stay below 1. Raises ValueError when the prior's errors were never
    measured.
    """
    if prior.measured is None:
        raise ValueError("this prior's errors were never measured: run `priorsr calibrate` on its file")
    table = prior.noise_levels()
    steps = [round(share * len(table)) for share in SHARES]
    noise = Noise(range(DRAWS))((DRAWS, *pictures.shape[1:])).to(pictures)
    ratios = []
    for picture in pictures:  # alone, so that a batch does not matter
        found = 0.0
        for step in steps:
            level = table[step]
            error = (prior(level.alpha * picture + level.sigma * noise, level).eps - noise).square().mean()
            found += float(error) / prior.measured.error(step)
        ratios.append(found / len(steps))
    return ratios


def ood_warnings(prior: Prior, low: Tensor, scale: float) -> list[str | None]:
    """What to beware of, for each picture B C h w in 0..1 that will be enlarged; None where it is as the
    prior's own, or cannot be told.
    """
    if prior.measured is None or not (limit := prior.measured.typical_limit(scale)):
        return [None] * len(low)
    shown = to_prior_channels(prior.channels, low, size_of(low))[0]
    ratios = denoising_error_ratio(prior, resize(shown, (prior.size, prior.size)).clamp(0, 1) * 2 - 1)
    return [
        f"this does not look like the pictures that the prior knows (surprise {ratio:.2f}, {COMMON:.0%} of "
        f"its own stay below {limit:.2f}): "
        "expect it to be bent towards them. Crop an upright face as tightly as the prior's, or choose "
        "another method"
        if ratio > limit
        else None
        for ratio in ratios
    ]


def size_warning(prior: PicturePrior, low: tuple[int, int], scale: float) -> str | None:
    """What to beware of when the result of a picture of h x w is not one whole picture of the prior's
    size.
    """
    height, width = (scaled_size(n, scale) for n in low)
    if all(SMALLEST * prior.size <= n <= prior.size for n in (height, width)):
        return None
    how = (
        "it is restored in pieces, each as if it were a whole one"
        if max(height, width) > prior.size
        else "it shows the prior less than a whole one"
    )
    return (
        f"{width} x {height} is not one picture of {prior.size} x {prior.size}, which is what this prior "
        f"knows: {how}. "
        f"For a face, crop it and choose the scale that makes it {prior.size} pixels wide"
    )


def usual_surprise(prior: Prior, low: Tensor) -> float:
    """What COMMON of the prior's own pictures, reduced to low B C h w in 0..1, stay below."""
    return float(
        np.quantile(
            denoising_error_ratio(prior, resize(low, (prior.size, prior.size)).clamp(0, 1) * 2 - 1), COMMON
        )
    )
