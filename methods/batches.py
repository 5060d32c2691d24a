"""Pictures of a batch, each worked on alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .method import OnStep, Report, Upscaler


def of_picture(place: int, text: str) -> str:
    """What is reported of one picture of a batch."""
    return f"image {place + 1}: {text}"


def one_by_one(
    upscaler: Upscaler, low: Tensor, scale: float, seeds: Sequence[int], on_step: OnStep, report: Report
) -> Tensor:
    """What an upscaler makes of B C h w in 0..1, a picture at a time, so that memory on its device does not
    grow with their number; results lie where `low` does. report hears what several say alike once.

    Raises ValueError as the upscaler.
    """
    said: set[str] = set()

    def alone(place: int) -> Tensor:
        def moved(done: int, of: int, seen: Tensor | None) -> None:
            on_step(place * of + done, len(low) * of, seen)

        def tell(text: str) -> None:
            first = of_picture(0, "")
            text = of_picture(place, text.removeprefix(first)) if text.startswith(first) else text
            if text not in said:
                report(text)
            said.add(text)

        return upscaler(low[place : place + 1], scale, [seeds[place]], moved, tell).to(low.device)

    return torch.cat([alone(place) for place in range(len(low))])
