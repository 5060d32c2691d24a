"""The methods of this package as restorers of aligned faces."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..imaging.resize import resize, size_of
from ..inputs import FaceUse
from ..method import OnStep, Plan, Report, Upscaler
from .align import SIDE
from .paint import ZoomAware

# a face enlarged by less than this has all the detail that a method would give it
ENOUGH = 1.1
# what a face may have beyond the size that a method makes; the finer part is added to what is made
BEYOND = 1.2


@dataclass(frozen=True)
class EnlargingRestorer(ZoomAware):
    """Aligned faces B 3 S S in 0..1, reduced to the pixels that the detail of each needs and enlarged again
    by a method.

    enlarge: B 3 n n in 0..1, S / n and a seed each to B 3 S S. networks: those it runs on. size: S. frame:
    how tightly faces fill their square. steps: network calls. coarse: how many times fewer pixels than S
    every face is taken to have, 0 for what it shows. scales: enlargements that the method is made for,
    the nearest of which is taken; none for any. Raises ValueError for a `coarse` that enlarges nothing.
    """

    enlarge: Callable[[Tensor, float, Sequence[int]], Tensor]
    networks: tuple[nn.Module, ...]
    size: int
    frame: str
    steps: int = 1
    coarse: float = 0.0
    scales: tuple[float, ...] = ()

    def __post_init__(self):
        if self.coarse and not ENOUGH <= self.coarse <= self.size / 2:
            raise ValueError(
                f"coarse {self.coarse:g} is outside {ENOUGH:g} .. {self.size / 2:g}: give 0 for what each "
                "face has in the picture"
            )

    def leaves(self, zoom: float) -> str | None:
        least = max(1 / BEYOND, min(self.scales, default=0) / 2)
        if self.coarse or zoom >= least:
            return None
        own, most = self.size / zoom, self.size / least
        return (
            f"aligned, it has the detail of {own:.0f} pixels across, and the method is for {most:.0f} or "
            "fewer; take it as coarser to restore it anyway"
        )

    @torch.no_grad()
    def __call__(self, faces: Tensor, seeds: Sequence[int], zooms: Sequence[float]) -> Tensor:
        sides = [self._side(self.coarse or max(zoom, ENOUGH)) for zoom in zooms]
        result = torch.empty_like(faces)
        for side in sorted(set(sides)):
            group = [i for i, s in enumerate(sides) if s == side]
            low = resize(faces[group], (side, side)).clamp(0, 1)
            result[group] = self.enlarge(low, self.size / side, [seeds[i] for i in group]).to(result)
        return result

    def _side(self, zoom: float) -> int:
        return max(1, round(self.size / (nearest(self.scales, zoom) if self.scales else zoom)))


@dataclass(frozen=True)
class BlindRestorer:
    """Aligned faces B 3 S S in 0..1 as they are, whatever they lack, to the same shape; the fields as of
    EnlargingRestorer.
    """

    restore: Callable[[Tensor, Sequence[int]], Tensor]
    networks: tuple[nn.Module, ...]
    size: int
    frame: str
    steps: int = 1

    @torch.no_grad()
    def __call__(self, faces: Tensor, seeds: Sequence[int]) -> Tensor:
        return self.restore(faces, seeds).to(faces)


def nearest(scales: Sequence[float], scale: float) -> float:
    """The scale that differs by the smallest factor."""
    return min(scales, key=lambda s: abs(math.log(s / scale)))


def restorer_of(
    upscaler: Upscaler,
    use: FaceUse,
    size: int = 0,
    frame: str = "",
    coarse: float = 0.0,
    on_step: OnStep | None = None,
    report: Report = lambda text: None,
    on_plan: Callable[[Plan], None] | None = None,
) -> EnlargingRestorer | BlindRestorer:
    """Any method as a restorer of aligned faces. size, frame: in place of those of its networks; SIDE where
    they have none.

    report hears what was chosen for the faces, on_plan what some of them will take. Raises ValueError.
    """
    side = upscaler.size or size or SIDE
    calls = upscaler.plan((side, side), 1.0).calls if use.blind else _calls(upscaler, side)

    def enlarge(low: Tensor, scale: float, seeds: Sequence[int]) -> Tensor:
        if on_plan:
            on_plan(upscaler.predict(size_of(low), scale, len(low), measure=True))
        return upscaler(low, scale, seeds, on_step, report)

    if use.blind:
        restore = lambda faces, seeds: enlarge(faces, 1.0, seeds)  # noqa: E731
        return BlindRestorer(restore, upscaler.networks, size or side, frame or upscaler.frame, calls)
    return EnlargingRestorer(
        enlarge, upscaler.networks, side, frame or upscaler.frame, calls, coarse, upscaler.scales
    )


def _calls(upscaler: Upscaler, side: int) -> int:
    scales = upscaler.scales or (2.0,)
    return max(upscaler.plan((round(side / s), round(side / s)), s).calls for s in scales)
