"""Evenly spaced steps from any noise level to clean data, and what a prior makes of nothing but noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...samplers.noise import Noise
from ...samplers.run import run
from ...samplers.schedule import CLEAN, Level
from ...samplers.transition import DDIM, DDPM
from ..device import device_of
from .prior import Prior


def spaced_levels(levels: Sequence[Level], start: int, steps: int) -> list[Level]:
    """From step `start` of a schedule (ascending levels) to clean data in at most `steps` evenly spaced
    steps.
    """
    if not 0 <= start < len(levels):
        raise ValueError(f"a noise level lies between 1 and {len(levels)} steps, not {start + 1}")
    steps = min(steps, start + 1)
    return [*(levels[round((start + 1) * k / steps) - 1] for k in range(steps, 0, -1)), CLEAN]


@torch.no_grad()
def samples(prior: Prior, count: int, steps: int = 100, eta: float = 1.0) -> Tensor:
    """`count` unconditional pictures, C size size in 0..1 each, picture i from seed i; eta 1 is ancestral, 0
    DDIM.
    """
    levels, noise = (
        spaced_levels(prior.noise_levels(), len(prior.noise_levels()) - 1, steps),
        Noise(range(count)),
    )
    start = (
        noise((count, prior.channels, prior.size, prior.size))
        * (levels[0].alpha ** 2 + levels[0].sigma ** 2) ** 0.5
    )
    start = start.to(device_of(prior.network))
    return (
        (run(prior, start, levels, DDPM() if eta == 1 else DDIM(eta), noise=noise) / 2 + 0.5)
        .clamp(0, 1)
        .cpu()
    )
