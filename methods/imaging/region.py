"""A region of a picture beyond which a restorer changes nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
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
class Box:
    """A rectangle of a picture in pixels from its upper left corner. Raises ValueError for an empty one."""

    left: int
    top: int
    width: int
    height: int

    FORM = re.compile(r"\d+,\d+,\d+,\d+")  # as one writes it

    def __post_init__(self):
        if not self.width or not self.height:
            raise ValueError(f"the region {self} is empty: give LEFT,TOP,WIDTH,HEIGHT in pixels")

    def __str__(self) -> str:
        return f"{self.left},{self.top},{self.width},{self.height}"

    def mask(self, size: tuple[int, int]) -> Tensor:
        """1 1 H W of a picture of that height and width. Raises ValueError for a box that lies beyond it."""
        height, width = size
        if self.left >= width or self.top >= height:
            raise ValueError(f"the region {self} lies beyond the picture, which is {width} x {height} pixels")
        mask = torch.zeros(1, 1, height, width, dtype=torch.float32, device="cpu")
        mask[..., self.top : self.top + self.height, self.left : self.left + self.width] = 1
        return mask


@dataclass(frozen=True)
class Region:
    """mask: B 1 h w in 0..1 of any size, 1 where a picture may change, one for all pictures or one for each;
    or a box of every picture.

    feather: pixels of the result over which its edge fades. Raises ValueError.
    """

    mask: Tensor | Box
    feather: float = RegionSettings.feather

    def __post_init__(self):
        RegionSettings(self.feather)
        if isinstance(self.mask, Box):
            return
        check_pixels(self.mask, "the region")
        if self.mask.shape[1] != 1:
            raise ValueError(f"a region is a mask B 1 H W, not {tuple(self.mask.shape)}")

    @staticmethod
    def of(picture: Any, feather: float = RegionSettings.feather) -> Region:
        """From a picture of any kind that `as_planes` takes, white where a restorer may work, or from the
        words of a box: "LEFT,TOP,WIDTH,HEIGHT" in pixels.
        """
        if isinstance(picture, str) and Box.FORM.fullmatch(picture):
            return Region(Box(*map(int, picture.split(","))), feather)
        return Region(grey(as_planes(picture).pixels).clamp(0, 1), feather)

    def limit(self, done: Tensor, before: Tensor, source: tuple[int, int] | None = None) -> Tensor:
        """`done` B C H W within the region, beyond it `before` B C' h w as it is, or enlarged bicubically.

        source: height and width of the picture that a box is of, if not those of `before`. Raises ValueError
        for a number of masks that does not fit, and for a box that lies beyond the picture.
        """
        if isinstance(self.mask, Box):
            whole = self.mask.mask(source or size_of(before))
            return Region(whole, self.feather).limit(done, before)
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
        return (
            ""
            if isinstance(self.mask, Box) or self.mask.any()
            else "the region is empty, so that nothing was restored: paint it white"
        )


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
