"""EDM-based diffusion posterior sampling (VisionRefine, Algorithm 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ...samplers.denoiser import Denoiser
from ...samplers.guidance.measurement import MeasurementGuidance
from ...samplers.karras import Heun
from ...samplers.noise import Noise
from ...samplers.run import Draw, Hook, Step, run
from ...samplers.schedule import c_noise
from ..device import widest
from ..priors.edm import EDMPrior
from ..settings import Settings, option


@dataclass(frozen=True)
class EDMDPSSettings(Settings):
    """How a measurement guides an EDM prior."""

    steps: int = option(100, "Levels of the Heun sampler; two network calls each", low=1, high=10_000)
    zeta: float = option(40.0, "Step along the gradient of the residual", low=0)
    weight: str = option(
        "inverse",
        "inverse scales the residual by the mean of 1/abs(y) as released; plain does not",
        choices=("inverse", "plain"),
    )
    joint: bool = option(False, "One norm over the whole batch as released, which couples its images")
    sigma_min: float = option(0.002, "Smallest noise level", low=0)
    sigma_max: float = option(80.0, "Largest noise level", low=0)
    rho: float = option(7.0, "How the levels crowd towards the smallest", low=0.1, high=100)
    churn: float = option(0.0, "Fresh noise along the way (S_churn)", low=0)
    churn_min: float = option(0.0, "Smallest level that is churned", low=0)
    churn_max: float = option(1e10, "Largest level that is churned", low=0)
    churn_noise: float = option(1.0, "Scale of the fresh noise", low=0, high=2)
    squared: bool = option(
        False, "The squared residual, as Algorithm 3 is printed, in place of the norm as released"
    )
    guide_last: bool = option(True, "Guide the last step too, as released; Algorithm 3 as printed does not")


PRINTED = EDMDPSSettings(weight="plain", squared=True, guide_last=False)  # Algorithm 3 word for word


def pixels(x: Tensor) -> Tensor:
    """-1..1 to 0..255 as EDM does (128, not 127.5), clipped; take .to(torch.uint8) to truncate."""
    return (x * 127.5 + 128).clamp(0, 255)


def edm_dps(
    prior: EDMPrior,
    y: Tensor,
    operator: Callable[[Tensor], Tensor],
    size: tuple[int, int],
    settings: EDMDPSSettings = EDMDPSSettings(),
    noise: Draw | None = None,
    hooks: tuple[Hook, ...] = (),
    on_step: Callable[[Step, Tensor], None] | None = None,
    denoiser: Denoiser | None = None,
) -> Tensor:
    """Restore B C H W in -1..1 (float64 where the device has it) from a measurement y of its pixels in
    0..255; `operator` maps those to y.

    `hooks` run before the guidance; denoiser runs in the prior's place, for example tiles around it. Raises
    ValueError when y and the operator disagree.
    """
    noise = noise or Noise([0] * len(y))
    levels = prior.levels(settings.steps, settings.sigma_min, settings.sigma_max, settings.rho)
    transition = Heun(settings.churn, settings.churn_min, settings.churn_max, settings.churn_noise, c_noise)
    guidance = guide(y, operator, settings)
    start = (
        noise((len(y), prior.network.img_channels, *size)).to(y.device, widest(y.device)) * levels[0].sigma
    )
    return run(denoiser or prior, start, levels, transition, [*hooks, guidance], noise, on_step=on_step)


def guide(y: Tensor, operator: Callable[[Tensor], Tensor], settings: EDMDPSSettings) -> MeasurementGuidance:
    """The guidance hook on its own: the residual is taken in pixels."""
    return MeasurementGuidance(
        lambda x0: operator(pixels(x0)),
        y,
        settings.zeta,
        settings.squared,
        settings.weight,
        joint=settings.joint,
        last=settings.guide_last,
    )
