"""Time travel: every stretch of a run walked several times, with noise added back in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from .denoiser import Denoiser
from .run import Draw, Hook, Step, Transition, run
from .schedule import Level
from .transition import Posterior


def stretches(levels: Sequence[Level], length: int) -> list[Sequence[Level]]:
    """Levels cut into stretches of so many steps, each from where the one before ends; the last may be
    shorter. Raises ValueError below one step.
    """
    if length < 1:
        raise ValueError(f"a stretch of {length} steps goes nowhere: give 1 or more")
    return [levels[i : i + length + 1] for i in range(0, len(levels) - 1, length)]


def travel(
    denoiser: Denoiser,
    x: Tensor,
    levels: Sequence[Level],
    transition: Transition,
    hooks: Sequence[Hook],
    noise: Draw,
    on_step: Callable[[Step, Tensor], None] | None = None,
    length: int = 1,
    repeats: int = 1,
) -> Tensor:
    """`run` with each stretch of `length` steps walked `repeats` times; 1 is `run` itself.

    Between two walks the state is diffused from the stretch's end to its start. Source: Lugmayr et al. 2022
    (RePaint), Algorithm 1 and section 4.2; Wang et al. 2023 (DDNM), Algorithm 2.
    """
    if repeats < 1:
        raise ValueError(f"{repeats} walks of each stretch are none: give 1 or more")
    for part in stretches(levels, length) if repeats > 1 else [levels]:
        for walk in range(repeats):
            if walk:
                x = part[0].alpha / part[-1].alpha * x
                x = x + math.sqrt(Posterior.between(part[0], part[-1]).beta) * noise(x.shape).to(x)
            x = run(denoiser, x, part, transition, hooks, noise, on_step=on_step)
    return x
