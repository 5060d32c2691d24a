"""The host's own nodes that a graph can have without the host, written to what they are documented to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ...imaging.images import Picture, to_uint8

MASK_SIDE = 64  # of the mask of a picture that has no transparency


def load_image(image: Picture) -> tuple[Tensor, Tensor]:
    """IMAGE 1 H W 3 and MASK 1 H W, which is 1 where the picture is transparent."""
    pixels = image.pixels.expand(-1, 3, -1, -1).movedim(1, -1).contiguous()
    mask = (
        torch.zeros(1, MASK_SIDE, MASK_SIDE, dtype=torch.float32, device="cpu")
        if image.alpha is None
        else 1 - image.alpha[:, 0]
    )
    return pixels, mask


def load_image_mask(image: Picture, channel: str) -> tuple[Tensor]:
    """One channel of a picture as a MASK; alpha turned round."""
    pixels, mask = load_image(image)
    if channel == "alpha":
        return (mask,)
    return (pixels[..., ("red", "green", "blue").index(channel)].clone(),)


def image_scale(image: Tensor, upscale_method: str, width: int, height: int, crop: str) -> tuple[Tensor]:
    """An IMAGE at another size; 0 for one side keeps the proportions, for both the picture."""
    if not width and not height:
        return (image,)
    planes = image.movedim(-1, 1)
    old_height, old_width = planes.shape[-2:]
    width = width or max(1, round(old_width * height / old_height))
    height = height or max(1, round(old_height * width / old_width))
    if crop == "center":
        planes = _middle(planes, width / height)
    if upscale_method == "lanczos":
        return (_lanczos(planes, width, height).movedim(1, -1),)
    return (F.interpolate(planes, size=(height, width), mode=upscale_method).movedim(1, -1),)


def _middle(planes: Tensor, aspect: float) -> Tensor:
    """The largest part in the middle with an aspect of width to height."""
    height, width = planes.shape[-2:]
    own = width / height
    left = round((width - width * (aspect / own)) / 2) if own > aspect else 0
    top = round((height - height * (own / aspect)) / 2) if own < aspect else 0
    return planes[..., top : height - top, left : width - left]


def _lanczos(planes: Tensor, width: int, height: int) -> Tensor:
    """By Pillow at 8 bits, of which the levels below are cut."""
    done = []
    for one in planes:
        levels = (one.movedim(0, -1).cpu().numpy() * 255.0).clip(0, 255).astype(np.uint8)
        scaled = Image.fromarray(levels.squeeze(-1) if levels.shape[-1] == 1 else levels).resize(
            (width, height), Image.Resampling.LANCZOS
        )
        samples = torch.from_numpy(np.array(scaled).astype(np.float32) / 255.0)
        done.append(samples[None] if samples.ndim == 2 else samples.movedim(-1, 0))
    return torch.stack(done).to(planes.device)


def mask_to_image(mask: Tensor) -> tuple[Tensor]:
    """A MASK as a grey IMAGE."""
    return (mask.reshape(-1, *mask.shape[-2:])[..., None].expand(-1, -1, -1, 3),)


def image_invert(image: Tensor) -> tuple[Tensor]:
    """The negative."""
    return (1.0 - image,)


def as_text(value: Any) -> str:
    """How Preview Any shows a value."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return str(value)
    try:
        return json.dumps(value, indent=4, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)


def pictures_of(images: Tensor) -> list[Picture]:
    """An IMAGE as files hold it, at the nearest of 256 levels: a batch of pictures."""
    planes = to_uint8(images.movedim(-1, 1)).float() / 255
    return [Picture(one[None, :3], one[None, 3:] if len(one) == 4 else None) for one in planes]


NODES: Mapping[str, Callable[..., tuple]] = {
    "LoadImage": load_image,
    "LoadImageMask": load_image_mask,
    "ImageScale": image_scale,
    "MaskToImage": mask_to_image,
    "ImageInvert": image_invert,
}
SHOWING = {"SaveImage": "images", "PreviewImage": "images", "PreviewAny": "source"}  # and of which input
