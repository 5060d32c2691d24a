"""The standard super-resolution benchmark: MATLAB-style bicubic, luma, 8 bits, a border of `scale` cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from ..imaging.color import luma
from ..imaging.resize import modcrop, resize, size_of
from .fidelity import prepare, psnr, ssim

Upscale = Callable[[Tensor, tuple[int, int]], Tensor]  # luma 1 1 h w in 0..1 and the target size to 1 1 H W


@dataclass(frozen=True)
class Score:
    psnr: float
    ssim: float
    seconds: float


def bicubic(low: Tensor, size: tuple[int, int]) -> Tensor:
    return resize(low, size, border="mirror")


def benchmark(upscale: Upscale, images: Iterable[Tensor], scale: int) -> list[Score]:
    """Score an upscaler on RGB or grey images (C H W in 0..1).

    The low-resolution luma keeps its fractions, as in the literature.
    """
    scores = []
    for image in images:
        high = modcrop(
            ((luma(image * 255) if image.shape[0] == 3 else image * 255).round() / 255)[None], scale
        )
        size = size_of(high)
        low = resize(high, (size[0] // scale, size[1] // scale), border="mirror")
        start = time.perf_counter()
        result = upscale(low, size)
        seconds = time.perf_counter() - start
        a, b = (prepare(x, border=scale, eight_bit=True) for x in (result, high))
        scores.append(Score(float(psnr(a, b)), float(ssim(a, b)), seconds))
    return scores
