"""Full-reference image quality: PSNR, SSIM and mean absolute error, one figure per image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..device import doubled
from ..imaging.color import luma
from ..imaging.images import is_finite
from ..imaging.strips import by_strips, strips

STRIP = 2**18  # pixels
WINDOW, SIGMA = 11, 1.5  # Wang et al. 2004, section III.B


def psnr(a: Tensor, b: Tensor, peak: float = 1.0) -> Tensor:
    """Peak signal-to-noise ratio in dB over each image of a batch B C H W; infinite for equal images."""
    _same(a, b)
    return 10 * torch.log10(peak**2 / _mean(a, b, torch.square))


def psnr_uint8_wraparound(a: Tensor, b: Tensor) -> Tensor:
    """The figure that uint8 arithmetic gives when difference and square wrap modulo 256: too high, never
    below 24 dB.

    It explains the tables of a published notebook (VisionRefine) and measures nothing.
    """
    _same(a, b)
    wrapped = (a.int() - b.int()) % 256
    error = doubled(wrapped.square() % 256).flatten(1).mean(1)
    return 10 * torch.log10(255**2 / error)


def mae(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute error over each image of a batch, in the images' own unit."""
    _same(a, b)
    return _mean(a, b, torch.abs)


def ssim(a: Tensor, b: Tensor, peak: float = 1.0) -> Tensor:
    """Structural similarity of each image of a batch B C H W:

    Gaussian window, valid part, mean over channels.

    Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004, Eq. 13 with K1 = 0.01, K2 = 0.03. Raises ValueError for
    images smaller than the window.
    """
    _same(a, b)
    if min(a.shape[-2:]) < WINDOW:
        raise ValueError(
            f"SSIM needs at least {WINDOW}x{WINDOW} pixels, these images have {a.shape[-2]}x{a.shape[-1]}"
        )
    rows, score = a.shape[-2] - WINDOW + 1, doubled(a.new_zeros(len(a)))
    strip = max(1, STRIP // a.shape[-1])  # large pictures in strips, which bounds memory
    for i in range(0, rows, strip):
        one, other = (doubled(x[..., i : i + strip + WINDOW - 1, :]) for x in (a, b))
        score = score + _similarity(one, other, peak).flatten(1).sum(1)
    return score / (a[0].numel() // a.shape[-2] // a.shape[-1] * rows * (a.shape[-1] - WINDOW + 1))


def _mean(a: Tensor, b: Tensor, of: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean over each image of what `of` makes of the difference."""
    pairs = zip(strips(a), strips(b), strict=True)
    sums = torch.stack([of(doubled(x) - doubled(y)).flatten(1).sum(1) for x, y in pairs])
    return sums.sum(0) / a[0].numel()


def _similarity(a: Tensor, b: Tensor, peak: float) -> Tensor:
    """The score of every whole window."""
    mean_a, mean_b, aa, bb, ab = (_windowed(x) for x in (a, b, a * a, b * b, a * b))
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    covariance, variances = ab - mean_a * mean_b, aa - mean_a**2 + bb - mean_b**2
    return (
        (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
    )


def _windowed(x: Tensor) -> Tensor:
    """The mean in every whole window, weighted by the Gaussian."""
    weights = [math.exp(-0.5 * ((i - WINDOW // 2) / SIGMA) ** 2) for i in range(WINDOW)]
    for dim in (-1, -2):
        size = x.shape[dim] - WINDOW + 1
        means = x.narrow(dim, 0, size) * (weights[0] / sum(weights))
        for i in range(1, WINDOW):
            means.add_(x.narrow(dim, i, size), alpha=weights[i] / sum(weights))
        x = means
    return x


@dataclass(frozen=True)
class Metric:
    """A figure of merit for two batches of equal size in 0..1: one value an image, times `unit`; None below
    `smallest` pixels.
    """

    measure: Callable[[Tensor, Tensor], Tensor]
    unit: float = 1.0
    smallest: int = 1

    def __call__(self, a: Tensor, b: Tensor) -> list[float | None]:
        if min(a.shape[-2:]) < self.smallest:
            return [None] * len(a)
        return (self.measure(a, b) * self.unit).tolist()


METRICS = {"psnr": Metric(psnr), "ssim": Metric(ssim, smallest=WINDOW), "mae": Metric(mae, unit=255)}


def prepare(x: Tensor, channels: str = "rgb", border: int = 0, eight_bit: bool = False) -> Tensor:
    """An image batch in 0..1 ready to compare:

    `rgb` or BT.601 `luma`, `border` pixels cut, optionally rounded to 8 bits.
    """
    if channels not in ("rgb", "luma"):
        raise ValueError(f"cannot compare {channels!r}: choose rgb or luma")
    if channels == "luma":
        x = by_strips(lambda part: luma(part * 255) / 255, x)
    if min(x.shape[-2:]) <= 2 * border:
        raise ValueError(f"a border of {border} leaves nothing of an image of {x.shape[-2]}x{x.shape[-1]}")
    x = x[..., border : x.shape[-2] - border, border : x.shape[-1] - border]
    return by_strips(lambda part: (part * 255).clamp(0, 255).round() / 255, x) if eight_bit else x


def _same(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(
            f"the images differ in size: {tuple(a.shape)} against {tuple(b.shape)}; resize one of them first"
        )
    if not (is_finite(a) and is_finite(b)):
        raise ValueError("an image holds NaN or infinite values: no figure can be given")
