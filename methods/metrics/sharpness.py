"""How much detail a restoration shows, and how far restorations of one picture differ."""

from __future__ import annotations

from torch import Tensor

from ..device import doubled
from ..imaging.images import check_pixels


def gradient_energy(x: Tensor) -> Tensor:
    """Mean squared gradient magnitude of each image of a batch B C H W, by forward differences; mean over
    channels, float64.
    """
    check_pixels(x)
    if min(x.shape[-2:]) < 2:
        raise ValueError(f"images of {x.shape[-2]}x{x.shape[-1]} have no gradient: give at least 2x2 pixels")
    x = doubled(x)
    down, across = (x.diff(dim=axis).square().flatten(1).mean(1) for axis in (-2, -1))
    return down + across


def sharpness(result: Tensor, truth: Tensor) -> Tensor:
    """Gradient energy of each result over that of its original: 1 as sharp, below 1 blurred, above 1 invented
    or noisy.
    """
    if result.shape != truth.shape:
        raise ValueError(
            f"the images differ in size: {tuple(result.shape)} against {tuple(truth.shape)}; resize one of "
            "them first"
        )
    reference = gradient_energy(truth)
    if not reference.all():
        raise ValueError("an original is flat: it has no sharpness to compare with")
    return gradient_energy(result) / reference


def seed_diversity(samples: Tensor) -> Tensor:
    """Standard deviation over seeds of samples S B C H W for each of the B pictures, mean over pixels, in the
    samples' unit.
    """
    if samples.ndim != 5 or len(samples) < 2:
        raise ValueError(
            f"samples of shape {tuple(samples.shape)} do not vary by seed: give S B C H W with at least 2 "
            "seeds"
        )
    return doubled(samples).std(0).flatten(1).mean(1)
