"""The step numbers of the paper for any prior: those of a linear schedule of 1000 steps, by noise level."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from ...samplers.schedule import DiscreteSchedule, Level

STEPS = 1000
ORIGINAL = DiscreteSchedule.named(
    "linear", STEPS
)  # of the prior that tau, s and omega were found with, and of every corrector


@lru_cache(1)
def _curve() -> tuple[np.ndarray, np.ndarray]:
    return np.array([math.log(level.sigma / level.alpha) for level in ORIGINAL.table]), np.arange(STEPS)


@lru_cache(4 * STEPS)
def original_step(level: Level) -> float:
    """The index 0 .. 999, perhaps fractional, at which that schedule has the level's noise-to-signal ratio.

    So tau and omega mean the same under any respacing and for any prior. Levels beyond either end get that
    end.
    """
    # rounded, because a respaced table reaches the same level by another sum
    return round(float(np.interp(math.log(level.sigma / level.alpha), *_curve())), 6)


def corrector_time(level: Level) -> float:
    """What a corrector is told of a condition at this noise level: it learns to see x_{t-1} at t."""
    return min(original_step(level) + 1, STEPS - 1)
