"""What lies outside the faces, blurred and sharpened (VisionRefine, section 3.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..imaging.images import check_pixels
from ..settings import Settings, option
from .filters import convolve, gaussian_taps, smooth
from .masks import feather

SHARPENING = {  # kernels that sum to 1
    "released": ((0, -1, 0), (-1, 5, -1), (0, -1, 0)),
    "paper": ((-1, -1, -1), (-1, 9, -1), (-1, -1, -1)),
}
ORDERS = ("blur first", "sharpen first")


@dataclass(frozen=True)
class EnhanceSettings(Settings):
    """What is done outside the mask.

    The defaults sharpen by an unsharp mask; RELEASED and PAPER are VisionRefine's.
    """

    blur: int = option(0, "Size of the Gaussian in pixels, odd; 3 as published, 0 for none", low=0, high=255)
    sharpen: str = option(
        "unsharp",
        "unsharp adds detail of the radius, released and paper are 3x3 kernels",
        choices=("unsharp", *SHARPENING, "none"),
    )
    amount: float = option(0.5, "How much is sharpened; 1 is the kernel as published", low=0, high=10)
    radius: float = option(1.5, "Standard deviation of the unsharp mask in pixels", low=0.1, high=100)
    order: str = option("blur first", "Which filter runs first", choices=ORDERS)
    feather: float = option(
        8.0, "Pixels over which the mask's edge fades, 0 for a hard edge as published", low=0, high=1000
    )
    eight_bit: bool = option(False, "Round to 8 bits after each filter, as published")

    def __post_init__(self):
        super().__post_init__()
        if self.blur and self.blur % 2 == 0:
            raise ValueError(f"blur {self.blur} has no centre: give an odd number of pixels, or 0 for none")


RELEASED = EnhanceSettings(3, "released", 1.0, feather=0.0, eight_bit=True)
PAPER = EnhanceSettings(3, "paper", 1.0, feather=0.0, eight_bit=True)
OUTSIDE = {"unsharp": EnhanceSettings(), "released": RELEASED, "paper": PAPER}


def enhance_outside(x: Tensor, mask: Tensor, settings: EnhanceSettings = EnhanceSettings()) -> Tensor:
    """B C H W in 0..1, filtered where the mask (B or 1) 1 H W is 0 and kept where it is 1. Raises
    ValueError.
    """
    check_pixels(x, "the picture")
    if (
        mask.ndim != 4
        or mask.shape[1] != 1
        or mask.shape[2:] != x.shape[2:]
        or mask.shape[0] not in (1, len(x))
    ):
        raise ValueError(
            f"a mask for pictures {tuple(x.shape)} is B 1 H W of their size, not {tuple(mask.shape)}"
        )
    check_pixels(mask, "the mask")
    kept = feather(mask.to(x), settings.feather)
    return torch.lerp(filtered(x, settings), x, kept)


def filtered(x: Tensor, settings: EnhanceSettings) -> Tensor:
    """B C H W in 0..1 through the filters of the settings, everywhere; each result is clipped to 0..1."""
    steps: list[Callable[[Tensor], Tensor]] = []
    if settings.blur:
        steps.append(lambda x: smooth(x, gaussian_taps(settings.blur)))
    if settings.sharpen != "none":
        steps.append(lambda x: _sharpened(x, settings))
    for step in steps if settings.order == ORDERS[0] else reversed(steps):
        x = step(x).clamp(0, 1)
        if settings.eight_bit:
            x = (
                x * 255 + 0.501
            ).floor() / 255  # OpenCV's fixed point takes halves up; blurred sums are multiples of 1/16
    return x


def _sharpened(x: Tensor, settings: EnhanceSettings) -> Tensor:
    if settings.sharpen == "unsharp":
        soft = smooth(x, gaussian_taps(2 * max(1, round(3 * settings.radius)) + 1, settings.radius))
        return x + settings.amount * (x - soft)
    return x + settings.amount * (
        convolve(x, torch.tensor(SHARPENING[settings.sharpen], dtype=torch.float32, device="cpu")) - x
    )
