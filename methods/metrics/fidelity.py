"""Full-reference image quality: PSNR, SSIM and mean absolute error, one figure per image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..device import doubled
from ..imaging.color import luma

STRIP = 2**18  # pixels
WINDOW, SIGMA = 11, 1.5  # Wang et al. 2004, section III.B


def psnr(a: Tensor, b: Tensor, peak: float = 1.0) -> Tensor:
    """Peak signal-to-noise ratio in dB over each image of a batch B C H W; infinite for equal images."""
    _same(a, b)
    error = (doubled(a) - doubled(b)).square().flatten(1).mean(1)
    return 10 * torch.log10(peak**2 / error)


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
    return (doubled(a) - doubled(b)).abs().flatten(1).mean(1)


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
    from kornia.filters import get_gaussian_kernel1d  # which takes half a second

    rows, score = a.shape[-2] - WINDOW + 1, doubled(a.new_zeros(len(a)))
    kernel = get_gaussian_kernel1d(WINDOW, SIGMA, device=score.device, dtype=torch.float64)
    strip = max(1, STRIP // a.shape[-1])  # large pictures in strips, which bounds memory
    for i in range(0, rows, strip):
        one, other = (doubled(x[..., i : i + strip + WINDOW - 1, :]) for x in (a, b))
        score = score + _similarity(one, other, kernel, peak).flatten(1).sum(1)
    return score / (a[0].numel() // a.shape[-2] // a.shape[-1] * rows * (a.shape[-1] - WINDOW + 1))


def _similarity(a: Tensor, b: Tensor, kernel: Tensor, peak: float) -> Tensor:
    """The score of every whole window."""
    from kornia.filters import filter2d_separable

    means = filter2d_separable(torch.cat([a, b, a * a, b * b, a * b], 1), kernel, kernel, padding="valid")
    mean_a, mean_b, aa, bb, ab = means.chunk(5, 1)
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    covariance, variances = ab - mean_a * mean_b, aa - mean_a**2 + bb - mean_b**2
    return (
        (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
    )


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
        x = luma(x * 255) / 255
    if min(x.shape[-2:]) <= 2 * border:
        raise ValueError(f"a border of {border} leaves nothing of an image of {x.shape[-2]}x{x.shape[-1]}")
    x = x[..., border : x.shape[-2] - border, border : x.shape[-1] - border]
    return (x * 255).clamp(0, 255).round() / 255 if eight_bit else x


def _same(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(
            f"the images differ in size: {tuple(a.shape)} against {tuple(b.shape)}; resize one of them first"
        )
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise ValueError("an image holds NaN or infinite values: no figure can be given")
