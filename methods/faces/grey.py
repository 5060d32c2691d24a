"""Grey pictures: told by their channels, and kept grey when a restorer adds colour (the rule of the published
helper).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..nets.codeformer_blocks import adain

WEIGHTS = (0.2989, 0.5870, 0.1140)
LIMIT = 10 / 255**2  # mean variance of the differences between channels


def is_grey(x: Tensor) -> Tensor:
    """Whether each picture of B 3 H W in 0..1 is all but grey: (B,) bool."""
    first, second, third = (
        (x[:, i] - x[:, j]).flatten(1).var(1, correction=0) for i, j in ((0, 1), (1, 2), (2, 0))
    )
    return (first + second + third) / 3 <= LIMIT


def without_colour(x: Tensor) -> Tensor:
    """B 3 H W to its luma in all three channels."""
    weights = torch.tensor(WEIGHTS, dtype=x.dtype, device=x.device)
    return torch.einsum("bchw,c->bhw", x, weights)[:, None].expand_as(x)


def as_grey(restored: Tensor, faces: Tensor) -> Tensor:
    """Restored faces B 3 S S without colour, with the mean and deviation of each channel of the faces they
    came from (0..1).
    """
    return adain(without_colour(restored), faces, 1e-5 / 255**2, correction=0)
