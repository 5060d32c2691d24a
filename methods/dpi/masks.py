"""Where DPI's conditions lie: a fixed sparse grid, and a random part of it that follows the edges (Yang et
al. 2025, Eq. 10-14).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ...samplers.noise import Noise
from ...samplers.run import Draw
from ..imaging.resize import resize, size_of

GREY = (0.2989, 0.587, 0.114)  # of red, green and blue, as published
FLAT = 5e-6  # edges that differ less, on pixels in -1..1, differ by rounding
AHEAD = 16_384  # values of a picture that are drawn at once: more would cost memory and time
SENTINEL = 1e-6  # what the released code writes off the grid, where this package has zeros and a mask


def check_grid(size: tuple[int, int], k: int) -> None:
    """Raises ValueError unless every k-th row and column of a picture make a grid of whole cells."""
    if k < 2:
        raise ValueError(f"a grid of every {k}th pixel leaves nothing to restore: give a k of 2 or more")
    if size[0] % k or size[1] % k:
        raise ValueError(
            f"k {k} does not divide the picture of {size[0]} x {size[1]}: choose another k, or pad the "
            f"picture to multiples of {k}"
        )


def on_grid(x: Tensor, k: int) -> Tensor:
    """The pixels of ... H W that lie on the grid, ... ceil(H/k) ceil(W/k) (Eq. 12); a view."""
    return x[..., ::k, ::k]


def fixed_mask(size: tuple[int, int], k: int, device: torch.device | None = None) -> Tensor:
    """m_f of Eq. 10: true where row and column are multiples of k, 1 1 H W."""
    mask = torch.zeros(1, 1, *size, dtype=torch.bool, device=device)
    on_grid(mask, k).fill_(True)
    return mask


def sparse(values: Tensor, k: int, off_grid: float = 0.0) -> Tensor:
    """Values on a grid (... h w) as a picture that is `off_grid` elsewhere, ... kh kw; of a base condition
    this is y_T (Eq. 11).
    """
    x = values.new_full((*values.shape[:-2], values.shape[-2] * k, values.shape[-1] * k), off_grid)
    on_grid(x, k).copy_(values)
    return x


def base_condition(low: Tensor, size: tuple[int, int], k: int) -> Tensor:
    """I_bc: the low-resolution picture B C h w enlarged bicubically to the grid of a picture of `size`, B C
    H/k W/k.

    Raises ValueError when k does not divide the size or the picture is larger than the grid.
    """
    check_grid(size, k)
    grid = (size[0] // k, size[1] // k)
    if low.shape[-2] > grid[0] or low.shape[-1] > grid[1]:
        raise ValueError(
            f"a picture of {low.shape[-2]} x {low.shape[-1]} is larger than the grid of every {k}th pixel "
            f"in {size[0]} x {size[1]}: "
            "enlarge more, choose a smaller k, or reduce the picture first"
        )
    return low if size_of(low) == grid else resize(low, grid)


def grey(y: Tensor) -> Tensor:
    """Luma of RGB, B 1 h w; the mean of any other number of channels."""
    if y.shape[1] != 3:
        return y if y.shape[1] == 1 else y.mean(1, keepdim=True)
    return (y * _luma(y.dtype, y.device)).sum(1, keepdim=True)


@lru_cache
def _luma(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(GREY, dtype=dtype, device=device).view(1, 3, 1, 1)


def laplacian(x: Tensor) -> Tensor:
    """Four neighbours minus four times the pixel, reflected at the border without repeating it; B 1 h w to
    the same.
    """
    around = F.pad(x, (1, 1, 1, 1), mode="reflect" if min(x.shape[-2:]) > 1 else "replicate")
    return F.conv2d(around, _stencil(x.dtype, x.device))


@lru_cache
def _stencil(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=dtype, device=device).view(1, 1, 3, 3)


def edges(y: Tensor, joint: bool = False, signed: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """The edge map of a condition on the grid (B C h w), B 1 h w; where its range begins and where it ends,
    each B 1 1 1.

    The range is that of each picture or, if `joint`, of the batch. It begins a little above the least edge,
    so that a flat picture has nothing within it. signed: edges with their sign as Eq. 13 is printed; else
    their magnitude.
    """
    found = laplacian(grey(y))
    if not signed:
        found.abs_()
    axes = (0, 1, 2, 3) if joint else (1, 2, 3)
    return found, found.amin(axes, keepdim=True) + FLAT, found.amax(axes, keepdim=True)


def chances(y: Tensor, s: float, joint: bool = False, signed: bool = False) -> Tensor:
    """How likely each pixel of a condition is to be kept: p^s of Eq. 13 and 14, B 1 h w in 0..1.

    Arguments as `edges`.
    """
    found, floor, top = edges(y, joint, signed)
    return ((found - floor).clamp_(min=0) / (top - floor).clamp_(min=1e-12)).pow_(s)


def adaptive_mask(y: Tensor, s: float, uniform: Draw, joint: bool = False, signed: bool = False) -> Tensor:
    """m_a of Eq. 14 on the grid: each pixel true with its chance, B 1 h w. uniform draws values in 0..1; else
    as `edges`.
    """
    found, floor, top = edges(y, joint, signed)
    # u < p^s, solved for the edge: fewer passes than `chances`
    return torch.lerp(floor, top, uniform(found.shape).to(found).pow(1 / s)) < found


def compounded(chance: Tensor, weight: float, steps: float, uniform: Draw) -> tuple[Tensor, Tensor]:
    """What `steps` draws of a mask one after another hold, in one: where any of them does, and the share that
    they hold together.

    chance: that of one draw, B 1 h w in 0..1; weight: what one holds, 0..1. Shares B 1 h w in 0..1, 0 off the
    mask; their mean over masks is that of the single draws.
    """
    some, together = (
        -torch.expm1(steps * torch.log1p(-x)) for x in (chance, weight * chance)
    )  # 1 - (1 - x)^steps, exact for small x
    mask = uniform(chance.shape).to(chance) < some
    return mask, (together / some).masked_fill_(~mask, 0)


class UniformDraws:
    """Uniform values in 0..1; small draws are made several at a time, which costs less."""

    def __init__(self, noise: Noise):
        self.noise = noise
        self._ahead: list[Tensor] = []

    def __call__(self, shape: Sequence[int]) -> Tensor:
        if not self._ahead or self._ahead[-1].shape != tuple(shape):
            count = max(
                1, AHEAD // math.prod(shape[1:])
            )  # no matter how many pictures: a batch draws what its pictures would alone
            self._ahead = list(self.noise.uniform((shape[0], count, *shape[1:])).unbind(1))
        return self._ahead.pop()
