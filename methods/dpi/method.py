"""Diffusion Prior Interpolation as a method: its settings, a run on one condition, and pictures of any size
enlarged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ...samplers.denoiser import Denoiser
from ...samplers.hooks import ClipX0
from ...samplers.noise import Noise
from ...samplers.run import Draw, Hook, Step, Transition, run
from ...samplers.schedule import Level
from ...samplers.tiled import Tiled
from ...samplers.transition import DDIM, DDPM
from ..imaging.canvas import TileSettings, enlarge, noise_for, padded
from ..imaging.resize import enlarged_size, resize, size_of
from ..priors.prior import Prior
from ..settings import Settings, option
from .conditions import PAPER, RELEASED, Conditions, Convention, Correct, check_strengths
from .corrector import Corrector, TiledCorrector
from .masks import UniformDraws, check_grid
from .timestep import STEPS


@dataclass(frozen=True)
class DPISettings(Settings):
    """How strongly the condition holds the prior; tau and omega count the 1000 steps of the original chain
    under any respacing.

    A larger tau or omega, or a smaller s, means more diversity and less consistency. The defaults are the
    paper's for x8.
    """

    tau: float = option(
        300.0,
        "Steps of the second stage, whose conditions are sparse and weak; 0 is most consistent",
        low=0,
        high=STEPS,
    )
    s: float = option(
        1.2, "Exponent of the chance to keep a condition in the second stage; more keeps fewer", low=0
    )
    omega: float = option(750.0, "Second-stage conditions weigh step / omega; at least tau", low=0)
    k: int = option(
        2, "Every k-th row and column carries conditions; correctors are trained for one k", low=2, high=64
    )
    sampler: str = option("ddpm", "Ancestral steps, or implicit ones", choices=("ddpm", "ddim"))
    respacing: str = option(
        "", "Which of the trained steps are taken: all, or 250, 10,10, ddim20; a number for EDM priors"
    )
    eta: float = option(0.0, "Randomness of ddim, 0 none", low=0, high=1)
    refine: bool = option(
        True,
        "The corrector goes on from its last answer and the picture; off: from the small picture each step",
    )
    weighted: bool = option(
        True, "Second-stage conditions lose weight towards the end; else they keep all of it"
    )
    compound: bool = option(
        True, "A step in place of several of the 1000 holds as they would together; off: as one, as published"
    )
    convention: str = option(
        "paper",
        "Where the released code departs from the paper, follow the one or the other",
        choices=("paper", "released"),
    )

    def __post_init__(self):
        super().__post_init__()
        check_strengths(self.tau, self.s, self.omega)


PRESETS = {
    "x4": DPISettings(100.0, 1.4, 500.0),
    "x8": DPISettings(300.0, 1.2, 750.0),
    "x16": DPISettings(500.0, 1.0, 1000.0),
    "real": DPISettings(500.0, 1.0, 1000.0),
    "dpi20": DPISettings(
        350.0, 1.4, 1500.0, sampler="ddim", respacing="ddim20", compound=False
    ),  # found for these steps
}


def preset(scale: float) -> DPISettings:
    """The paper's settings for the trained scale nearest to this one."""
    return PRESETS["x4" if scale < math.sqrt(4 * 8) else "x8" if scale < math.sqrt(8 * 16) else "x16"]


def conditions(
    low: Tensor, corrector: Correct | None, settings: DPISettings, uniform: Draw | int = 0, steps: int = STEPS
) -> Conditions:
    """The hook for a low-resolution condition B C h w in -1..1; `steps` of the run matter to the released
    convention only.
    """
    convention, per_step = _convention(settings, steps)
    return Conditions(
        low,
        corrector,
        settings.tau / per_step,
        settings.s,
        settings.omega / per_step,
        settings.k,
        settings.refine,
        settings.weighted,
        settings.compound,
        convention,
        uniform,
    )


def _convention(settings: DPISettings, steps: int) -> tuple[Convention, float]:
    """The convention, and how many original steps are one of its own."""
    return (PAPER, 1.0) if settings.convention == "paper" else (RELEASED[settings.sampler], STEPS / steps)


def levels_of(prior: Prior, settings: DPISettings) -> list[Level]:
    """The levels of a run. Raises ValueError for a respacing that the prior cannot follow."""
    return prior.spaced_levels(settings.respacing)


def dpi(
    prior: Prior,
    corrector: Correct | None,
    low: Tensor,
    size: tuple[int, int],
    settings: DPISettings = DPISettings(),
    noise: Draw | None = None,
    hooks: tuple[Hook, ...] = (),
    on_step: Callable[[Step, Tensor], None] | None = None,
    denoiser: Denoiser | None = None,
    transition: Transition | None = None,
    uniform: Draw | None = None,
) -> Tensor:
    """Restore B C H W in -1..1 from its low-resolution picture, B C h w in -1..1, enlarged as far as the grid
    of every k-th pixel.

    corrector: a Corrector for the prior's pictures, or None for conditions that stay as they are. `hooks` run
    after the conditions; denoiser runs in the prior's place, for example tiles around it; transition in that
    of settings.sampler. uniform: draws in 0..1 for the adaptive mask; by default a child stream of `noise`,
    which then must be a Noise. Raises ValueError, before the first step. Source: Yang et al. 2025, Algorithm
    1.
    """
    noise = noise or Noise([0] * len(low))
    if uniform is None and not isinstance(noise, Noise):
        raise ValueError(
            "only a Noise has a stream for the adaptive mask beside its own: give `uniform` with any other "
            "source"
        )
    if isinstance(corrector, Corrector):
        corrector.check(low.shape[1], settings.k)
    levels = levels_of(prior, settings)
    held = conditions(low, corrector, settings, uniform or UniformDraws(noise.child("dpi")), len(levels) - 1)
    start = noise((len(low), low.shape[1], *size)).to(low) * math.hypot(levels[0].alpha, levels[0].sigma)
    steps = transition or (DDPM() if settings.sampler == "ddpm" else DDIM(settings.eta))
    return run(denoiser or prior, start, levels, steps, [held, ClipX0(), *hooks], noise, on_step=on_step)


def _unit(prior: Prior, corrector: Corrector | None, k: int) -> int:
    """What sides must be multiples of for prior, corrector and grid."""
    return math.lcm(prior.multiple, k, corrector.multiple if corrector else 1)


def tiles_of(prior: Prior, corrector: Corrector | None, k: int, canvas: TileSettings) -> Tiled:
    """The prior on pictures of any size, in tiles that start on the grid and fit the corrector.

    Raises ValueError when none does.
    """
    unit, wanted = _unit(prior, corrector, k), canvas.tile or prior.size
    if wanted < unit:
        raise ValueError(
            f"a tile of {wanted} is smaller than the {unit} pixels that prior, corrector and grid need: "
            "give more"
        )
    tile, overlap = wanted // unit * unit, canvas.overlap // k * k
    return replace(canvas, tile=tile, overlap=min(overlap, tile // 2 // k * k)).tiles(prior)


def grid_condition(low: Tensor, scale: float, k: int, unit: int) -> tuple[Tensor, tuple[int, int]]:
    """I_bc in -1..1 of pictures B C h w in 0..1 that a run enlarges by `scale`, and the sides of that run,
    multiples of `unit`.

    Beyond the picture its edge goes on. Raises ValueError for a scale below k, and for a k that does not
    divide the sides.
    """
    if scale < k:
        raise ValueError(
            f"a scale of {scale:g} leaves fewer pixels on the grid of every {k}th than the picture has: "
            f"give {k} or more"
        )
    height, width = (-(-n // unit) * unit for n in enlarged_size(size_of(low), scale))
    sides = height, width
    check_grid(sides, k)
    base = resize(low, scale=scale / k) * 2 - 1
    return padded(base, (height // k, width // k)), sides


def dpi_upscale(
    prior: Prior,
    corrector: Corrector | None,
    low: Tensor,
    scale: float,
    settings: DPISettings = DPISettings(),
    canvas: TileSettings = TileSettings(),
    seeds: Sequence[int] | None = None,
    on_step: Callable[[Step, Tensor], None] | None = None,
) -> Tensor:
    """Enlarge B C h w in 0..1 (C is 1 or 3) by `scale`, which is at least k.

    A one-channel prior restores luma and enlarges chroma bicubically; grey pictures go through a colour prior
    as equal channels. seeds: one an image, 0 for all by default. Raises ValueError, before the first step.
    """
    if corrector is not None:
        corrector.check(prior.channels, settings.k, scale)
    noise = noise_for(low, seeds)
    tiles = tiles_of(prior, corrector, settings.k, canvas)
    correct = corrector and TiledCorrector(corrector, tiles.size, tiles.overlap, tiles.batch)
    unit = _unit(prior, corrector, settings.k)

    def restore(shown: Tensor, size: tuple[int, int], sides: tuple[int, int]) -> Tensor:
        base, sides = grid_condition(shown, scale, settings.k, unit)
        return (dpi(prior, correct, base, sides, settings, noise, on_step=on_step, denoiser=tiles) + 1) / 2

    return enlarge(low, scale, prior.channels, unit, restore)
