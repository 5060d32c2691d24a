"""RePaint: the small picture's pixels stand where they were taken, the prior paints those between (Lugmayr et
al., CVPR 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...samplers.denoiser import Denoiser
from ...samplers.hooks import ClipX0
from ...samplers.run import Draw, Hook, Step
from ...samplers.transition import DDPM
from ...samplers.travel import travel
from ..imaging.resize import resize, size_of
from ..priors.measured import Measured, measured_method
from ..priors.prior import Prior
from ..settings import Settings, option


@dataclass(frozen=True)
class RePaintSettings(Settings):
    """How often the prior paints; all three are the paper's."""

    respacing: str = option("250", "Which of the trained steps are taken: all, or 250, 10,10, ddim20")
    length: int = option(10, "Steps that are gone back", low=1, high=1000)
    repeats: int = option(10, "How often each stretch of them is walked", low=1, high=100)


@dataclass
class Known(Hook):
    """After every step what is known (mask 1) is the true picture at that level of noise (Eq. 8)."""

    y: Tensor
    mask: Tensor
    noise: Draw

    def state(self, step: Step, x: Tensor) -> Tensor:
        known = step.nxt.alpha * self.y
        if step.nxt.sigma:
            known = known + step.nxt.sigma * self.noise(x.shape).to(x)
        return torch.where(self.mask, known, x)


def sampled_mask(small: tuple[int, int], size: tuple[int, int], sides: tuple[int, int]) -> Tensor:
    """Where the pixels of a picture that was made small by leaving out others stood: bool H W of `sides`.

    They are those whose centres lie nearest to the small ones' centres.
    """
    lines = []
    for few, many, side in zip(small, size, sides, strict=True):
        line = torch.zeros(side, dtype=torch.bool, device="cpu")
        line[((torch.arange(few, device="cpu") + 0.5) * many / few).long().clamp(max=many - 1)] = True
        lines.append(line)
    return lines[0][:, None] & lines[1][None]


def repaint(
    prior: Prior,
    y: Tensor,
    task: Measured,
    settings: RePaintSettings = RePaintSettings(),
    denoiser: Denoiser | None = None,
) -> Tensor:
    """Restore B C sides in -1..1 from every so many-th of its pixels y, B C h w in -1..1; denoiser runs in
    the prior's place. Raises ValueError.
    """
    levels = prior.spaced_levels(settings.respacing)
    mask = sampled_mask(size_of(y), task.size, task.sides).to(y.device)
    known = torch.zeros(*y.shape[:2], *task.sides, dtype=y.dtype, device=y.device)
    known[..., : task.size[0], : task.size[1]] = resize(y, task.size, method="nearest")
    start = levels[0].sigma * task.noise(known.shape).to(y)
    hooks = [ClipX0(), Known(known, mask, task.noise)]
    return travel(
        denoiser or prior,
        start,
        levels,
        DDPM(),
        hooks,
        task.noise,
        task.on_step,
        settings.length,
        settings.repeats,
    )


METHOD = measured_method(
    "repaint",
    "PriorSRUpscaleRePaint",
    "RePaint Super-Resolution",
    "Enlarge images that were made small by leaving out pixels: those that are there stay, a diffusion prior "
    "paints the others, again and again (Lugmayr et al. 2022).",
    RePaintSettings,
    repaint,
)
