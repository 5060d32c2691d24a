"""ILVR: the low frequencies of every state are those of the noised reference (Choi et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ...samplers.denoiser import Denoiser
from ...samplers.hooks import ClipX0
from ...samplers.run import Draw, Hook, Step, run
from ...samplers.transition import DDPM
from ..imaging.canvas import padded
from ..imaging.resize import resize, size_of
from ..priors.measured import OPERATORS, Measured, measured_method
from ..priors.prior import Prior
from ..settings import Settings, option


@dataclass(frozen=True)
class ILVRSettings(Settings):
    """How the picture holds the prior."""

    operator: str = option("bicubic", "Filter that parts low from high frequencies", choices=OPERATORS)
    respacing: str = option("100", "Which of the trained steps are taken: all, or 250, 10,10, ddim20")
    free: float = option(
        0.0, "Share of the steps, in percent and the last ones, that nothing holds", low=0, high=100
    )


@dataclass
class Refinement(Hook):
    """x + phi(y_t - x) after every step that ends at `until` or more noise, y_t being the reference y noised
    alike (Eq. 8); phi is a low-pass.
    """

    y: Tensor
    low_pass: Callable[[Tensor], Tensor]
    noise: Draw
    until: float = 0.0

    def state(self, step: Step, x: Tensor) -> Tensor:
        nxt = step.nxt
        if nxt.sigma < self.until:
            return x
        y = nxt.alpha * self.y
        if nxt.sigma:
            y = y + nxt.sigma * self.noise(x.shape).to(x)
        return x + self.low_pass(y - x)


def low_pass(operator: str, small: tuple[int, int], size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """phi_N: reduced to `small` and enlarged again the part `size` of what comes in; its rim is left out."""
    down, up = ("bicubic", "bicubic") if operator == "bicubic" else ("area", "nearest")

    def apply(x: Tensor) -> Tensor:
        shown = resize(resize(x[..., : size[0], : size[1]], small, method=down), size, method=up)
        return padded(shown, size_of(x))

    return apply


def ilvr(
    prior: Prior,
    y: Tensor,
    task: Measured,
    settings: ILVRSettings = ILVRSettings(),
    denoiser: Denoiser | None = None,
) -> Tensor:
    """Restore B C sides in -1..1 from its reduction y, B C h w in -1..1; denoiser runs in the prior's place.

    Raises ValueError.
    """
    levels = prior.spaced_levels(settings.respacing)
    held = round((len(levels) - 1) * (1 - settings.free / 100))
    up = "bicubic" if settings.operator == "bicubic" else "nearest"
    reference = padded(resize(y, task.size, method=up), task.sides)
    phi = low_pass(settings.operator, size_of(y), task.size)
    refine = Refinement(reference, phi, task.noise, levels[held].sigma)
    start = levels[0].sigma * task.noise((*y.shape[:2], *task.sides)).to(y)
    hooks = [ClipX0(), *([refine] if held else [])]
    return run(denoiser or prior, start, levels, DDPM(), hooks, task.noise, on_step=task.on_step)


METHOD = measured_method(
    "ilvr",
    "PriorSRUpscaleILVR",
    "ILVR Super-Resolution",
    "Enlarge images with any diffusion prior whose low frequencies are replaced by the picture's in every "
    "step (Choi et al. 2021).",
    ILVRSettings,
    ilvr,
)
