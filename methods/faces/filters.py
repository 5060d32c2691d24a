"""Filters of masks and pictures as OpenCV defines them:

Gaussians by size, erosion, reflected borders. All B C H W.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..imaging.filters import blur, reflected

SMALL = {
    1: (1,),
    3: (1, 2, 1),
    5: (1, 4, 6, 4, 1),
    7: (2, 7, 14, 18, 14, 7, 2),
}  # taps that OpenCV has tables for, not summing to 1 here


def gaussian_taps(size: int, sigma: float | None = None) -> Tensor:
    """`size` (odd) taps summing to 1, float64; without a sigma that of OpenCV: a table up to 7 taps, then
    0.15 size + 0.35.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a Gaussian of {size} taps has no centre: give an odd number")
    if sigma is None and size in SMALL:
        taps = torch.tensor(SMALL[size], dtype=torch.float64, device="cpu")
    else:
        sigma = 0.15 * size + 0.35 if sigma is None else sigma
        taps = torch.exp(
            -0.5 * ((torch.arange(size, dtype=torch.float64, device="cpu") - size // 2) / sigma) ** 2
        )
    return taps / taps.sum()


def smooth(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter both axes with the same symmetric taps, borders reflected without their edge.

    Sums run in OpenCV's order: what a mask of ones becomes, exactly 1 or a rounding beside it, decides where
    a published picture was truncated.
    """
    taps: list[float] = kernel.to(x.dtype).tolist()
    reach = len(taps) // 2
    height, width = x.shape[-2:]
    wide = x[..., reflected(width, reach).to(x.device)]
    rows = wide[..., :width] * taps[0]
    for j, tap in enumerate(taps[1:], 1):
        rows.add_(wide[..., j : j + width], alpha=tap)
    tall = rows[..., reflected(height, reach).to(x.device), :]
    out = tall[..., reach : reach + height, :] * taps[reach]
    for j in range(1, reach + 1):
        out.add_(
            tall[..., reach - j : reach - j + height, :] + tall[..., reach + j : reach + j + height, :],
            alpha=taps[reach + j],
        )
    return out


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter with a symmetric k x k kernel, borders reflected without their edge."""
    return blur(x.flatten(0, 1), kernel).reshape(x.shape)


def erode(x: Tensor, size: int) -> Tensor:
    """The least value of size x size pixels around each, half of an even size reaching one further up and
    left.

    What lies outside the picture does not count.
    """
    before, after = size // 2, size - 1 - size // 2
    x = F.pad(-x, (before, after, before, after), value=-torch.inf)
    return -F.max_pool2d(F.max_pool2d(x, (size, 1), stride=1), (1, size), stride=1)


def dilate(x: Tensor, size: int) -> Tensor:
    """The greatest value of size x size pixels around each."""
    return -erode(-x, size)
