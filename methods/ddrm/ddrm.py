"""DDRM: a picture sampled in the singular basis of the measurement (Kawar et al., NeurIPS 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...samplers.denoiser import Denoiser
from ...samplers.hooks import ClipX0
from ...samplers.run import Draw, Hook, Predict, Step, run
from ...samplers.schedule import Level
from ..imaging.resize import Resampler
from ..priors.prior import Prior
from ..settings import Settings, option

SMALLEST = 0.03  # singular values below it count as 0, as released


@dataclass(frozen=True)
class DDRMSettings(Settings):
    """What reduced the picture, and how randomly it is restored; the defaults are the paper's."""

    operator: str = option(
        "bicubic", "What made the picture small: cubic reduction, or means", choices=("bicubic", "average")
    )
    noise: float = option(0.0, "Standard deviation of its noise, in levels of 255", low=0, high=255)
    respacing: str = option("20", "Which of the trained steps are taken: all, or 250, 10,10, ddim20")
    eta: float = option(0.85, "Randomness of what the picture does not tell", low=0, high=1)
    eta_b: float = option(1.0, "How far each step goes to what the picture tells", low=0, high=1)


@dataclass(frozen=True)
class SeparableSVD:
    """A = U S V^T of a reduction that treats rows and columns apart: the singular vectors of each, h h and H
    H, and the singular values H W of both together, 0 where nothing is measured.
    """

    left: tuple[Tensor, Tensor]
    right: tuple[Tensor, Tensor]
    values: Tensor

    @staticmethod
    def of(rows: Tensor, columns: Tensor, like: Tensor) -> SeparableSVD:
        """Of the matrices h H and w W, in the precision of a tensor and where it is."""
        # on the processor, for not every device has float64
        parts = [torch.linalg.svd(a.cpu().double()) for a in (rows, columns)]
        along = [F.pad(s, (0, len(v) - len(s))) for _, s, v in parts]
        values = torch.outer(*along)
        kept = torch.where(values < SMALLEST * values.max(), 0, values)
        left, right = (tuple(part[i].to(like) for part in parts) for i in (0, 2))
        return SeparableSVD(left, right, kept.to(like))

    def spectral(self, x: Tensor) -> Tensor:
        """V^T x of B C H W."""
        return self.right[0] @ x @ self.right[1].mT

    def pixels(self, z: Tensor) -> Tensor:
        """V z, the way back."""
        return self.right[0].mT @ z @ self.right[1]

    def measured(self, y: Tensor) -> Tensor:
        """S^+ U^T y of B C h w: what a measurement tells, B C H W, 0 where it tells nothing."""
        told = self.left[0].mT @ y @ self.left[1]
        height, width = self.values.shape
        told = F.pad(told, (0, width - told.shape[-1], 0, height - told.shape[-2]))
        return torch.where(self.values > 0, told / self.values.clamp_min(1e-12), 0)


def reduction_matrix(operator: str, size: int, out: int, side: int) -> Tensor:
    """What brings `size` pixels to `out`, as out x side; the rim from `size` to `side` counts for nothing."""
    if operator == "average":
        step = size / out
        start = torch.arange(out, dtype=torch.float32, device="cpu")[:, None] * step
        pixel = torch.arange(size, dtype=torch.float32, device="cpu")[None]
        matrix = (torch.minimum(start + step, pixel + 1) - torch.maximum(start, pixel)).clamp_min(0) / step
    else:
        column = Resampler((size, 1), (out, 1), border="mirror")
        matrix = column(torch.eye(size, dtype=torch.float32, device="cpu")[:, None, :, None])[:, 0, :, 0].mT
    return F.pad(matrix, (0, side - size))


@dataclass(frozen=True)
class Restoration:
    """A transition that holds what is measured, known to the standard deviation `noise`, and lets the prior
    tell the rest (Eq. 7 and 8).
    """

    svd: SeparableSVD
    y: Tensor
    noise: float = 0.0
    eta: float = 0.85
    eta_b: float = 1.0

    def start(self, level: Level, draw: Tensor) -> Tensor:
        """The state at the first level, of standard normal numbers B C H W (Eq. 7, first line)."""
        spread = ((level.sigma / level.alpha) ** 2 - self._doubt() ** 2).clamp_min(0).sqrt()
        return level.alpha * self.svd.pixels(self.svd.measured(self.y) + spread * draw)

    def _doubt(self) -> Tensor:
        """The standard deviation of what is measured along each singular vector."""
        return torch.where(self.svd.values > 0, self.noise / self.svd.values.clamp_min(1e-12), 0)

    def begin(self, levels: Sequence[Level]) -> Callable[[Predict, Tensor, int, Draw], Step]:
        keep, told, doubt = math.sqrt(1 - self.eta**2), self.svd.measured(self.y), self._doubt()
        seen = self.svd.values > 0

        def advance(predict: Predict, x: Tensor, i: int, draw: Draw) -> Step:
            cur, nxt = levels[i], levels[i + 1]
            pred = predict(x, cur)
            sigma = nxt.sigma / nxt.alpha
            sure = seen & (sigma >= doubt)
            x0 = self.svd.spectral(pred.x0)
            unseen = (self.svd.spectral(x) / cur.alpha - x0) * (cur.alpha / cur.sigma)
            doubtful = (told - x0) / doubt.clamp_min(1e-12)
            guess = x0 + keep * sigma * torch.where(seen, doubtful, unseen)
            mean = torch.where(sure, (1 - self.eta_b) * x0 + self.eta_b * told, guess)
            spread = (sigma**2 - (self.eta_b * doubt) ** 2).clamp_min(0).sqrt()
            std = torch.where(sure, spread, self.eta * sigma)
            noise = nxt.alpha * self.svd.pixels(std * draw(x.shape))
            return Step(i, x, cur, nxt, pred, nxt.alpha * self.svd.pixels(mean), std=1.0, noise=noise)

        return advance


def ddrm(
    prior: Prior,
    y: Tensor,
    size: tuple[int, int],
    sides: tuple[int, int],
    noise: Draw,
    settings: DDRMSettings = DDRMSettings(),
    hooks: tuple[Hook, ...] = (),
    on_step: Callable[[Step, Tensor], None] | None = None,
    denoiser: Denoiser | None = None,
) -> Tensor:
    """Restore B C sides in -1..1 from its reduction y, B C h w in -1..1. size: the part of `sides` that was
    reduced; denoiser runs in the prior's place, for example tiles around it. Raises ValueError.
    """
    rows, columns = (
        reduction_matrix(settings.operator, *n) for n in zip(size, y.shape[-2:], sides, strict=True)
    )
    svd = SeparableSVD.of(rows, columns, y)
    restoration = Restoration(svd, y, 2 * settings.noise / 255, settings.eta, settings.eta_b)
    levels = prior.spaced_levels(settings.respacing)
    start = restoration.start(levels[0], noise((*y.shape[:2], *sides)).to(y))
    return run(denoiser or prior, start, levels, restoration, [ClipX0(), *hooks], noise, on_step=on_step)
