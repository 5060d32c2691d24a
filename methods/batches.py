"""Pictures of a batch, each worked on alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from . import timing
from .imaging.canvas import to_prior_channels
from .imaging.resize import size_of
from .method import OnStep, Report, Upscaler

SHOWN_EVERY = 0.25  # seconds between predicted pictures that are shown, for each waits for the device


def of_picture(place: int, text: str) -> str:
    """What is reported of one picture of a batch."""
    return f"image {place + 1}: {text}"


def one_by_one(
    upscaler: Upscaler, low: Tensor, scale: float, seeds: Sequence[int], on_step: OnStep, report: Report
) -> Tensor:
    """What an upscaler makes of B C h w in 0..1, a picture at a time, so that memory on its device does not
    grow with their number; results lie where `low` does. on_step sees a predicted picture at most four times
    a second, in the colours of the small one. report hears what several say alike once.

    Raises ValueError as the upscaler.
    """
    said: set[str] = set()
    look = _Look()

    def alone(place: int) -> Tensor:
        picture = low[place : place + 1]

        def moved(done: int, of: int, seen: Tensor | None) -> None:
            on_step(place * of + done, len(low) * of, look(seen, picture))

        def tell(text: str) -> None:
            first = of_picture(0, "")
            text = of_picture(place, text.removeprefix(first)) if text.startswith(first) else text
            if text not in said:
                report(text)
            said.add(text)

        return upscaler(picture, scale, [seeds[place]], moved, tell).to(low.device)

    return torch.cat([alone(place) for place in range(len(low))])


class _Look:
    """Which predicted pictures are shown, and how; the colours of a picture are enlarged once."""

    def __init__(self) -> None:
        self.last = -math.inf
        self.of: tuple[Tensor, tuple[int, int]] | None = None

    def __call__(self, seen: Tensor | None, low: Tensor) -> Tensor | None:
        """seen, 1 C H W in -1..1: luma with the colours of `low`; nothing where one was shown just now."""
        now = timing.clock()
        if seen is None or now - self.last < SHOWN_EVERY:
            return None
        self.last = now
        if seen.shape[1] != 1 or low.shape[1] == 1:
            return seen
        size = size_of(seen)
        if self.of is None or self.of[0] is not low or self.of[1] != size:
            self.of = low, size
            _, self.coloured = to_prior_channels(1, low.to(seen.device), size)
        return self.coloured(seen.float() / 2 + 0.5) * 2 - 1
