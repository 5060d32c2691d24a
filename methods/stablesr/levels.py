"""Where StableSR's runs start and which noise levels they visit, as in the paper or as in the released
scripts.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...samplers.run import Draw
from ...samplers.schedule import DiscreteSchedule, Level, respaced

CHAIN = DiscreteSchedule.named("scaled-linear")
STARTS = ("noise", "lr")


def levels_of(sampler: str, steps: int) -> list[Level]:
    """The levels of a run of `steps`, down to clean data; for ddim-released those of the released DDIM
    scripts.
    """
    return released_ddim(steps) if sampler == "ddim-released" else CHAIN.respace(steps).levels()


def released_table(steps: int) -> list[int]:
    """The training steps whose alphas the released DDIM takes, ascending; there may be more of them than
    `steps`.
    """
    stride = len(CHAIN.table) // steps
    if steps < 2 or stride < 1:
        raise ValueError(f"the released DDIM cannot take {steps} steps: give 2 to {len(CHAIN.table)}")
    return list(range(0, len(CHAIN.table), stride))


def released_ddim(steps: int) -> list[Level]:
    """Levels whose alphas come from one spacing of the chain and whose network times come from another, as in
    the released scripts.

    The table's top (800 for 5 steps, 980 for 50) is less noisy than the state there (999). The last level is
    not clean: the released loop's last step goes from it to itself and changes nothing.
    """
    table = released_table(steps)
    clock = respaced(len(CHAIN.table), steps)
    return [CHAIN.table[i]._replace(t=float(t)) for t, i in zip(clock, table, strict=False)][::-1]


def in_place_of(levels: Sequence[Level]) -> list[Level]:
    """`released_ddim` where a run was asked for the levels of respaced steps.

    Raises ValueError for any other levels.
    """
    steps = len(levels) - 1
    ratios = (
        [[level.sigma / level.alpha for level in run] for run in (levels, levels_of("ddim", steps))]
        if 0 < steps <= len(CHAIN.table)
        else []
    )
    if not ratios or any(abs(a - b) > 1e-3 * b for a, b in zip(*ratios, strict=True)):
        raise ValueError(
            "the released DDIM takes the noise levels of Stable Diffusion's evenly kept steps, from the "
            "noisiest to none: connect Sigmas by "
            "Respacing with a plain number"
        )
    return released_ddim(steps)


def start(mode: str, lr: Tensor, noise: Draw) -> Tensor:
    """x_T for a scaled low-resolution latent B C h w: pure noise (the paper's Algorithm 1), or `lr` brought
    to the last training step.

    The released canvas scripts do the latter, which keeps 6.8 per cent of its colours and coarse shapes.
    """
    drawn = noise(lr.shape).to(lr)
    top = CHAIN.table[-1]
    return drawn if mode == "noise" else top.alpha * lr + top.sigma * drawn


def start_mode(mode: str, tiled: bool) -> str:
    """What `auto` stands for: as the released scripts, from the picture where it is worked on in tiles, else
    from noise.
    """
    return ("lr" if tiled else "noise") if mode == "auto" else mode


def index_of(level: Level, levels: Sequence[Level]) -> int:
    """The position of a level among those of a run, counted from the least noisy one with a network call."""
    ratio = level.sigma / level.alpha
    return sum(0 < other.sigma / other.alpha < ratio for other in levels)
