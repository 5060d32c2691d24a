"""Diffusion posterior sampling on discrete priors (Chung et al., ICLR 2023)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ...samplers.denoiser import Denoiser
from ...samplers.guidance.measurement import MeasurementGuidance
from ...samplers.hooks import ClipX0
from ...samplers.noise import Noise
from ...samplers.run import Draw, Hook, Step, run
from ...samplers.transition import DDIM, DDPM
from ..priors.adm import ADMPrior
from ..settings import Settings, option


@dataclass(frozen=True)
class DPSSettings(Settings):
    """How the measurement guides the prior."""

    sampler: str = option("ddpm", "Ancestral steps, or implicit ones", choices=("ddpm", "ddim"))
    respacing: str = option("", "Which of the trained steps are taken: all, or 250, 10,10, ddim25")
    eta: float = option(0.0, "Randomness of ddim, 0 none", low=0, high=1)
    guidance: float = option(
        0.3,
        "Step along the gradient of the residual; in 1000 steps 0.3 for reduction and blur, 0.5 for "
        "missing pixels; in fewer more",
        low=0,
    )
    squared: bool = option(False, "The squared residual of the paper in place of the norm of its code")
    joint: bool = option(False, "One norm over the whole batch as released, which couples its images")


def guide(y: Tensor, operator: Callable[[Tensor], Tensor], settings: DPSSettings) -> list[Hook]:
    """The hooks that make any run a posterior one: x0 kept in -1..1, then the measurement."""
    return [
        ClipX0(),
        MeasurementGuidance(operator, y, settings.guidance, settings.squared, joint=settings.joint),
    ]


def dps(
    prior: ADMPrior,
    y: Tensor,
    operator: Callable[[Tensor], Tensor],
    size: tuple[int, int],
    settings: DPSSettings = DPSSettings(),
    noise: Draw | None = None,
    hooks: tuple[Hook, ...] = (),
    on_step: Callable[[Step, Tensor], None] | None = None,
    denoiser: Denoiser | None = None,
) -> Tensor:
    """Restore B C H W in -1..1 from y = operator(x) plus noise, y in the same units; `hooks` see each step
    before the guidance. denoiser runs in the prior's place, for example tiles around it.

    Raises ValueError when y and the operator disagree in size.
    """
    noise = noise or Noise([0] * len(y))
    clip, measurement = guide(y, operator, settings)
    start = noise((len(y), y.shape[1], *size)).to(y)
    transition = DDPM() if settings.sampler == "ddpm" else DDIM(settings.eta)
    levels = prior.schedule.respace(settings.respacing).levels()
    return run(
        denoiser or prior, start, levels, transition, [clip, *hooks, measurement], noise, on_step=on_step
    )
