"""Between the host's IMAGE (B H W C in 0..1) and the library's pixels and alpha (B C H W)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...methods.imaging.images import check_pixels


def split(image: Tensor, name: str = "image") -> tuple[Tensor, Tensor | None]:
    """Pixels with one or three channels, and alpha where the image has four.

    Raises ValueError for anything else.
    """
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(f"{name} must be B x H x W x 1, 3 or 4, not {tuple(image.shape)}")
    planes = check_pixels(image.movedim(-1, 1).float(), name)
    return (planes[:, :3], planes[:, 3:]) if planes.shape[1] == 4 else (planes, None)


def check_count(given: int, wanted: int, what: str, of: str) -> None:
    """Raises ValueError unless there is one for all, or one for each."""
    if given not in (1, wanted):
        raise ValueError(f"{given} {what} for {wanted} {of}: give one, or one for each")


def join(pixels: Tensor, alpha: Tensor | None = None) -> Tensor:
    """Back to B H W C in 0..1, C 3 or 4 as every node of the host takes it, alpha rejoined."""
    pixels = pixels.expand(-1, 3, -1, -1) if pixels.shape[1] == 1 else pixels
    planes = pixels if alpha is None else torch.cat([pixels, alpha.to(pixels)], 1)
    return planes.clamp(0, 1).movedim(1, -1).contiguous()
