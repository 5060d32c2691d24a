"""Up- and downsampling by 2 with a small FIR filter, the resampling of StyleGAN, NCSN++ and EDM."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def fir_kernel(taps: Sequence[float]) -> Tensor:
    """The outer product of a 1-d filter with itself, summing to one, 1 1 n n (n even:

    `[1, 1]` box, `[1, 3, 3, 1]` smooth).

    Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models (2022), appendix
    F.
    """
    if not taps or len(taps) % 2 or not sum(taps):
        raise ValueError(
            f"a resampling filter needs an even number of taps with a nonzero sum, not {list(taps)}: use "
            "[1, 1] or [1, 3, 3, 1]"
        )
    line = torch.tensor([float(t) for t in taps])
    return (torch.outer(line, line) / sum(taps) ** 2)[None, None]


def fir_reach(kernel: Tensor) -> int:
    """Zero padding that makes resampling by `kernel` (1 1 n n) exactly double or halve a size."""
    return (kernel.shape[-1] - 1) // 2


def fir_up(x: Tensor, kernel: Tensor) -> Tensor:
    """Double both sides: zeros between the pixels, then the filter. B C H W to B C 2H 2W; brightness is
    kept.
    """
    weight = 4 * kernel.to(x)  # three of four filtered pixels are zeros
    return F.conv_transpose2d(
        x, weight.expand(x.shape[1], -1, -1, -1), stride=2, padding=fir_reach(kernel), groups=x.shape[1]
    )


def fir_down(x: Tensor, kernel: Tensor, padding: int | None = None) -> Tensor:
    """Halve both sides: the filter at every second pixel.

    B C H W to B C H/2 W/2; `padding` None keeps the grid centred.
    """
    padding = fir_reach(kernel) if padding is None else padding
    return F.conv2d(
        x, kernel.to(x).expand(x.shape[1], -1, -1, -1), stride=2, padding=padding, groups=x.shape[1]
    )


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept from a node must serve gradients later
def fir_filter(taps: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """The kernel where a network without a buffer for it needs it, made once."""
    return fir_kernel(taps).to(device, dtype)
