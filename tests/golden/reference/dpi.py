"""What the released test script does to pictures before DPI sees them."""

from __future__ import annotations

from torch import Tensor

from priorsr.methods.imaging.resize import resize_uint8


def released_pair(picture: Tensor, size: int, scale: int, k: int = 2) -> tuple[Tensor, Tensor]:
    """The picture uint8 C H W squeezed to size x size, and its base condition C size/k size/k in -1..1.

    Reduced from the picture's own resolution by `scale` and enlarged again by Pillow's bicubic filter,
    rounded to 8 bits each time.
    """
    low = resize_uint8(picture, (size // scale,) * 2)
    base = resize_uint8(low, (size // k,) * 2)
    return resize_uint8(picture, (size,) * 2), base.float() / 127.5 - 1
