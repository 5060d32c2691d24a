"""Diff-SR: enlarge, add the right amount of noise, let the prior take it away (Diff-SR, section 3; SDEdit
where the level is given).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from ...samplers.denoiser import Denoiser
from ...samplers.guidance.consistency import Consistency
from ...samplers.hooks import ClipX0
from ...samplers.noise import Noise
from ...samplers.run import Draw, Hook, Step, Transition, run
from ...samplers.schedule import Level
from ...samplers.transition import DDIM, Renoise
from ..imaging.canvas import TileSettings, check_enlargement, enlarge, noise_for, padded, to_prior_channels
from ..imaging.operators import ReduceTo
from ..imaging.resize import enlarged_size, resize, size_of
from ..priors.calibration import AIMS
from ..priors.prior import Prior
from ..priors.typicality import ood_warnings
from ..priors.unconditional import spaced_levels
from ..settings import Settings, option
from .lost_energy import lost_energy
from .prf import RecoverableField, recoverable_field

STEPPERS = {"renoise": Renoise, "ddim": DDIM}


@dataclass(frozen=True)
class DiffSRSettings(Settings):
    """How much noise, and how it is taken away."""

    level: float = option(
        0.0,
        "Noise level t / T in percent: more invents more; 0: the recoverable field chooses for each picture",
        low=0,
        high=100,
    )
    steps: int = option(20, "Network calls for each picture", low=1, high=1000)
    sampler: str = option(
        "renoise",
        "renoise draws noise anew in each step (DDNM) and errs least; ddim keeps it, as published",
        choices=tuple(STEPPERS),
    )
    eta: float = option(1.0, "Randomness of the steps; with ddim 0 is as published", low=0, high=1)
    aim: str = option(
        "fidelity",
        "What a level chosen by the field is for: fidelity invents less, detail is the field as published",
        choices=AIMS,
    )
    consistency: float = option(
        1.0,
        "How far every step is pulled to agree with the small picture; 1 for clean ones, less for noisy or "
        "compressed ones",
        low=0,
        high=1,
    )


@dataclass(frozen=True)
class FieldSettings(Settings):
    """The recoverable field, where it shall be another than was measured of the prior (Diff-SR, Eq. 8 and
    9).
    """

    omega: float = option(
        0.0, "Weight of the loss that more noise lowers: more chooses higher levels; 0: as measured", low=0
    )
    signature_limit: float = option(
        1.0, "Share of the measured limit C_S that detail may reach", low=0.01, high=100
    )
    fidelity_limit: float = option(
        1.0, "Share of the measured limit C_F that detail may reach", low=0.01, high=100
    )

    def applied(self, prior: Prior) -> Prior:
        """The prior with such a field. Raises ValueError where nothing was measured."""
        if self == FieldSettings():
            return prior
        measured = prior.measured
        if measured is None:
            raise ValueError(
                "this prior's errors were never measured, so that its field has no limits: run `priorsr "
                "calibrate` on its file"
            )
        weights = {"omega": self.omega, "faithful": self.omega} if self.omega else {}
        changed = replace(
            measured,
            **weights,
            max_signature=self.signature_limit * measured.max_signature,
            max_fidelity=self.fidelity_limit * measured.max_fidelity,
        )
        return replace(cast(Any, prior), measured=changed)


PUBLISHED = DiffSRSettings(
    sampler="ddim", eta=0.0, aim="detail", consistency=0.0
)  # nothing but the start holds the result to the picture


def start_of(levels: Sequence[Level], percent: float) -> int:
    """The step that a noise level in percent of the schedule means."""
    return min(max(round(percent / 100 * len(levels)), 1), len(levels)) - 1


def diffsr(
    prior: Prior,
    enlarged: Tensor,
    levels: Sequence[Level],
    transition: Transition = DDIM(),
    hooks: Sequence[Hook] = (),
    noise: Draw | None = None,
    on_step: Callable[[Step, Tensor], None] | None = None,
    denoiser: Denoiser | None = None,
) -> Tensor:
    """B C H W in -1..1 from an enlarged picture in -1..1, started at levels[0]; denoiser runs in the prior's
    place, such as tiles.
    """
    noise = noise or Noise([0] * len(enlarged))
    start = levels[0].alpha * enlarged + levels[0].sigma * noise(enlarged.shape).to(enlarged)
    return run(denoiser or prior, start, levels, transition, [ClipX0(), *hooks], noise, on_step=on_step)


def choose_level(
    prior: Prior, low: Tensor, scale: float, distance: float | None = None, aim: str = "fidelity"
) -> RecoverableField:
    """The recoverable field of pictures B C h w in 0..1 that are enlarged by `scale`; a batch gets that of
    its mean loss. `empty` is that of the published field whatever the aim.

    distance: mean square between the enlarged and the true picture in -1..1 where the truth is known; else it
    is estimated from the pictures and from what the prior's own lose. Raises ValueError when the prior's
    errors were never measured.
    """
    if prior.measured is None:
        raise ValueError(
            "this prior's errors were never measured: run `priorsr calibrate` on its file, or give the "
            "noise level in percent"
        )
    if distance is None:
        seen = to_prior_channels(prior.channels, low, enlarged_size(size_of(low), scale))[0]
        distance = float(lost_energy(seen * 2 - 1, scale).mean())
        if (expected := prior.measured.expected_loss(scale)) and scale > 1:
            distance = math.sqrt(distance * expected)  # both are off by about 2 dB, and not together
    levels = prior.noise_levels()
    published = recoverable_field(levels, prior.measured, distance)
    if aim == "detail":
        return published
    return replace(recoverable_field(levels, prior.measured.aimed(aim), distance), empty=published.empty)


def diffsr_upscale(
    prior: Prior,
    low: Tensor,
    scale: float,
    settings: DiffSRSettings = DiffSRSettings(),
    canvas: TileSettings = TileSettings(),
    seeds: Sequence[int] | None = None,
    on_step: Callable[[Step, Tensor], None] | None = None,
    report: Callable[[int, str], None] | None = None,
) -> Tensor:
    """Enlarge B C h w in 0..1 (C is 1 or 3) by any real `scale` of 1 or more; pictures beyond the prior's
    size are tiled.

    A one-channel prior restores luma and enlarges chroma bicubically. seeds: one an image, 0 for all by
    default. Pictures whose chosen levels agree are computed together. report(i, message) tells what was
    chosen for picture i, and warns of pictures that are unlike the prior's own. Raises ValueError.
    """
    seeds = noise_for(low, seeds).seeds
    table = prior.noise_levels()
    tiles = canvas.tiles(prior)
    say = report or (lambda i, text: None)
    check_enlargement(low, scale)
    for i, warning in enumerate(ood_warnings(prior, low, scale) if report else ()):
        if warning:
            say(i, warning)
    starts = [_start(prior, low[i : i + 1], scale, settings, partial(say, i)) for i in range(len(low))]

    def restore(shown: Tensor, size: tuple[int, int], sides: tuple[int, int]) -> Tensor:
        enlarged = padded(resize(shown, size).clamp(0, 1), sides) * 2 - 1
        reduce = ReduceTo(size_of(low), size)
        result = torch.empty_like(enlarged)
        for start in sorted(set(starts)):
            group = [i for i, s in enumerate(starts) if s == start]
            agree = Consistency(reduce, shown[group] * 2 - 1, settings.consistency)
            result[group] = diffsr(
                prior,
                enlarged[group],
                spaced_levels(table, start, settings.steps),
                STEPPERS[settings.sampler](settings.eta),
                [agree] if settings.consistency else [],
                Noise([seeds[i] for i in group]),
                on_step,
                tiles,
            ).to(result)
        return (result + 1) / 2

    return enlarge(low, scale, prior.channels, prior.multiple, restore)


def _start(
    prior: Prior, low: Tensor, scale: float, settings: DiffSRSettings, say: Callable[[str], None]
) -> int:
    if settings.level:
        return start_of(prior.noise_levels(), settings.level)
    field = choose_level(prior, low, scale, aim=settings.aim)
    say(f"noise level {100 * field.share:.0f} %")
    if field.empty:
        say(
            f"no level keeps this picture and restores it at x{scale:g}: the least bad one is used; expect "
            "invented detail"
        )
    return field.chosen
