"""Pictures moved, turned and stretched, with numbers that tell the network of it, so that what it makes of
nothing is none of that (Karras et al. 2020 and 2022, appendix F.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

AXES = (  # the numbers that a network is told; all are 0 for a picture as it is
    "mirrored",
    "upside down",
    "size",
    "turn (cosine - 1)",
    "turn (sine)",
    "stretch (cosine)",
    "stretch (sine)",
    "right",
    "down",
)
LARGER = 2**0.2  # one standard deviation of size and stretch
FARTHEST = 1 / 8  # of the side: one standard deviation of a move


def augmented(x: Tensor, chance: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """B C H W, each picture changed in any of six ways with `chance`, and what was done, B 9.

    Resampled bicubically over mirrored borders; a picture that is not changed stays bit for bit.
    """
    count = len(x)

    def uniform() -> Tensor:
        return torch.empty(count).uniform_(generator=generator)

    def normal() -> Tensor:
        return torch.empty(count).normal_(generator=generator)

    def sometimes(value: Tensor) -> Tensor:
        return torch.where(uniform() < chance, value, torch.zeros(()))

    mirrored, flipped = sometimes((uniform() < 0.5).float()), sometimes((uniform() < 0.5).float())
    size, turn = sometimes(normal()), sometimes((2 * uniform() - 1) * math.pi)
    axis, stretch = (2 * uniform() - 1) * math.pi, sometimes(normal())
    moved = uniform() < chance
    right, down = (torch.where(moved, normal(), torch.zeros(())) for _ in range(2))
    told = [
        mirrored,
        flipped,
        size,
        turn.cos() - 1,
        turn.sin(),
        stretch * axis.cos(),
        stretch * axis.sin(),
        right,
        down,
    ]
    labels = torch.stack(told, 1)
    # where a pixel of the result comes from, so the inverse of each change, the last one first
    back = _scaling(1 - 2 * mirrored, 1 - 2 * flipped) @ _scaling(LARGER**-size, LARGER**-size)
    back = back @ _turning(turn)
    back = back @ _turning(-axis) @ _scaling(LARGER**-stretch, LARGER**stretch) @ _turning(axis)
    shift = -2 * FARTHEST * torch.stack([right, down], 1)[..., None]
    theta = torch.cat([back, back @ shift], 2)
    changed = (labels != 0).any(1)
    places = F.affine_grid(theta, list(x.shape), align_corners=False)
    done = F.grid_sample(x, places, "bicubic", "reflection", align_corners=False).clamp(-1, 1)
    return torch.where(changed.view(-1, 1, 1, 1), done, x), labels


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([x, y], 1))


def _turning(angle: Tensor) -> Tensor:
    c, s = angle.cos(), angle.sin()
    return torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)


def moved(images: Tensor, places: Sequence[Sequence[int]], most: int) -> Tensor:
    """Pictures N C S S, each moved to (down, right) of 0 .. 2 most, where `most` is the middle."""
    height, width = images.shape[-2:]
    wide = F.pad(images.float(), (most,) * 4, mode="replicate").to(images.dtype)
    return torch.stack(
        [
            x[:, down : down + height, right : right + width]
            for x, (down, right) in zip(wide, places, strict=True)
        ]
    )
