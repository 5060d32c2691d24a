"""Errors and amplitudes by frequency, computed on the processor."""

from __future__ import annotations

import torch
from torch import Tensor

from ..imaging.images import check_pixels

BANDS = ("low-error", "high-error")
SPLIT = 1 / 8  # cycles a pixel along each side: what a reduction by 4 can hold


def band_errors(result: Tensor, truth: Tensor) -> tuple[float, float]:
    """Root mean square of the difference of 1 C H W in 0..1, in levels of 255, at frequencies of up to 1/8
    cycles a pixel along both sides, and at all others.

    The squares of both add up to those of the whole difference. Source: Diff-SR, appendix E. Raises
    ValueError for sizes that differ.
    """
    if result.shape != truth.shape:
        raise ValueError(f"the images differ in size: {tuple(result.shape)} against {tuple(truth.shape)}")
    power = torch.fft.fft2(255 * (result - truth).cpu().double(), norm="ortho").abs().square()
    inside = _inside(power)
    low, high = (float((power * mask).sum() / power.numel()) ** 0.5 for mask in (inside, ~inside))
    return low, high


def amplitudes(x: Tensor, bands: int = 32) -> tuple[Tensor, Tensor]:
    """Mean amplitude of luma of B 1 H W in 0..1 by radius, and those radii in cycles a pixel, `bands` of them
    up to 0.5, which is Nyquist's.
    """
    check_pixels(x)
    power = torch.fft.fft2(x.cpu().double(), norm="ortho").abs().mean((0, 1))
    radius = torch.hypot(*torch.meshgrid(*_cycles(power), indexing="ij"))
    place = (radius * 2 * bands).long()
    kept = place < bands
    total = torch.zeros(bands, dtype=torch.float64, device="cpu").index_add_(0, place[kept], power[kept])
    count = torch.zeros(bands, dtype=torch.float64, device="cpu").index_add_(
        0, place[kept], torch.ones_like(power[kept])
    )
    seen = count > 0
    radii = (torch.arange(bands, device="cpu") + 0.5) / (2 * bands)
    return (total / count.clamp(min=1))[seen], radii[seen]


def _inside(x: Tensor) -> Tensor:
    down, across = _cycles(x)
    return (down.abs()[:, None] <= SPLIT) & (across.abs()[None] <= SPLIT)


def _cycles(x: Tensor) -> tuple[Tensor, Tensor]:
    down, across = (torch.fft.fftfreq(n, dtype=torch.float64, device="cpu") for n in x.shape[-2:])
    return down, across
