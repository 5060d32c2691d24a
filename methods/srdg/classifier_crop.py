"""Which part of a face picture the attribute classifiers see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from torch import Tensor

from ..imaging.resize import Resampler


@dataclass(frozen=True)
class ClassifierCrop:
    """The middle square of a picture, `zoom` times closer, then moved up by a share of what is seen.

    The classifiers end in a flattened map, so that it matters where a face lies: they expect the eyes about
    40 of 128 pixels apart, near row 55, as in the central 128 x 128 pixels of aligned CelebA pictures.
    """

    zoom: float = 1.0
    up: float = 0.0

    def __post_init__(self):
        if not 1 <= self.zoom <= 8:
            raise ValueError(
                f"a zoom of {self.zoom} is outside 1 .. 8: 1 is the whole picture, 1.3 fits FFHQ and "
                "CelebA-HQ faces"
            )

    def __call__(self, x: Tensor, sigma: float, side: int) -> tuple[Tensor, float]:
        """x B C H W plus noise sigma as B C side side, with the standard deviation that its noise has
        then.
        """
        height, width = x.shape[-2:]
        window = max(1, round(min(height, width) / self.zoom))
        left, top = (width - window) // 2, round((height - window) / 2 + self.up * window)
        if not 0 <= top <= height - window:
            raise ValueError(
                f"a view moved up by {self.up:g} at zoom {self.zoom:g} leaves the picture: move less, or "
                "zoom in more"
            )
        part = x[..., top : top + window, left : left + window]
        if window == side:
            return part, sigma
        resample, gain = _resampler(window, side)
        return resample(part), sigma * gain


WHOLE = ClassifierCrop()
TIGHT = ClassifierCrop(
    1.3, 4.5 / 128
)  # the best of those tried on CelebA-HQ faces for the released gender classifier
VIEWS = MappingProxyType({"exact": None, "whole": WHOLE, "tight": TIGHT})


@lru_cache(maxsize=16)
def _resampler(window: int, side: int) -> tuple[Resampler, float]:
    """Between two squares, and what that does to the standard deviation of white noise, in the mean over the
    pixels.
    """
    resample = Resampler((window, window), (side, side))
    return resample, float((resample.rows.weight**2).sum(0).mean())  # rows and columns do the same
