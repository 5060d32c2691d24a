"""Image against image: figures, a line of text, and a picture that shows the difference."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..imaging.resize import resize, size_of
from ..imaging.strips import by_strips
from .fidelity import METRICS, prepare, psnr


def compare(a: Tensor, b: Tensor, channels: str = "rgb", border: int = 0) -> list[dict[str, float | None]]:
    """Every one of METRICS for each pair of two batches B C H W in 0..1, rounded to 8 bits first; mean error
    in levels of 255.

    Equal images have infinite PSNR; SSIM is None below its window of 11 pixels. Grey and RGB compare as RGB.
    """
    a, b = (prepare(x, channels, border, eight_bit=True) for x in paired(a, b))
    columns = [metric(a, b) for metric in METRICS.values()]
    return [dict(zip(METRICS, row, strict=True)) for row in zip(*columns, strict=True)]


def paired(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two batches image against image: grey beside RGB becomes RGB, a single image meets all of the other
    batch.

    Raises ValueError when sizes or numbers differ.
    """
    channel_count = max(a.shape[1], b.shape[1])
    a, b = (x.expand(-1, channel_count, -1, -1) if x.shape[1] == 1 else x for x in (a, b))
    if a.shape[-2:] != b.shape[-2:]:
        raise ValueError(
            f"the images differ in size: {_size(a)} against {_size(b)}; resize one of them first"
        )
    count = max(len(a), len(b))
    a, b = (x.expand(count, -1, -1, -1) if len(x) == 1 else x for x in (a, b))
    if len(a) != len(b):
        raise ValueError(
            f"cannot pair {len(a)} images with {len(b)}: give equal numbers, or a single reference"
        )
    return a, b


def consistency(result: Tensor, low: Tensor) -> Tensor:
    """PSNR in dB between the bicubically reduced result and the picture it was made from, for each of a
    batch.

    A restoration that invents detail but keeps what was measured scores high.
    """
    if any(r < n for r, n in zip(result.shape[-2:], low.shape[-2:], strict=True)):
        raise ValueError(
            f"the result ({_size(result)}) is smaller than its input ({_size(low)}): nothing to reduce"
        )
    return psnr(resize(result, size_of(low)).clamp(0, 1), low)


def difference(a: Tensor, b: Tensor) -> Tensor:
    """How far two pictures are apart, times four so that it is seen, in 0..1."""
    return by_strips(lambda x, y: ((x - y).abs() * 4).clamp(0, 1), a, b)


def side_by_side(images: list[Tensor], height: int = 384) -> Tensor:
    """C H W pictures next to each other at one height, enlarged by whole pixels so that they are judged as
    they are.
    """
    scaled = []
    for x in images:
        width = max(1, round(x.shape[-1] * height / x.shape[-2]))
        method = "nearest" if x.shape[-2] <= height else "area"
        scaled.append(resize(x, (height, width), method=method))
        scaled.append(torch.ones(x.shape[0], height, 4, dtype=torch.float32, device="cpu"))
    return torch.cat(scaled[:-1], 2)


def describe(figures: dict[str, float | None]) -> str:
    """One line for people."""
    decibel = "equal" if figures["psnr"] == math.inf else f"{figures['psnr']:.2f} dB"
    structure = "too small" if figures["ssim"] is None else f"{figures['ssim']:.4f}"
    return f"PSNR {decibel}, SSIM {structure}, MAE {figures['mae']:.2f}/255"


def _size(x: Tensor) -> str:
    return f"{x.shape[-1]}x{x.shape[-2]}"
