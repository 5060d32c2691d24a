"""A region of a picture beyond which a restorer changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..settings import Settings, option
from .color import grey
from .convert import as_planes
from .images import check_pixels
from .resize import resize, size_of


@dataclass(frozen=True)
class RegionSettings(Settings):
    """How a region ends."""

    feather: float = option(
        8.0, "Pixels of the result over which a region's edge fades, on both sides", low=0, high=1000
    )


@dataclass(frozen=True)
class Region:
    """mask: B 1 h w in 0..1 of any size, 1 where a picture may change; one for all pictures, or one for each.

    feather: pixels of the result over which its edge fades. Raises ValueError.
    """

    mask: Tensor
    feather: float = RegionSettings.feather

    def __post_init__(self):
        RegionSettings(self.feather)
        check_pixels(self.mask, "the region")
        if self.mask.shape[1] != 1:
            raise ValueError(f"a region is a mask B 1 H W, not {tuple(self.mask.shape)}")

    @staticmethod
    def of(picture: Any, feather: float = RegionSettings.feather) -> Region:
        """From a picture of any kind that `as_planes` takes, white where a restorer may work."""
        return Region(grey(as_planes(picture).pixels).clamp(0, 1), feather)

    def limit(self, done: Tensor, before: Tensor) -> Tensor:
        """`done` B C H W within the region, beyond it `before` B C' h w as it is, or enlarged bicubically.

        Raises ValueError for a number of masks that does not fit.
        """
        if len(self.mask) not in (1, len(done)):
            raise ValueError(
                f"{len(self.mask)} masks for {len(done)} pictures: give one region, or one for each"
            )
        size = size_of(done)
        plain = before if size_of(before) == size else resize(before, size).clamp(0, 1)
        mask = self.mask if size_of(self.mask) == size else resize(self.mask, size, method="bilinear")
        return plain.to(done).lerp(done, faded(mask.clamp(0, 1), self.feather).to(done))

    def said(self) -> str:
        """What to beware of, nothing where the region holds something."""
        return "" if self.mask.any() else "the region is empty, so that nothing was restored: paint it white"


def within(region: Region | None, enlarge: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`enlarge` with what it makes of pictures limited to a region; None is everywhere."""
    return enlarge if region is None else lambda low: region.limit(enlarge(low), low)


def faded(mask: Tensor, pixels: float) -> Tensor:
    """A mask B 1 H W blurred by a Gaussian, so that its edge fades over so many pixels on both sides."""
    if pixels <= 0:
        return mask
    from kornia.filters import gaussian_blur2d  # which takes half a second

    side = 2 * math.ceil(pixels) + 1
    return gaussian_blur2d(mask, (side, side), (pixels / 2, pixels / 2), "replicate").clamp(0, 1)
