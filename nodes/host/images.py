"""Between the host's IMAGE (B H W C in 0..1) and the library's pixels and alpha (B C H W)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...methods.imaging.images import check_pixels
from ...methods.imaging.strips import strips
from .cancel import cancellable


def split(image: Tensor, name: str = "image") -> tuple[Tensor, Tensor | None]:
    """Pixels with one or three channels, and alpha where the image has four.

    Raises ValueError for anything else.
    """
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(f"{name} must be B x H x W x 1, 3 or 4, not {tuple(image.shape)}")
    with cancellable():
        planes = check_pixels(image.movedim(-1, 1).float(), name)
    return (planes[:, :3], planes[:, 3:]) if planes.shape[1] == 4 else (planes, None)


def own(image: Tensor) -> Tensor:
    """A copy of B H W C, which may take part in a gradient where it is made outside of inference mode."""
    copy = torch.empty_like(image)
    with cancellable():
        for to, of in zip(*(strips(x.movedim(-1, 1)) for x in (copy, image)), strict=True):
            to.copy_(of)
    return copy


def check_count(given: int, wanted: int, what: str, of: str) -> None:
    """Raises ValueError unless there is one for all, or one for each."""
    if given not in (1, wanted):
        raise ValueError(f"{given} {what} for {wanted} {of}: give one, or one for each")


def join(pixels: Tensor | Sequence[Tensor], alpha: Tensor | None = None) -> Tensor:
    """Back to B H W C in 0..1, C 3 or 4 as every node of the host takes it, alpha rejoined; pixels are B C H
    W, or several such of one size.
    """
    pictures = [picture for some in ([pixels] if isinstance(pixels, Tensor) else pixels) for picture in some]
    colours, height, width = pictures[0].shape
    colours = max(3, colours)  # grey serves all three
    joined = pictures[0].new_empty(len(pictures), height, width, colours + (alpha is not None))
    with cancellable():
        for i, (picture, place) in enumerate(zip(pictures, joined.movedim(-1, 1), strict=True)):
            done = 0
            for strip in strips(picture):
                rows = slice(done, done + strip.shape[-2])
                place[:colours, rows] = strip.clamp(0, 1)
                if alpha is not None:
                    place[colours:, rows] = alpha[i, :, rows].to(strip).clamp(0, 1)
                done = rows.stop
    return joined
